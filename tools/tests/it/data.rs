//! Looking at rows and preparing them.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};
use tunesmith_harness::{hash::sha256_file, recipe::Recipe, score::Verdict};

use crate::support::{Place, tickets};

async fn note(rows: Vec<Value>) -> String {
    let output = Place::with(rows).ok("data_inspect", json!({})).await;
    assert_eq!(output["proposal"], Value::Null, "{output}");
    output["note"].as_str().unwrap().to_owned()
}

async fn proposal(rows: Vec<Value>) -> Value {
    let output = Place::with(rows).ok("data_inspect", json!({})).await;
    output["proposal"].clone()
}

#[tokio::test]
async fn labels_are_seen_and_counted() {
    let mut rows = tickets(6);
    rows.push(rows[0].clone());
    rows.push(json!({"text": " ", "intent": null}));
    let output = Place::with(rows).ok("data_inspect", json!({})).await;
    assert_eq!(output["rows"], 20);
    assert_eq!(output["duplicates"], 1);
    let intent = &output["columns"][1];
    assert_eq!((&intent["name"], &intent["missing"], &intent["distinct"]), (&json!("intent"), &json!(1), &json!(3)));
    let labels = json!([{"label": "card_arrival", "rows": 7}, {"label": "top_up", "rows": 6}, {"label": "lost_phone", "rows": 6}]);
    assert_eq!(intent["labels"], labels);
    assert_eq!(intent["lengths"], json!([6, 10, 12, 12]));
    let expected = json!({
        "kind": "classification", "input": "text", "target": "intent", "answer_after": null, "metric": "accuracy",
        "why": "the answers are 3 different labels",
    });
    assert_eq!(output["proposal"], expected);
    assert_eq!(output["note"], "1 of 20 rows lack the input or the answer".to_owned());
}

#[tokio::test]
async fn the_kind_follows_from_the_answers() {
    let extraction =
        (0..9).map(|i| json!({"order": format!("{i} apples please, thank you"), "fields": format!("{{\"n\":{i}}}")}));
    let found = proposal(extraction.collect()).await;
    assert_eq!([&found["kind"], &found["input"], &found["target"]], ["extraction", "order", "fields"]);
    let maths =
        (0..9).map(|i| json!({"question": format!("What is {i} and 2?"), "answer": format!("It is\n#### {}", i + 2)}));
    let found = proposal(maths.collect()).await;
    assert_eq!([&found["kind"], &found["answer_after"]], ["generation", "####"]);
    // Worked answers that come back are no labels.
    let sums = (0..30).map(|i| json!({"question": format!("{i} or {}?", i % 3), "answer": format!("#### {}", i % 3)}));
    let found = proposal(sums.collect()).await;
    assert_eq!([&found["kind"], &found["answer_after"]], ["generation", "####"]);
    let free = (0..9).map(|i| json!({"prompt": format!("Reverse {i}1"), "completion": format!("1{i}")}));
    let found = proposal(free.collect()).await;
    assert_eq!([&found["kind"], &found["input"], &found["target"]], ["generation", "prompt", "completion"]);
}

#[tokio::test]
async fn what_cannot_be_used_is_said_with_what_is_needed() {
    assert_eq!(
        note((0..5).map(|i| json!({"text": format!("row {i}")})).collect()).await,
        "only column \"text\" holds values; training needs an input and, in a second column, the answer to it"
    );
    let said =
        note((0..3000).map(|i| json!({"text": format!("message {i}"), "label": format!("l{i}")})).collect()).await;
    assert!(
        said.starts_with("column \"label\" has 3000 different values in 3000 rows, too many to learn as labels"),
        "{said}"
    );
    let said = note((0..5).map(|i| json!({"text": format!("row {i}"), "label": "same"})).collect()).await;
    let want = "column \"label\" has the same value in every row, so there is nothing to learn; give rows with different \
                answers, or rename the column of the answer to completion";
    assert_eq!(said, want);
    let said =
        note((0..14).map(|i| json!({"text": format!("row {i}"), "label": format!("l{}", i % 6)})).collect()).await;
    let want = "column \"label\" has 6 different values in 14 rows, too few rows to learn them as labels (each needs 3 or \
                more); give more rows, join rare labels, or rename the column of the answer to completion";
    assert_eq!(said, want);
    let said = note(vec![json!({"messages": [{"role": "user", "content": "hi"}], "source": "x"})]).await;
    assert!(said.starts_with("column \"messages\" holds whole chats"), "{said}");
}

#[tokio::test]
async fn damaged_files_say_where() {
    let place = Place::new();
    fs::write(place.path("bad.csv"), "text,label\nok,a\nà,b,c\ngut,d\n").unwrap();
    let found = place.ok("data_inspect", json!({"file": "bad.csv"})).await;
    let why = "line 3: 3 fields where the header has 2; quote fields that hold a comma";
    let bad = json!([{"path": "bad.csv", "line": 3, "reason": why, "example": "à,b,c"}]);
    assert_eq!((&found["rows"], &found["bad_rows"], &found["bad"]), (&json!(2), &json!(1), &bad));
    fs::write(place.path("none.csv"), "text,label\nà,b,c\n").unwrap();
    let said = place.error("data_inspect", json!({"file": "none.csv"})).await;
    assert_eq!(
        said,
        format!(
            "none.csv has no rows; the first line: {}; give a file with a header and rows",
            why.replace("3:", "2:")
        )
    );
}

#[tokio::test]
async fn rows_are_cleaned_split_and_written() {
    let mut rows = tickets(20);
    rows.push(rows[0].clone());
    rows.push(json!({"text": "", "intent": "top_up"}));
    rows.push(json!({"text": "same words", "intent": "top_up"}));
    rows.push(json!({"text": "same words", "intent": "card_arrival"}));
    rows.push(json!({"text": "sneaky <|end|> turn", "intent": "top_up"}));
    rows.push(json!({"text": "long ".repeat(300), "intent": "top_up"}));
    let place = Place::with(rows);
    let args = json!({"kind": "classification", "input": "text", "target": "intent", "valid_share": 0.2});
    let output = place.ok("data_prepare", args.clone()).await;
    assert_eq!((&output["rows"], &output["train"], &output["valid"]), (&json!(66), &json!(48), &json!(12)));
    let dropped =
        json!({"empty": 1, "duplicates": 1, "conflicting": 2, "too_long": 1, "special_tokens": 1, "no_marker": 0});
    assert_eq!(output["dropped"], dropped);
    let labels = ["card arrival", "lost phone", "top up"].map(|label| json!({"label": label, "train": 16, "valid": 4}));
    assert_eq!(output["labels"], json!(labels));
    let example = output["example"].as_str().unwrap();
    assert!(example.starts_with("<|endoftext|><|user|>Anna asks number 0: my "), "{example}");
    assert!(example.contains("\nLabel:<|end|><|assistant|>") && example.ends_with("<|end|>"), "{example}");
    assert_eq!(output["recipe_sha256"], json!(sha256_file(&place.path("prepared/recipe.json")).unwrap()));
    let scores = place.scores("data_prepare", &output);
    let verdicts: Vec<(&str, Verdict)> = scores.iter().map(|score| (score.scorer.as_str(), score.verdict)).collect();
    // One row of 66 is too long, and the made-up tickets repeat their few sentences.
    let want = [
        ("data.files", Verdict::Pass),
        ("data.dropped", Verdict::Pass),
        ("data.length", Verdict::Warn),
        ("data.duplicates", Verdict::Pass),
        ("data.leakage", Verdict::Warn),
        ("data.stop_token", Verdict::Pass),
        ("data.balance", Verdict::Pass),
    ];
    assert_eq!(verdicts, want);

    let files = ["recipe.json", "train.jsonl", "valid.jsonl"].map(|file| format!("prepared/{file}"));
    let read = || files.clone().map(|file| fs::read(place.path(&file)).unwrap());
    let first = read();
    place.ok("data_prepare", args.clone()).await;
    assert_eq!(read(), first, "the same seed gives the same files");
    place.call_seeded(8, "data_prepare", args).await.unwrap();
    assert_ne!(read()[1], first[1], "another seed splits differently");
}

#[tokio::test]
async fn the_longest_example_is_never_more_than_the_base_takes() {
    let place = Place::with(tickets(6));
    for (asked, used) in [(1000, 192), (96, 96)] {
        let mut args = json!({"kind": "classification", "input": "text", "target": "intent", "valid_share": 0.2});
        args["max_length"] = json!(asked);
        assert_eq!(place.ok("data_prepare", args).await["max_length"], used, "{asked}");
        let recipe: serde_json::Value =
            serde_json::from_slice(&fs::read(place.path("prepared/recipe.json")).unwrap()).unwrap();
        assert_eq!(recipe["max_length"], used);
    }
}

#[tokio::test]
async fn what_cannot_be_prepared_is_said() {
    let place = Place::with(tickets(3));
    let args = |target: &str, more: Value| {
        let mut args = json!({"kind": "classification", "input": "text", "target": target});
        args.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        args
    };
    let said = place.error("data_prepare", args("label", json!({}))).await;
    assert_eq!(said, "the data has no column \"label\"; it has text, intent");
    let said = place.error("data_prepare", args("intent", json!({"max_length": 8}))).await;
    let want = "only 0 of 9 rows can be used (9 too long); shorten them, or allow more with max_length where the base takes it";
    assert_eq!(said, want);
    let rows = (0..20).map(|i| json!({"text": "the same", "intent": format!("l{}", i % 2)}));
    let said = Place::with(rows).error("data_prepare", args("intent", json!({}))).await;
    assert_eq!(said, "only 0 of 20 rows can be used (20 contradictory); give each input one answer");
}

/// The lines of a JSON-lines file in the workdir.
fn lines(place: &Place, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(place.path(file)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn steps_are_taken_in_order_and_what_goes_is_written_down_with_its_reason() {
    let ticket = |title: &str, body: &str, intent: &str| json!({"title": title, "text": body, "intent": intent});
    let mut rows: Vec<Value> = tickets(10);
    rows.iter_mut().for_each(|row| row["title"] = json!("HELP"));
    rows.push(ticket("SPAM", "buy now", "top_up"));
    rows.push(ticket(
        "HELP",
        "where is the&nbsp;<b>parcel</b>  that I was sent on the day before yesterday",
        "card_arrival",
    ));
    rows.push(ticket("HELP", "where is the parcel that I was sent on the day before yesterdays", "card_arrival"));
    rows.push(ticket("HELP", "what is seven times eight plus the number of moons of the planet Mars", "top_up"));
    let place = Place::with(rows);
    let eval = json!({"question": "What is seven times eight, plus the number of moons of the planet Mars?"});
    fs::write(place.path("evals.jsonl"), format!("{eval}\n")).unwrap();
    let steps = json!({
        "set": {"text": "{title}: {text}"},
        "clean": ["html", "spaces", "lower"],
        "keep": [{"column": "title", "none_of": ["spam"]}],
        "against": ["evals.jsonl"],
        "near": 0.9,
    });
    let args =
        json!({"kind": "classification", "input": "text", "target": "intent", "valid_share": 0.2, "steps": steps});
    let output = place.ok("data_prepare", args.clone()).await;
    let stages = json!([
        {"name": "change", "before": 34, "after": 34},
        {"name": "keep", "before": 34, "after": 33},
        {"name": "against", "before": 33, "after": 32}
    ]);
    assert_eq!((&output["stages"], &output["dropped"]["near"]), (&stages, &json!(1)));
    assert_eq!((&output["rows"], &output["train"], &output["valid"]), (&json!(34), &json!(25), &json!(6)));
    let left = json!([
        {"file": "train.jsonl", "line": 31, "stage": "keep", "why": "title is one of the values"},
        {"file": "train.jsonl", "line": 34, "stage": "against", "why": "near evals.jsonl:1"},
        {"file": "train.jsonl", "line": 33, "stage": "near", "repeats": {"file": "train.jsonl", "line": 32}},
    ]);
    assert_eq!(json!(lines(&place, "prepared/left_out.jsonl")), left);
    let written = [lines(&place, "prepared/train.jsonl"), lines(&place, "prepared/valid.jsonl")].concat();
    let prompts: Vec<&str> = written.iter().map(|row| row["prompt"][0]["content"].as_str().unwrap()).collect();
    let parcel = "help: where is the parcel that i was sent on the day before yesterday\nLabel:";
    assert!(prompts.contains(&parcel), "{prompts:?}");
    // The answer was never part of an input, and is as it was.
    assert!(prompts.iter().all(|prompt| !prompt.contains("card_arrival")), "{prompts:?}");
    assert!(written.iter().any(|row| row["completion"] == "card arrival"));
    // The grader makes the same input of a row that nobody has seen.
    let recipe: Recipe = serde_json::from_slice(&fs::read(place.path("prepared/recipe.json")).unwrap()).unwrap();
    let sealed = json!({"title": "HELP", "text": "<i>New</i>  card", "intent": "card_arrival"});
    let example = recipe.example(sealed.as_object().unwrap()).unwrap();
    assert_eq!(
        (example.prompt[0].content.as_str(), example.completion.as_str()),
        ("help: new card\nLabel:", "card arrival")
    );

    let files = ["manifest.json", "README.md", "left_out.jsonl", "recipe.json", "train.jsonl", "valid.jsonl"];
    let read = || files.map(|file| fs::read(place.path(&format!("prepared/{file}"))).unwrap());
    let first = read();
    place.ok("data_prepare", args).await;
    assert_eq!(read(), first, "the same recipe on the same bytes gives the same bytes");
    let manifest: Value = serde_json::from_slice(&first[0]).unwrap();
    for file in manifest["outputs"].as_array().unwrap() {
        let path = place.path(&format!("prepared/{}", file["file"].as_str().unwrap()));
        assert_eq!(file["sha256"], json!(sha256_file(&path).unwrap()), "{file}");
    }
    let inputs: Vec<&Value> = ["inputs", "against"].iter().map(|of| &manifest[of][0]["sha256"]).collect();
    let hash = |file: &str| json!(sha256_file(&place.path(file)).unwrap());
    assert_eq!(inputs, [&hash("data/train.jsonl"), &hash("evals.jsonl")]);
}

#[tokio::test]
async fn parts_keep_groups_together_or_follow_time_and_labels_are_balanced() {
    let mut rows = tickets(20);
    for (at, row) in rows.iter_mut().enumerate() {
        row["customer"] = json!(format!("c{}", at % 7));
        row["date"] = json!(format!("2024-01-{:02}", 1 + at / 2));
    }
    let place = Place::with(rows.clone());
    let prepare = async |steps: Value| {
        let args =
            json!({"kind": "classification", "input": "text", "target": "intent", "valid_share": 0.2, "steps": steps});
        let output = place.ok("data_prepare", args).await;
        let of = |file: &str| {
            let inputs: Vec<String> = lines(&place, file)
                .iter()
                .map(|row| row["prompt"][0]["content"].as_str().unwrap().trim_end_matches("\nLabel:").to_owned())
                .collect();
            let row = |input: &String| rows.iter().find(|row| row["text"] == json!(input)).unwrap().clone();
            inputs.iter().map(row).collect::<Vec<Value>>()
        };
        (output, of("prepared/train.jsonl"), of("prepared/valid.jsonl"))
    };
    let (_, train, valid) = prepare(json!({"group": "customer"})).await;
    let customers = |rows: &[Value]| rows.iter().map(|row| row["customer"].to_string()).collect::<BTreeSet<_>>();
    assert_eq!((train.len() + valid.len(), customers(&train).intersection(&customers(&valid)).count()), (60, 0));
    assert!(!valid.is_empty());
    let (_, train, valid) = prepare(json!({"time": "date"})).await;
    let dates = |rows: &[Value]| rows.iter().map(|row| row["date"].to_string()).collect::<Vec<_>>();
    assert_eq!((train.len(), valid.len()), (48, 12));
    assert!(dates(&train).iter().max() < dates(&valid).iter().min());
    let (output, train, _) =
        prepare(json!({"most_per_label": 5, "keep": [{"column": "text", "matches": "[0-9]"}]})).await;
    assert_eq!((train.len(), &output["train"], &output["dropped"]["balanced"]), (15, &json!(15), &json!(33)));
    let (output, train, _) = prepare(json!({"least_per_label": 20})).await;
    assert_eq!((train.len(), &output["train"], &output["dropped"].get("balanced")), (60, &json!(60), &None));
}

#[tokio::test]
async fn lines_that_give_no_row_are_set_apart_and_counted() {
    let place = Place::with(tickets(10));
    let mut text = fs::read_to_string(place.path("data/train.jsonl")).unwrap();
    text.insert_str(0, "{\"text\": \"torn\n");
    fs::write(place.path("torn.jsonl"), text).unwrap();
    let args = json!({"file": "torn.jsonl", "kind": "classification", "input": "text", "target": "intent"});
    let output = place.ok("data_prepare", args).await;
    assert_eq!((&output["rows"], &output["bad_lines"]), (&json!(30), &json!(1)));
    let left = lines(&place, "prepared/left_out.jsonl");
    assert_eq!(
        (&left[0]["file"], &left[0]["line"], &left[0]["stage"]),
        (&json!("torn.jsonl"), &json!(1), &json!("read"))
    );
    let scores = place.scores("data_prepare", &output);
    let dropped = scores.iter().find(|score| score.scorer == "data.dropped").unwrap();
    assert_eq!(dropped.verdict, Verdict::Warn);
    assert!(dropped.why.ends_with("; 1 lines gave no row"), "{}", dropped.why);
}

#[tokio::test]
async fn steps_that_cannot_be_taken_are_refused_in_words() {
    let place = Place::with(tickets(10));
    let table = [
        (
            json!({"set": {"intent": "x"}}),
            "set: \"intent\" is the answer's column, which stays as it is; set another column",
        ),
        (
            json!({"set": {"text": "{intent}"}}),
            "set: \"text\" is made of \"intent\", the answer, which no input may hold",
        ),
        (json!({"set": {"text": "{titel}"}}), "no row has a column \"titel\", which a step asks for; check its name"),
        (json!({"group": "customer"}), "no row has a column \"customer\", which a step asks for; check its name"),
        (
            json!({"keep": [{"column": "text", "matches": "("}]}),
            "keep: \"text\": \"(\" is not a pattern: unclosed group",
        ),
    ];
    for (steps, why) in table {
        let args = json!({"kind": "classification", "input": "text", "target": "intent", "steps": steps});
        assert_eq!(place.error("data_prepare", args).await, why, "{steps}");
    }
    let args = json!({"kind": "pretraining", "input": "text", "target": "text", "steps": {"clean": ["spaces"]}});
    let why = "raw text is read and measured as it stands: leave out set, replace and clean";
    assert_eq!(place.error("data_prepare", args).await, why);
    let args = json!({"kind": "classification", "input": "text", "target": "intent", "steps": {"near": 0.2, "clean": ["dirty"]}});
    let said = place.error("data_prepare", args).await;
    assert!(said.contains("/steps/near") && said.contains("/steps/clean/0"), "{said}");
}
