//! Looking at rows closely: formats, labels, duplicates, lints, and files that mean harm.

use std::{fs, path::Path};

use proptest::prelude::*;
use serde_json::{Value, json};
use tunesmith_tools::{
    data_inspect::{Job, Output, Shape},
    worker::Live,
};

use crate::support::{Place, tickets};

fn inspect(job: Job) -> Output {
    job.run(&mut Live::silent()).unwrap()
}

fn look(rows: impl IntoIterator<Item = Value>) -> Output {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("rows.jsonl");
    let lines: Vec<String> = rows.into_iter().map(|row| row.to_string() + "\n").collect();
    fs::write(&file, lines.concat()).unwrap();
    inspect(Job::of(&file))
}

/// What is proposed, with its mapping, and what is wrong with how many rows.
fn proposed(rows: impl IntoIterator<Item = Value>) -> (Option<Shape>, Value, Vec<(String, usize)>) {
    let found = look(rows);
    let fit = found.formats.iter().find(|fit| Some(fit.kind) == found.format);
    let problems = fit.map(|fit| fit.problems.iter().map(|p| (p.why.clone(), p.rows)).collect());
    (found.format, json!(fit.map(|fit| &fit.mapping)), problems.unwrap_or_default())
}

#[test]
fn each_format_is_known_by_its_columns() {
    let n = 0..12;
    let chat = |n: usize, role: &str, said: &str, names: [&str; 2]| json!([{role: names[0], said: format!("what is {n}?")}, {role: names[1], said: format!("it is {n}")}]);
    let none = || Vec::new();
    let messages = n.clone().map(|n| json!({"messages": chat(n, "role", "content", ["user", "assistant"])}));
    assert_eq!(proposed(messages), (Some(Shape::Messages), json!({"messages": "messages"}), none()));
    let shared = n.clone().map(|n| json!({"id": n, "conversations": chat(n, "from", "value", ["human", "gpt"])}));
    let mapping = json!({"messages": "conversations", "role": "from", "content": "value"});
    assert_eq!(proposed(shared), (Some(Shape::Sharegpt), mapping, none()));
    let pairs = n.clone().map(|n| {
        json!({"prompt": format!("say {n}"), "chosen": format!("{n}"), "rejected": if n == 3 { "3" } else { "no" }})
    });
    let mapping = json!({"chosen": "chosen", "prompt": "prompt", "rejected": "rejected"});
    let same = vec![("chosen and rejected are the same".to_owned(), 1)];
    assert_eq!(proposed(pairs), (Some(Shape::Preference), mapping, same));
    let alpaca =
        n.clone().map(|n| json!({"instruction": format!("add {n}"), "input": n, "output": format!("sum {n}")}));
    let mapping = json!({"input": "input", "instruction": "instruction", "output": "output"});
    assert_eq!(proposed(alpaca), (Some(Shape::Alpaca), mapping, none()));
    let mapping = json!({"input": "text", "label": "intent"});
    assert_eq!(proposed(tickets(6)), (Some(Shape::Classification), mapping, none()));
    let sums = n
        .clone()
        .map(|n| json!({"question": format!("What is {n} and 2?"), "answer": format!("It is\n#### {}", n + 2)}));
    let mapping = json!({"prompt": "question", "completion": "answer"});
    assert_eq!(proposed(sums), (Some(Shape::PromptCompletion), mapping, none()));
    let texts = n.map(|n| json!({"text": format!("A story about {n} bears and what they had for dinner.")}));
    assert_eq!(proposed(texts), (Some(Shape::Text), json!({"text": "text"}), none()));
}

#[test]
fn the_arguments_of_a_mapping_are_those_of_the_command_line() {
    let rows = (0..9).map(|n| json!({"q": "x", "question": format!("What is {n}?"), "answer": format!("#### {n}")}));
    let found = look(rows);
    let fit = found.formats.iter().find(|fit| Some(fit.kind) == found.format).unwrap();
    let want = "data prepare --kind generation --input question --target answer --answer-after ####";
    assert_eq!(fit.arguments.join(" "), want);
}

#[test]
fn labels_are_looked_at_from_every_side() {
    let mut rows = tickets(40);
    let (first, other) = (rows[0].clone(), rows[1].clone());
    // The same words with another label, nearly the same with another label, and a label written in another way.
    rows.push(
        json!({"text": format!("{}!!", first["text"].as_str().unwrap().to_uppercase()), "intent": other["intent"]}),
    );
    rows.push(json!({"text": "please tell me when the card will arrive", "intent": "Card-Arrival"}));
    rows.push(json!({"text": "a label of its own", "intent": "odd"}));
    let found = look(rows);
    let labels = found.labels.unwrap();
    assert_eq!((labels.count, labels.balance, labels.rare), (5, [41, 1], 2));
    assert_eq!(labels.contradicting, 2);
    let variants: Vec<Vec<&str>> =
        labels.variants.iter().map(|group| group.iter().map(|label| label.label.as_str()).collect()).collect();
    assert_eq!(variants, [["card_arrival", "Card-Arrival"]]);
    assert!(labels.suspicious >= 1 && labels.suspicious_of == 123, "{labels:?}");
    let kinds: Vec<&str> = found.findings.iter().map(|finding| finding.kind.as_str()).collect();
    for kind in ["label_spelling", "contradicting_labels", "rare_labels", "imbalance", "near_duplicates"] {
        assert!(kinds.contains(&kind), "{kind} in {kinds:?}");
    }
    assert!(found.findings.is_sorted_by_key(|finding| finding.weight), "{kinds:?}");
}

#[test]
fn cells_are_counted_by_what_they_are() {
    let found = look([
        json!({"a": 1, "b": "x"}),
        json!({"a": "2", "b": null}),
        json!({"a": [1], "b": " "}),
        json!({"a": 1}),
        json!({"b": "N/A", "a": true}),
        json!({"b": "x", "a": 1}),
    ]);
    // The last row has the cells of the first, in another order.
    assert_eq!((found.rows, found.duplicates), (6, 1));
    let [a, b] = &found.columns[..] else { panic!("{found:?}") };
    assert_eq!(json!(a.types), json!({"boolean": 1, "list": 1, "number": 3, "text": 1}));
    assert_eq!((b.missing, b.absent, b.placeholders, b.distinct), (3, [1, 1, 1], 1, 2));
    assert_eq!((a.missing, a.distinct, a.distinct_estimated), (0, 4, false));
    assert_eq!(found.sample.rows, 5);
}

#[test]
fn lints_name_columns_and_hide_what_they_found() {
    let rows =
        (0..5).map(|n| json!({"prompt": format!("write to jane{n}@mail.example"), "completion": "cafÃ© &amp; more"}));
    let found = look(rows);
    let seen = |lints: &[tunesmith_tools::data_inspect::Lint]| -> Vec<(String, String, usize)> {
        lints.iter().map(|lint| (lint.kind.clone(), lint.name.clone(), lint.rows)).collect()
    };
    let of = |kind: &str, name: &str| (kind.to_owned(), name.to_owned(), 5);
    assert_eq!(seen(&found.private), [of("email", "prompt")]);
    assert_eq!(seen(&found.damage), [of("html_entities", "completion"), of("mojibake", "completion")]);
    assert_eq!(found.private[0].examples, ["j••••@••••.•••••••"]);
}

#[test]
fn the_result_is_the_same_on_any_number_of_threads() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("rows.jsonl");
    let row = |n: u64| {
        let id = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        json!({"id": id, "text": format!("row {} {}", n % 7_000, "x".repeat((id % 400) as usize)), "score": id as f64 / 1e18})
    };
    let lines: Vec<String> = (0..12_000).map(|n| row(n).to_string() + "\n").collect();
    fs::write(&file, lines.concat()).unwrap();
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| inspect(Job { sample: 500, ..Job::of(&file) }))
    };
    let one = on(1);
    assert_eq!((one.rows, one.sample.rows, one.columns.len()), (12_000, 500, 3));
    assert!(one.columns[2].numbers.as_ref().unwrap().error.is_some_and(|error| error < 0.01));
    assert_eq!(on(5), one);
}

#[tokio::test]
async fn what_planners_see_is_bounded() {
    let wide = |n: usize| {
        let cells =
            (0..300).map(|c| (format!("column number {c}"), json!(format!("cell {c} of row {n}: jane@mail.example"))));
        Value::Object(cells.collect())
    };
    let mut labelled = tickets(60);
    labelled.extend(
        (0..900)
            .map(|n| json!({"text": format!("{n} {}", "long ".repeat(200)), "intent": format!("label {}", n % 90)})),
    );
    for rows in [(0..40).map(wide).collect(), labelled] {
        let found = Place::with(rows).ok("data_inspect", json!({})).await;
        let length = found.to_string().chars().count();
        assert!(length <= 6_000, "{length}: {found}");
        assert!(!found["columns"].as_array().unwrap().is_empty() && found["findings"].is_array(), "{found}");
    }
}

#[test]
fn files_of_a_folder_are_read_together_and_named() {
    let place = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = place.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("a/one.csv", "prompt,completion\nhello,x\nbroken\n");
    write("b/two.jsonl", "{\"prompt\": \"hello\", \"completion\": \"x\"}\n");
    write("b/picture.png", "no");
    let found = inspect(Job::of(place.path()));
    let files: Vec<(&str, &str, usize, usize)> =
        found.files.iter().map(|f| (f.path.as_str(), f.format.as_str(), f.rows, f.bad_rows)).collect();
    assert_eq!(files, [("a/one.csv", "csv", 1, 1), ("b/two.jsonl", "json_lines", 1, 0)]);
    assert_eq!((found.rows, found.duplicates, found.repeated[0].path.as_str()), (2, 1, "b/two.jsonl"));
    assert_eq!((found.skipped[0].path.as_str(), found.bad[0].line), ("picture.png", 3));
}

fn survives(path: &Path) -> Option<Output> {
    Job { sample: 200, ..Job::of(path) }.run(&mut Live::silent()).ok()
}

#[test]
fn rows_that_share_no_columns_and_cells_that_nest_or_never_end_do_no_harm() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("rows.jsonl");
    let lines: Vec<String> =
        (0..3_000).map(|n| json!({format!("c{n}"): n, "text": "same"}).to_string() + "\n").collect();
    fs::write(&file, lines.concat()).unwrap();
    let found = survives(&file).unwrap();
    assert_eq!((found.rows, found.columns.len(), found.columns_left_out), (3_000, 256, 2_745));
    let text = found.columns.iter().find(|column| column.name == "text").unwrap();
    assert_eq!((text.missing, text.distinct), (0, 1));
    let deep = |n: usize| format!("{{\"messages\": {}{}}}\n", "[".repeat(n), "]".repeat(n));
    let long = json!({"text": "word ".repeat(500_000), "messages": [{"role": "user", "content": "a"}]}).to_string();
    fs::write(&file, deep(100) + &deep(50_000) + &long + "\n{\"messages\": [[[1]]]}\n").unwrap();
    let found = survives(&file).unwrap();
    assert_eq!((found.rows, found.bad_rows), (3, 1));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60, rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_stands_in_a_file_every_line_is_a_row_or_counted_as_bad(
        lines in prop::collection::vec(
            prop_oneof![
                "[ -~é\u{fffd}\u{1b}]{1,40}",
                "\\{\"(text|messages|chosen)\": (\"[a-z@&; Ã©•0-9+.-]{0,60}\"|[0-9]{1,4}|null|\\[\\]|\\[\\{\"role\": \"user\"\\}\\])\\}",
            ],
            1..40,
        ),
        name in "rows\\.(jsonl|csv|txt|json)",
    ) {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join(&name);
        fs::write(&file, lines.join("\n")).unwrap();
        if let Some(found) = survives(&file) {
            let text = serde_json::to_string(&found).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Output>(&text).unwrap(), &found);
            let filled = lines.iter().filter(|line| !line.trim().is_empty()).count();
            if name == "rows.jsonl" {
                prop_assert_eq!(found.rows + found.bad_rows, filled);
            }
        }
    }
}
