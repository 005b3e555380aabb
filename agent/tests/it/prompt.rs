//! What a planner's model is told.

use serde_json::{Value, json};
use tunesmith::{
    planner_loop::specs,
    prompt::{Dataset, lessons, request, system},
    show::Share,
};
use tunesmith_harness::{
    event::Rows,
    task::{Goal, Task},
};

#[test]
fn the_system_prompt_holds_every_lesson_that_is_told_and_stays_lean() {
    let system = system().unwrap();
    for lesson in lessons().unwrap() {
        assert_eq!(system.contains(&format!("- {}\n", lesson.text)), lesson.told, "{}", lesson.id);
    }
    assert!(!system.contains("{lessons}"));
    assert!(system.len() < 2_600, "{} bytes", system.len());
}

#[test]
fn what_every_request_carries_is_at_most_11_kilobytes() {
    let registry = tunesmith_tools::registry::all();
    let specs = specs(&registry.iter().collect::<Vec<_>>());
    let listed: Vec<Value> = specs
        .iter()
        .map(|spec| json!({"name": spec.name, "description": spec.description, "parameters": spec.schema}))
        .collect();
    let (system, listing) = (system().unwrap().len(), json!(listed).to_string().len());
    assert!(system + listing <= 11_000, "{system} bytes of system prompt and {listing} of tools");
    // What a call needs is all there.
    for (spec, tool) in specs.iter().zip(registry.iter()) {
        let parts = |schema: &Value| {
            let fields = schema["properties"].as_object().unwrap().iter();
            let fields: Vec<_> = fields
                .map(|(name, field)| {
                    (name.clone(), field["type"].clone(), field["enum"].clone(), field["items"]["enum"].clone())
                })
                .collect();
            (fields, schema["required"].clone())
        };
        assert_eq!(parts(&spec.schema), parts(tool.schema()), "{}", spec.name);
    }
}

#[test]
fn rows_are_told_only_where_they_may_be_shared() {
    let task = Task {
        request: "sort tickets".into(),
        files: vec![],
        test: None,
        test_share: None,
        base: None,
        goals: vec![Goal::at_least("accuracy", 0.9)],
        artifacts: Vec::new(),
        max_bytes: None,
        minutes: Some(10.0),
        steps: Some(30),
        usd: None,
        tokens: None,
        disk: None,
        seed: 0,
    };
    let columns = ["text".to_owned(), "label".to_owned()];
    let samples = [json!({"text": "private words", "label": "a"}).as_object().unwrap().clone()];
    let rows = Rows { read: 100, open: 80, sealed: 20, dropped: 0, templated: 0, near_groups: 0 };
    let data = Dataset { path: "data/train.jsonl", rows, columns: &columns, samples: &samples };
    let common = "Request: sort tickets\n\
                  Data: data/train.jsonl with 80 rows you may use (20 more are sealed), columns \"text\", \"label\"\n\
                  Base model: nano\n\
                  Goal: accuracy >= 0.9 on the sealed rows\n\
                  Budget: 10 minutes, 30 tool calls\n";
    let shared = format!("{common}Sample row: {{\"text\":\"private words\",\"label\":\"a\"}}");
    assert_eq!(request(&task, "nano", &data, Share::Samples), shared);
    // What stands where a long row is cut is no part of a secret.
    let secret = format!("hf_{}", "aB3dE6gHi9".repeat(4));
    let long = [json!({"text": format!("{}{secret}", "word ".repeat(33)), "more": "x".repeat(400)})
        .as_object()
        .unwrap()
        .clone()];
    let told = request(&task, "nano", &Dataset { samples: &long, ..data }, Share::Samples);
    assert!(!told.contains("hf_") && !told.contains("aB3"), "{told}");
    assert!(told.contains("word [redact") && told.contains("the middle left out"), "{told}");
    let private = format!("{common}The rows are private: you work from columns, label names, counts and scores.");
    assert_eq!(request(&task, "nano", &data, Share::None), private);
}
