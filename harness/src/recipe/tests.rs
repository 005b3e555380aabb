#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;

fn recipe(kind: JobKind) -> Recipe {
    let label = |value: &str, text: &str| Label { value: value.into(), text: text.into() };
    Recipe {
        kind,
        input: "text".into(),
        target: "label".into(),
        cue: "Intent:".into(),
        labels: vec![label("card_arrival", "card arrival"), label("lost_card", "lost card")],
        changes: Default::default(),
        answer_after: None,
        max_length: 128,
        max_new_tokens: 16,
    }
}

fn after(marker: &str) -> Recipe {
    Recipe { answer_after: Some(marker.into()), ..recipe(JobKind::Generation) }
}

fn row(value: Value) -> Row {
    value.as_object().unwrap().clone()
}

const fn judged(right: bool, well_formed: bool) -> Judged {
    Judged { right, well_formed }
}

#[test]
fn a_row_becomes_a_prompt_with_a_cue_and_the_words_of_its_label() {
    let example =
        recipe(JobKind::Classification).example(&row(json!({"text": " Where is it? ", "label": "lost_card"})));
    let prompt = vec![Message::user("Where is it?\nIntent:")];
    assert_eq!(example, Ok(Example { prompt, completion: "lost card".into(), label: Some(1) }));
}

#[test]
fn other_kinds_keep_the_target_as_it_stands_and_an_empty_cue_adds_no_line() {
    let recipe = Recipe { cue: String::new(), ..recipe(JobKind::Extraction) };
    let example = recipe.example(&row(json!({"text": 42, "label": {"name": "Ada", "age": 3}})));
    let completion = "{\"name\":\"Ada\",\"age\":3}".into();
    assert_eq!(example, Ok(Example { prompt: vec![Message::user("42")], completion, label: None }));
}

#[test]
fn a_row_that_gives_no_example_says_why() {
    let recipe = recipe(JobKind::Classification);
    let missing = |column: &str| Err(RowError::Missing(column.into()));
    assert_eq!(recipe.example(&row(json!({"label": "lost_card"}))), missing("text"));
    assert_eq!(recipe.example(&row(json!({"text": " \n", "label": "lost_card"}))), missing("text"));
    assert_eq!(recipe.example(&row(json!({"text": "x", "label": null}))), missing("label"));
    let unknown = recipe.example(&row(json!({"text": "x", "label": "Lost_card"})));
    assert_eq!(unknown, Err(RowError::UnknownLabel("Lost_card".into())));
    assert_eq!(unknown.unwrap_err().to_string(), "label \"Lost_card\" is not in the recipe");
}

#[test]
fn the_answer_is_what_follows_the_last_marker() {
    let recipe = after("####");
    assert_eq!(recipe.answer("2 + 2 #### 5, no: #### 4 \n"), Some("4"));
    assert_eq!(recipe.answer("so ####"), Some(""));
    assert_eq!(recipe.answer("so 4"), None);
    assert_eq!(self::recipe(JobKind::Generation).answer("  so 4\n"), Some("so 4"));
}

#[test]
fn a_classification_is_right_by_the_words_of_the_label() {
    let recipe = recipe(JobKind::Classification);
    assert_eq!(recipe.judge(" lost card\n", "lost card"), judged(true, true));
    assert_eq!(recipe.judge("card arrival", "lost card"), judged(false, true));
    assert_eq!(recipe.judge("lost cards", "lost card"), judged(false, false));
    assert_eq!(recipe.judge("lost_card", "lost card"), judged(false, false));
    assert_eq!(recipe.judge("", "lost card"), judged(false, false));
}

#[test]
fn an_extraction_is_right_by_its_value_not_its_layout() {
    let recipe = recipe(JobKind::Extraction);
    let want = r#"{"name": "Ada", "tags": ["a", "b"]}"#;
    assert_eq!(recipe.judge("{ \"tags\":[\"a\",\"b\"],\n\"name\":\"Ada\" }", want), judged(true, true));
    assert_eq!(recipe.judge(r#"{"name": "Ada", "tags": ["b", "a"]}"#, want), judged(false, true));
    assert_eq!(recipe.judge(r#"{"name": "Ada"}"#, want), judged(false, true));
    assert_eq!(recipe.judge(r#"{"name": "Ada"} and so on"#, want), judged(false, false));
    assert_eq!(recipe.judge("\"Ada\"", want), judged(false, false));
}

#[test]
fn a_generation_is_right_by_the_text_after_the_marker() {
    let recipe = after("####");
    assert_eq!(recipe.judge("by another way #### 72", "so #### 72"), judged(true, true));
    assert_eq!(recipe.judge("so #### 7", "so #### 72"), judged(false, true));
    assert_eq!(recipe.judge("so 72", "so #### 72"), judged(false, false));
    assert_eq!(recipe.judge("so ####", "so #### 72"), judged(false, false));
    let plain = self::recipe(JobKind::Generation);
    assert_eq!(plain.judge(" olleh ", "olleh"), judged(true, true));
    assert_eq!(plain.judge("", "olleh"), judged(false, false));
}

#[test]
fn a_recipe_with_a_field_nobody_knows_is_refused() {
    let mut text = serde_json::to_value(recipe(JobKind::Classification)).unwrap();
    assert_eq!(serde_json::from_value::<Recipe>(text.clone()).unwrap(), recipe(JobKind::Classification));
    text["prompt_suffix"] = json!("x");
    assert!(serde_json::from_value::<Recipe>(text).is_err());
}

#[test]
fn changes_are_replayed_on_every_row_and_never_see_the_answer() {
    let changes = json!({"set": {"text": "{title}: {text}{label}"}, "clean": ["lower"]});
    let recipe = Recipe { changes: serde_json::from_value(changes).unwrap(), ..recipe(JobKind::Classification) };
    let row = row(json!({"title": "CARD", "text": "Where is it?", "label": "lost_card"}));
    let example = recipe.example(&row).unwrap();
    assert_eq!(example.prompt, [Message::user("card: where is it?\nIntent:")]);
    assert_eq!((example.completion.as_str(), example.label), ("lost card", Some(1)));
    let text = serde_json::to_string(&recipe).unwrap();
    assert_eq!(serde_json::from_str::<Recipe>(&text).unwrap(), recipe);
}
