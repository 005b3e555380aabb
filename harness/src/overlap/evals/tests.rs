#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::samples::{self, Random};

fn row(value: Value) -> Row {
    value.as_object().unwrap().clone()
}

const EVALS: [&str; 5] = [
    "Natalia sold 48 clips to her friends in April, and then she sold half as many clips in May. How many clips did Natalia \
     sell altogether in April and May?",
    "A robe takes 2,000 bolts of blue fiber and half that much white fiber. How many bolts in total does it take?",
    "How do I locate my card?",
    "Hi there",
    "Der Zug nach Köln fährt um 7.50 Uhr ab, und er hält in Bonn und in Brühl, wo er zwanzig Minuten steht.",
];

fn evals() -> Evals {
    let rows: Vec<Row> = EVALS.iter().map(|text| row(json!({ "question": text, "answer": 3 }))).collect();
    Evals::new([&rows[..]], None)
}

/// What is found of the eval rows in one training row: their numbers and kinds.
fn found(value: Value) -> Vec<(usize, Kind)> {
    evals().find(&row(value)).into_iter().map(|found| (found.row, found.kind)).collect()
}

#[test]
fn copies_are_found_in_every_form() {
    let upper = EVALS[0].to_uppercase();
    let without_blanks = EVALS[4].replace(' ', "");
    for (value, want) in [
        (json!({ "prompt": EVALS[0] }), vec![(0, Kind::Verbatim)]),
        (json!({ "text": format!("Question: {}\nAnswer: 72", EVALS[0]) }), vec![(0, Kind::Verbatim)]),
        (json!({ "messages": [{ "role": "user", "content": EVALS[1] }] }), vec![(1, Kind::Verbatim)]),
        (json!({ "prompt": &EVALS[0][..70], "completion": &EVALS[0][70..] }), vec![(0, Kind::Near)]),
        (json!({ "prompt": upper }), vec![(0, Kind::Near)]),
        (json!({ "prompt": EVALS[1].replace("2,000", "2000.0").replace(' ', "\n ") }), vec![(1, Kind::Near)]),
        (json!({ "prompt": without_blanks }), vec![(4, Kind::Near)]),
        (json!({ "prompt": EVALS[4].replace("zwanzig", "20") }), vec![(4, Kind::Near)]),
        (json!({ "prompt": "how do I  locate my CARD" }), vec![(2, Kind::Near)]),
        (json!({ "prompt": "Customer: how do I locate my card\nTeam:" }), vec![(2, Kind::Near)]),
        (json!({ "prompt": format!("{} {}", EVALS[0], EVALS[1]) }), vec![(0, Kind::Verbatim), (1, Kind::Verbatim)]),
    ] {
        assert_eq!(found(value.clone()), want, "{value}");
    }
}

#[test]
fn halves_are_found_with_their_share() {
    let half = EVALS[0].split_once(". ").unwrap().0;
    let got = evals().find(&row(json!({ "text": format!("{half} in her shop, and bought a hat.") })));
    assert_eq!(got, [Match { row: 0, kind: Kind::Half, share: 19.0 / 30.0 }]);
}

#[test]
fn common_speech_is_no_copy() {
    for text in [
        "How many clips did Natalia sell?",
        "How do I locate my card and my PIN?",
        "Hi there",
        "A robe takes time. How many bolts in total does it take to make one?",
        "",
    ] {
        assert_eq!(found(json!({ "text": text })), [], "{text}");
    }
}

#[test]
fn what_many_eval_rows_begin_with_is_no_part_of_them() {
    let asked = "Read the following passage with care and answer the question below in at most two words, please: ";
    let foxes = "where do the red foxes of the north sleep in winter when all of the ground is frozen";
    let texts = ["fir", "oak", "elm", "yew"].map(|tree| {
        format!("{asked}why does the {tree} of the story shed its leaves before any other tree of the valley has")
    });
    let rows: Vec<Row> =
        [&[format!("{asked}{foxes}")], &texts[..]].concat().iter().map(|q| row(json!({ "q": q }))).collect();
    let evals = Evals::new([&rows[..]], None);
    assert_eq!(evals.find(&row(json!({ "text": format!("{asked}when") }))), []);
    // The last words before its own count as well: together with those they stand in no other row.
    let got = evals.find(&row(json!({ "text": foxes })));
    assert_eq!(got.iter().map(|found| (found.row, found.kind)).collect::<Vec<_>>(), [(0, Kind::Half)]);
}

#[test]
fn repetition_makes_no_search_long() {
    let song = row(json!({ "q": "la la la lu ".repeat(10_000) }));
    let same: Vec<Row> = vec![song.clone(); SAME + 50];
    let evals = Evals::new([&same[..]], Some("q"));
    assert_eq!((evals.texts.len(), evals.places.len()), (1, 4));
    let found = evals.find(&song);
    assert_eq!(
        found.iter().map(|found| (found.row, found.share)).collect::<Vec<_>>(),
        (0..SAME).map(|n| (n, 1.0)).collect::<Vec<_>>()
    );
}

#[test]
fn rows_are_numbered_through_all_sets_and_equal_ones_are_all_found() {
    let set = |texts: &[&str]| -> Vec<Row> {
        texts.iter().map(|text| row(json!({ "id": format!("row {text}"), "question": text }))).collect()
    };
    let (a, b) = (set(&[EVALS[0], EVALS[2]]), set(&[EVALS[1], &EVALS[0].to_lowercase()]));
    let evals = Evals::new([&a[..], &b[..]], Some("question"));
    let got = evals.find(&row(json!({ "text": EVALS[0] })));
    assert_eq!(got.iter().map(|found| found.row).collect::<Vec<_>>(), [0, 3]);
    let none = Evals::new([&a[..]], Some("nothing"));
    assert!(none.is_empty() && none.find(&a[0]).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100, rng_seed: proptest::test_runner::RngSeed::Fixed(4), failure_persistence: None, ..Default::default()
    })]

    #[test]
    fn every_text_is_found_in_itself_and_shares_are_shares(
        texts in prop::collection::vec("([a-c]{1,2} |[0-9]{1,2} |大|\\PC){0,30}", 1..12),
    ) {
        let rows: Vec<Row> = texts.iter().map(|text| row(json!({ "q": text }))).collect();
        let evals = Evals::new([&rows[..]], Some("q"));
        for (number, text) in texts.iter().enumerate() {
            let mut words = Words::default();
            words.read(text);
            let matches = evals.find(&rows[number]);
            let own = matches.iter().find(|found| found.row == number);
            prop_assert_eq!(own.is_some(), words.hashes.len() >= FEWEST);
            prop_assert!(own.is_none_or(|found| found.share == 1.0 && found.kind >= Kind::Near));
            prop_assert!(matches.iter().all(|found| found.share > 0.0 && found.share <= 1.0));
        }
    }
}

/// A text with each of its words after something else.
fn words_with(text: &str, mut before: impl FnMut() -> &'static str) -> String {
    text.split(' ').map(|word| format!("{}{word}", before())).collect::<String>().trim().to_owned()
}

/// The same number in another form, for each number.
fn renumbered(text: &str, random: &mut Random) -> String {
    let number = regex::Regex::new(r"\b\d+(,\d{3})*(\.\d+)?").unwrap();
    let form = |found: &regex::Captures<'_>| {
        let plain = found[0].replace(',', "");
        let (whole, fraction) = plain.split_once('.').map_or((&*plain, None), |(a, b)| (a, Some(b)));
        let digits = whole
            .chars()
            .rev()
            .enumerate()
            .map(|(at, c)| if at > 0 && at % 3 == 0 { format!("{c},") } else { c.into() });
        let grouped: String = digits.collect::<Vec<_>>().into_iter().rev().collect();
        let spelled = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
        match (random.below(3), fraction, spelled.get(whole.parse::<usize>().unwrap_or(usize::MAX))) {
            (0, None, _) => format!("{plain}.00"),
            (1, None, Some(word)) => (*word).to_owned(),
            (_, Some(fraction), _) => format!("{grouped}.{fraction}0"),
            _ => grouped,
        }
    };
    number.replace_all(text, form).into_owned()
}

fn edited(text: &str, edit: &str, random: &mut Random) -> String {
    let kept = |c: &char| c.is_alphanumeric() || c.is_whitespace();
    let words: Vec<&str> = text.split(' ').collect();
    let half = words.len().div_ceil(2);
    match edit {
        "verbatim" => text.to_owned(),
        "case" => {
            if random.below(2) == 0 {
                text.to_uppercase()
            } else {
                text.to_lowercase()
            }
        }
        "spacing" if random.below(4) == 0 => text.replace(' ', ""),
        "spacing" => words_with(text, || [" ", "  ", "\n", "\t "][random.below(4)]),
        "punctuation" if random.below(2) == 0 => text.chars().filter(kept).collect(),
        "punctuation" => words_with(text, || [" ", ", ", " - ", "... ", " ("][random.below(5)]),
        "number format" => renumbered(text, random),
        "in a prompt" => format!("Question: {text}\nAnswer:"),
        "first half" => words[..half].join(" "),
        "second half" => words[words.len() - half..].join(" "),
        _ => unreachable!("{edit}"),
    }
}

/// Of the eval rows with at least so many words, the share that is found in a row which holds them, edited.
fn recall(evals: &Evals, test: &[Row], others: &[Row], column: &str, edit: &str, least: usize) -> f64 {
    let text = |row: &Row| row[column].as_str().unwrap().to_owned();
    let mut random = Random(3);
    let (mut all, mut hits) = (0, 0);
    for (number, eval) in test.iter().enumerate().filter(|(_, eval)| text(eval).split(' ').count() >= least) {
        let other = text(&others[number * 7 % others.len()]);
        let edited = edited(&text(eval), edit, &mut random);
        let said = if edit.contains("half") { format!("{edited} {other}") } else { edited };
        all += 1;
        hits += usize::from(evals.find(&row(json!({ "prompt": said }))).iter().any(|found| found.row == number));
    }
    hits as f64 / all as f64
}

const EDITS: [(&str, f64); 8] = [
    ("verbatim", 0.99),
    ("case", 0.97),
    ("spacing", 0.97),
    ("punctuation", 0.97),
    ("number format", 0.97),
    ("in a prompt", 0.97),
    ("first half", 0.85),
    ("second half", 0.85),
];

#[test]
fn recall_and_false_positives_on_real_rows() {
    for (name, end, column, halves, most) in
        [("gsm8k", "jsonl", "question", 0, 0.005), ("banking77", "csv", "text", 22, 0.015)]
    {
        let files = ["train", "test"].map(|part| samples::rows(&format!("{name}/{part}.{end}")));
        let [Some(train), Some(test)] = files else { return };
        let evals = Evals::new([&test[..]], Some(column));
        for (edit, wanted) in EDITS {
            // Half of a short row is common speech.
            let least = if edit.contains("half") { halves } else { 0 };
            let recall = recall(&evals, &test, &train, column, edit, least);
            println!("{name}, {edit}, rows of at least {least} words: recall {recall:.4} (wanted: {wanted})");
            assert!(recall >= wanted, "{name}, {edit}: {recall}");
        }
        let mut kinds: HashMap<usize, Kind> = HashMap::new();
        for found in train.iter().flat_map(|row| evals.find(row)) {
            let kind = kinds.entry(found.row).or_insert(found.kind);
            *kind = (*kind).max(found.kind);
        }
        let [half, near, verbatim] =
            [Kind::Half, Kind::Near, Kind::Verbatim].map(|kind| kinds.values().filter(|k| **k == kind).count());
        let share = half as f64 / test.len() as f64;
        println!(
            "{name}: of {} test rows {verbatim} stand in train, {near} nearly and {half} by half ({share:.4})",
            test.len()
        );
        assert!(share <= most, "{name}: {share}");
    }
}
