#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{recipe::Label, task::JobKind};

fn recipe() -> Recipe {
    let label = |value: &str| Label { value: value.into(), text: value.replace('_', " ") };
    Recipe {
        kind: JobKind::Classification,
        input: "text".into(),
        target: "intent".into(),
        cue: "Intent:".into(),
        labels: ["card_arrival", "lost_pin"].map(label).into(),
        changes: Default::default(),
        answer_after: None,
        max_length: 64,
        max_new_tokens: 8,
    }
}

fn row(text: &str, intent: &str) -> Row {
    Row::from_iter([("text".to_owned(), text.into()), ("intent".to_owned(), intent.into())])
}

const SEALED: [&str; 4] = [
    "Where on earth is the card that you promised me last Tuesday?",
    "My daughter scribbled over the letter with the number in it",
    "hi",
    "Nobody at the branch in Leeds could find my envelope, what now",
];

fn search() -> Search {
    let sealed: Vec<Row> = SEALED.iter().map(|text| row(text, "card_arrival")).collect();
    Search::new(&recipe(), &sealed, [row("I would like to know where on earth my money went", "lost_pin")].iter())
}

/// What is found of the sealed rows where these rows are trained on.
fn found(rows: &[Value]) -> Overlap {
    let mut search = search();
    rows.iter().for_each(|row| search.see(row));
    search.found()
}

fn said(content: &str) -> Value {
    json!({ "prompt": [{ "role": "user", "content": content }], "completion": "card arrival", "label": 0 })
}

/// The example that the recipe makes of a row.
fn made(text: &str, intent: &str) -> Value {
    serde_json::to_value(recipe().example(&row(text, intent)).unwrap()).unwrap()
}

#[test]
fn copies_are_found_however_they_are_cased_spaced_and_wrapped() {
    let spaced: String = SEALED[0].chars().flat_map(|c| [c, ' ']).collect();
    for copy in [
        said(SEALED[0]),
        said(&SEALED[0].to_uppercase()),
        said(&spaced),
        said(&format!("Question: {}\nIntent:", SEALED[0].replace(' ', "_"))),
        json!({ "text": SEALED[0] }),
        json!({ "messages": [
            { "role": "system", "content": &SEALED[0][..20] }, { "role": "user", "content": &SEALED[0][20..] },
        ]}),
    ] {
        let want = Overlap { rows: 1, brought: 1, copied: vec![0], shared: vec![0] };
        assert_eq!(found(std::slice::from_ref(&copy)), want, "{copy}");
    }
}

#[test]
fn halves_are_found_in_one_row_or_scattered_over_several() {
    let half = |text: &str| text.split_at(text.len() / 2).0.to_owned();
    let got = found(&[said(&half(SEALED[0])), said(&half(SEALED[3]))]);
    assert_eq!(got, Overlap { rows: 2, brought: 2, copied: vec![], shared: vec![0, 3] });
    let scattered = [&SEALED[1][..22], &SEALED[1][16..40], &SEALED[1][34..58]].map(said);
    assert_eq!(found(&scattered), Overlap { rows: 3, brought: 3, copied: vec![], shared: vec![1] });
}

#[test]
fn a_short_row_is_found_as_a_whole_example_alone() {
    assert_eq!(found(&[made("Hi!", "card_arrival")]).copied, [2]);
    assert_eq!(found(&[said("hi there")]).copied, [0usize; 0]);
}

#[test]
fn what_the_run_was_given_is_known_by_right() {
    let own = made("I would like to know where on earth my money went", "lost_pin");
    assert_eq!(found(&[own]), Overlap { rows: 1, ..Overlap::default() });
    // The words that given and sealed rows have in common are no copy.
    let got = found(&[said("where on earth is it")]);
    assert_eq!(got, Overlap { rows: 1, brought: 1, ..Overlap::default() });
}

#[test]
fn nothing_is_claimed_where_too_much_was_seen() {
    let of = |copied: usize, shared: usize| Overlap {
        rows: 500,
        brought: 400,
        copied: (0..copied).collect(),
        shared: (0..shared).collect(),
    };
    assert_eq!([of(2, 33).refusal(100), of(0, 0).refusal(100)], [None, None]);
    let why =
        "contamination: 400 rows that the run brought in and trained on hold 3 of 100 sealed rows whole and 3 in part";
    assert_eq!(of(3, 3).refusal(100).as_deref(), Some(why));
    assert!(of(0, 34).refusal(100).is_some());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100, rng_seed: proptest::test_runner::RngSeed::Fixed(3), failure_persistence: None, ..Default::default()
    })]

    #[test]
    fn rolled_hashes_are_those_of_each_run_alone(text in "[a-cà\u{1F600}]{0,40}") {
        let stream: Vec<char> = text.chars().collect();
        let alone: Vec<u64> = stream.windows(RUN).flat_map(|run| hashes(run).collect::<Vec<_>>()).collect();
        prop_assert_eq!(hashes(&stream).collect::<Vec<_>>(), alone);
    }

    #[test]
    fn rows_made_of_given_rows_are_never_held_against_a_run(texts in prop::collection::vec("[a-d]{0,3}( [a-d]{1,4}){0,9}", 2..12)) {
        let rows: Vec<Row> = texts.iter().map(|text| row(text, "lost_pin")).collect();
        let (given, sealed) = rows.split_at(rows.len() / 2);
        let mut search = Search::new(&recipe(), sealed, given.iter());
        for row in given {
            search.see(&serde_json::to_value(row).unwrap());
            let Ok(example) = recipe().example(row) else { continue };
            search.see(&serde_json::to_value(example).unwrap());
        }
        let got = search.found();
        prop_assert_eq!(Overlap { rows: 0, ..got }, Overlap::default());
    }
}
