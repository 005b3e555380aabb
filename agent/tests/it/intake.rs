//! Calls as models really write them.

use serde_json::{Value, json};
use tunesmith::model::{
    Call,
    intake::{arguments, calls_in_text},
};

#[test]
fn trivially_broken_arguments_are_mended() {
    let object = json!({"a": [1, 2], "b": "x, }"});
    let cases = [
        r#"{"a": [1, 2], "b": "x, }"}"#,
        r#"{"a": [1, 2, ], "b": "x, }", }"#,
        "```json\n{\"a\": [1, 2], \"b\": \"x, }\"}\n```",
        "```\n{\"a\": [1, 2,], \"b\": \"x, }\"}\n```",
        r#""{\"a\": [1, 2], \"b\": \"x, }\"}""#,
    ];
    for raw in cases {
        assert_eq!(arguments(raw), Ok(object.clone()), "{raw}");
    }
    for raw in ["", "  ", "null", "{}"] {
        assert_eq!(arguments(raw), Ok(json!({})), "{raw:?}");
    }
    // An escaped quote does not end a string.
    assert_eq!(arguments(r#"{"a": "\",}", }"#), Ok(json!({"a": "\",}"})));
}

#[test]
fn other_arguments_are_refused_with_a_reason() {
    let cases = [
        (r#"{"a": 1"#, "the arguments are not valid JSON: EOF while parsing an object at line 1 column 7"),
        ("[1]", "the arguments are not a JSON object"),
        (r#""later""#, "the arguments are a JSON string; send a JSON object"),
        ("{a: 1}", "the arguments are not valid JSON: key must be a string at line 1 column 2"),
    ];
    for (raw, why) in cases {
        assert_eq!(arguments(raw), Err(why.to_owned()), "{raw}");
    }
}

fn call(name: &str, arguments: &Value) -> Call {
    Call { name: name.into(), arguments: arguments.to_string(), ..Call::default() }
}

#[test]
fn calls_in_the_text_are_found() {
    let tagged = "Next:\n<tool_call>\n{\"name\": \"train\", \"arguments\": {\"rate\": 1}}\n</tool_call> and \
                  <tool_call>{\"name\": \"finish\"}";
    let (rest, calls) = calls_in_text(tagged, &[]);
    assert_eq!(rest, "Next:\n and");
    assert_eq!(calls, [call("train", &json!({"rate": 1})), call("finish", &json!({}))]);

    let fenced = "I call:\n```json\n{\"name\": \"train\", \"parameters\": {\"rate\": 1,}}\n```";
    assert_eq!(calls_in_text(fenced, &["train"]), ("I call:".into(), vec![call("train", &json!({"rate": 1}))]));
}

#[test]
fn an_example_in_prose_is_not_a_call() {
    for text in [
        "```json\n{\"name\": \"other\", \"arguments\": {}}\n```",
        "```json\n{\"name\": \"train\"}\n```",
        "```python\ntrain()\n```\nand ```",
        "no call at all",
        "<tool_call>not json</tool_call>",
    ] {
        assert_eq!(calls_in_text(text, &["train"]), (text.to_owned(), vec![]));
    }
}

#[test]
fn a_broken_call_in_the_text_keeps_its_name_so_that_the_model_hears_of_it() {
    let (_, calls) = calls_in_text("<tool_call>{\"name\": \"train\", \"arguments\": {rate}}</tool_call>", &[]);
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].name, "train");
    assert!(arguments(&calls[0].arguments).is_err());
}
