//! Calls as models really write them.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tunesmith::model::{
    Call, Finish, Reply,
    intake::{Mended, Repair, arguments, calls_in_text, repairs},
};

/// The value and what was mended, as of a reply that came to its end.
fn mended(raw: &str) -> Result<(Value, Vec<Repair>), String> {
    arguments(raw, true).map(|Mended { value, repairs }| (value, repairs))
}

#[test]
fn broken_arguments_are_mended_and_each_repair_is_told() {
    use Repair::*;
    let cases: &[(&str, Value, &[Repair])] = &[
        (r#"{"a": [1, 2], "b": "x, }"}"#, json!({"a": [1, 2], "b": "x, }"}), &[]),
        (r#"{"a": [1, 2, ], "b": "x, }", }"#, json!({"a": [1, 2], "b": "x, }"}), &[Comma]),
        ("```json\n{\"a\": 1}\n```", json!({"a": 1}), &[Fence]),
        ("```\n{\"a\": [1,],}\n```", json!({"a": [1]}), &[Fence, Comma]),
        (r#""{\"a\": 1}""#, json!({"a": 1}), &[Nested]),
        (r#""{'a': 1,}""#, json!({"a": 1}), &[Nested, Quotes, Comma]),
        (
            "{'a': 'x \"y\" z', 'b': True, 'c': None, 'd': [False]}",
            json!({"a": "x \"y\" z", "b": true, "c": null, "d": [false]}),
            &[Quotes, Word],
        ),
        (r#"{'a': 'it\'s'}"#, json!({"a": "it's"}), &[Quotes]),
        ("{rate: 0.001, max_length: 60}", json!({"rate": 0.001, "max_length": 60}), &[Key]),
        ("{\"a\": \"one\ntwo\tthree\"}", json!({"a": "one\ntwo\tthree"}), &[Breaks]),
        (r#"{"a": {"b": [1, 2"#, json!({"a": {"b": [1, 2]}}), &[Unclosed]),
        (r#"{"a": "half"#, json!({"a": "half"}), &[Unclosed]),
        (r#"{"a": 1,"#, json!({"a": 1}), &[Comma, Unclosed]),
        (r#"{"a": 1}}"#, json!({"a": 1}), &[Surplus]),
        (r#"{"a": "\",}\ud83d\ude42", }"#, json!({"a": "\",}🙂"}), &[Comma]),
        ("", json!({}), &[]),
        (" null ", json!({}), &[]),
    ];
    for (raw, value, repairs) in cases {
        assert_eq!(mended(raw), Ok((value.clone(), repairs.to_vec())), "{raw}");
    }
}

#[test]
fn arguments_with_no_one_reading_are_refused_with_the_strict_parsers_reason() {
    let cases = [
        ("[1]", "the arguments are not a JSON object"),
        (r#""later""#, "the arguments are a JSON string; send a JSON object"),
        (r#""\"{}\"""#, "the arguments are a JSON string; send a JSON object"),
        ("{a: sixty}", "the arguments are not valid JSON: key must be a string at line 1 column 2"),
        (r#"{"a": sixty}"#, "the arguments are not valid JSON: expected value at line 1 column 7"),
        (r#"{"a""#, "the arguments are not valid JSON: EOF while parsing an object at line 1 column 4"),
        (r#"{"a": "#, "the arguments are not valid JSON: EOF while parsing a value at line 1 column 5"),
        (r#"{"a": tr"#, "the arguments are not valid JSON: EOF while parsing a value at line 1 column 8"),
        (r#"{"a": "x\"#, "the arguments are not valid JSON: EOF while parsing a string at line 1 column 9"),
        (r#"{"a": 1 "b": 2}"#, "the arguments are not valid JSON: expected `,` or `}` at line 1 column 9"),
        (r#"{"a": 1} and more"#, "the arguments are not valid JSON: trailing characters at line 1 column 10"),
        ("{'a': 'it's'}", "the arguments are not valid JSON: key must be a string at line 1 column 2"),
        (
            "{\"a\": \"b\u{0}\"}",
            "the arguments are not valid JSON: control character (\\u0000-\\u001F) found while parsing a string at line 1 column 9",
        ),
    ];
    for (raw, why) in cases {
        assert_eq!(mended(raw), Err(why.to_owned()), "{raw}");
    }
    let deep = "[".repeat(100_000);
    assert!(mended(&format!("{{'a': {deep}")).is_err());
}

#[test]
fn what_is_mended_of_a_reply_is_counted_call_by_call() {
    use Repair::*;
    let call = |arguments: &str| Call { name: "look".into(), arguments: arguments.into(), ..Call::default() };
    let count = |reply: Reply| repairs(&reply, &["look"]);
    let calls = vec![call("{'a': 1,}"), call("{}"), call("{\"a\": 1,}"), call("{broken")];
    // One that cannot be mended is an error of its own.
    assert_eq!(count(Reply { calls, ..Reply::default() }), [Quotes, Comma, Comma]);
    let text = "<tool_call>{\"name\": \"look\", \"arguments\": {'a': 1}}</tool_call>";
    assert_eq!(count(Reply { text: text.into(), ..Reply::default() }), [Text, Quotes]);
    assert_eq!(count(Reply { text: "no call".into(), ..Reply::default() }), []);
    // What a limit of length has cut is not closed.
    let cut = Reply { calls: vec![call("{\"a\": 1")], finish: Finish::Length, ..Reply::default() };
    assert_eq!((count(cut.clone()), count(Reply { finish: Finish::Calls, ..cut })), (vec![], vec![Unclosed]));
}

#[test]
fn what_a_limit_of_length_has_cut_is_not_closed() {
    for raw in [r#"{"a": "half"#, r#"{"a": 1"#, r#"{"a": [1, {"b": 2}"#, "{'a': 1,"] {
        assert!(arguments(raw, false).is_err(), "{raw}");
        assert!(arguments(raw, true).is_ok(), "{raw}");
    }
    let comma = arguments("{\"a\": 1,}", false).unwrap();
    assert_eq!((comma.value, comma.repairs), (json!({"a": 1}), vec![Repair::Comma]));
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9f64).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-z'\"\\\\ ]{0,4}", inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn json_object() -> impl Strategy<Value = Value> {
    prop::collection::vec(("\\PC{0,5}", json_value()), 0..5)
        .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>()))
}

/// Whether `part` says nothing that `whole` does not begin with.
fn begins(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::String(part), Value::String(whole)) => whole.starts_with(part.as_str()),
        (Value::Number(_), Value::Number(_)) => true,
        (Value::Array(part), Value::Array(whole)) => {
            let last = part.len().saturating_sub(1);
            part.len() <= whole.len()
                && part.iter().zip(whole).enumerate().all(|(at, (p, w))| if at < last { p == w } else { begins(p, w) })
        }
        (Value::Object(part), Value::Object(whole)) => {
            let last = part.len().saturating_sub(1);
            part.len() <= whole.len()
                && part
                    .iter()
                    .zip(whole)
                    .enumerate()
                    .all(|(at, (p, w))| p.0 == w.0 && if at < last { p.1 == w.1 } else { begins(p.1, w.1) })
        }
        (part, whole) => part == whole,
    }
}

/// As Python prints it, where it does so like JSON but for quotes and words.
fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Array(list) => format!("[{}]", list.iter().map(python).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let fields: Vec<String> =
                map.iter().map(|(key, value)| format!("{}: {}", python(&key.as_str().into()), python(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::String(text) => {
            let json = Value::from(text.as_str()).to_string();
            format!("'{}'", json[1..json.len() - 1].replace("\\\"", "\"").replace('\'', "\\'"))
        }
        number => number.to_string(),
    }
}

#[test]
fn marks_without_end_are_read_once_each() {
    let text = "<tool_call>".repeat((4 << 20) / 11);
    assert_eq!(calls_in_text(&text, &["a"]), (text.clone(), vec![]));
    // The next one ends a call that is not closed, though a close comes later.
    let two = "<tool_call>{\"name\": \"a\"}<tool_call>{\"name\": \"b\"}</tool_call>";
    let names: Vec<String> = calls_in_text(two, &["a", "b"]).1.into_iter().map(|call| call.name).collect();
    assert_eq!(names, ["a", "b"]);
}

proptest! {
    #[test]
    fn valid_json_stays_what_it_is(object in json_object(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&object).unwrap() } else { object.to_string() };
        prop_assert_eq!(mended(&text), Ok((object.clone(), vec![])));
        prop_assert_eq!(arguments(&text, false).map(|mended| mended.value), Ok(object));
    }

    #[test]
    fn a_cut_object_gives_what_was_there_or_is_refused(object in json_object(), cut: prop::sample::Index) {
        let text = object.to_string();
        let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let part = &text[..ends[cut.index(ends.len())]];
        if let Ok(mended) = arguments(part, true) {
            prop_assert!(begins(&mended.value, &object), "{} of {}", mended.value, object);
        }
        if !part.is_empty() {
            prop_assert!(arguments(part, false).is_err());
        }
    }

    #[test]
    fn what_python_prints_is_read_as_it_is_meant(object in json_object()) {
        prop_assert_eq!(mended(&python(&object)).map(|(value, _)| value), Ok(object));
    }

    #[test]
    fn nothing_panics(text in "[\\[\\]{}:,'\"\\\\a-f0-9 TNtn.<>/=`|_\n-]{0,60}", any in "\\PC{0,40}", whole: bool) {
        for text in [text, any] {
            let _ = arguments(&text, whole);
            for form in ["<tool_call>", "<function=", "[TOOL_CALLS]", "<|python_tag|>", "```", "", "<tool_call><function=f><parameter="] {
                let _ = calls_in_text(&format!("{form}{text}"), &["a"]);
            }
        }
    }
}

fn call(name: &str, arguments: &Value) -> Call {
    Call { name: name.into(), arguments: arguments.to_string(), ..Call::default() }
}

#[test]
fn calls_in_the_text_are_found_in_the_forms_that_models_learn() {
    let (train, look) = (call("train", &json!({"rate": 1})), call("look", &json!({})));
    let cases = [
        // Hermes and Qwen; the last one without its end.
        (
            "Next:\n<tool_call>\n{\"name\": \"train\", \"arguments\": {\"rate\":1}}\n</tool_call> and \
          <tool_call>{\"name\": \"look\"}",
            "Next:\n and",
            vec![train.clone(), look.clone()],
        ),
        (
            "<tool_call>{\"name\": \"train\", \"arguments\": {\"rate\":1}}\n<tool_call>{\"name\": \"look\"}",
            "",
            vec![train.clone(), look.clone()],
        ),
        (
            "<tool_call>\n{\"name\": \"train\", \"arguments\": \"{\\\"rate\\\":1}\"}</tool_call>",
            "",
            vec![train.clone()],
        ),
        (
            "<tool_call>[{\"name\": \"train\", \"arguments\": {\"rate\":1}}, {\"name\": \"look\"}]</tool_call>",
            "",
            vec![train.clone(), look.clone()],
        ),
        // Qwen Coder.
        (
            "I train.\n<tool_call>\n<function=train>\n<parameter=rate>\n1\n</parameter>\n</function>\n</tool_call>",
            "I train.",
            vec![train.clone()],
        ),
        // Llama 3.
        ("<function=train>{\"rate\":1}</function>", "", vec![train.clone()]),
        ("<function=look></function><function=train>{\"rate\":1}", "", vec![look.clone(), train.clone()]),
        (
            "<|python_tag|>{\"type\": \"function\", \"name\": \"train\", \"parameters\": {\"rate\":1}}<|eom_id|>",
            "",
            vec![train.clone()],
        ),
        ("<|python_tag|>{\"name\": \"train\", \"parameters\": {\"rate\":1}}<|eot_id|>", "", vec![train.clone()]),
        // Mistral.
        ("[TOOL_CALLS][{\"name\": \"train\", \"arguments\": {\"rate\":1}}]", "", vec![train.clone()]),
        ("[TOOL_CALLS] [{\"name\": \"train\", \"arguments\": {\"rate\":1}}]</s>", "", vec![train.clone()]),
        ("Now. [TOOL_CALLS]train[ARGS]{\"rate\":1}[TOOL_CALLS]look{}", "Now.", vec![train.clone(), look.clone()]),
        // Granite.
        ("<|tool_call|>[{\"name\": \"train\", \"arguments\": {\"rate\":1}}]", "", vec![train.clone()]),
        // Fenced, or nothing but JSON.
        ("I call:\n```json\n{\"name\": \"train\", \"parameters\": {\"rate\":1}}\n```", "I call:", vec![train.clone()]),
        ("```\n[{\"name\": \"train\", \"parameters\": {\"rate\":1}}]\n```", "", vec![train.clone()]),
        ("{\"name\": \"train\", \"arguments\": {\"rate\":1}}", "", vec![train.clone()]),
        (
            "{\"type\": \"function\", \"function\": {\"name\": \"train\", \"arguments\": {\"rate\":1}}}",
            "",
            vec![train.clone()],
        ),
        ("{\"function\": \"train\", \"parameters\": {\"rate\":1}}", "", vec![train.clone()]),
        // What was thought before is no call.
        (
            "<think>\n<tool_call>{\"name\": \"destroy\"}</tool_call>?</think>\n<tool_call>{\"name\": \"look\"}</tool_call>",
            "<think>\n<tool_call>{\"name\": \"destroy\"}</tool_call>?</think>",
            vec![look],
        ),
    ];
    for (text, rest, calls) in cases {
        assert_eq!(calls_in_text(text, &["train", "look"]), (rest.to_owned(), calls), "{text}");
    }
}

#[test]
fn an_example_in_prose_is_not_a_call() {
    for text in [
        "```json\n{\"name\": \"other\", \"arguments\": {}}\n```",
        "```json\n{\"name\": \"train\"}\n```",
        "```python\ntrain()\n```\nand ```",
        "{\"name\": \"train\"}",
        "{\"name\": \"other\", \"arguments\": {}}",
        "[{\"name\": \"train\", \"arguments\": {}}, {\"name\": \"other\", \"arguments\": {}}]",
        "You could send {\"name\": \"train\", \"arguments\": {}} to train.",
        "{\"name\": \"train\", \"arguments\": {}} would train.",
        "no call at all",
        "<tool_call>not json</tool_call>",
        "the tag <function=train",
        "<function=a b>{}</function>",
        "[TOOL_CALLS] is a token of Mistral's",
        "<|python_tag|>print(1)",
        "<think>I could say <tool_call>{\"name\": \"train\"}</tool_call>",
    ] {
        assert_eq!(calls_in_text(text, &["train"]), (text.to_owned(), vec![]));
    }
}

#[test]
fn a_broken_call_in_the_text_keeps_its_arguments_as_they_are() {
    let cases = [
        (
            "<tool_call>{\"name\": \"train\", \"arguments\": {\"rate\": 1,}}</tool_call>",
            Ok((json!({"rate": 1}), vec![Repair::Comma])),
        ),
        (
            "<tool_call>{'name': 'train', 'arguments': {'rate': 1}}</tool_call>",
            Ok((json!({"rate": 1}), vec![Repair::Quotes])),
        ),
        (
            "<tool_call>{\"name\": \"train\", \"arguments\": {\"rate\": 1}</tool_call>",
            Ok((json!({"rate": 1}), vec![Repair::Unclosed])),
        ),
        ("{\"name\": \"train\", \"arguments\": {\"rate\": 1}", Ok((json!({"rate": 1}), vec![Repair::Unclosed]))),
        (
            "```json\n{\"name\": \"train\", \"parameters\": {\"rate\": 1,}}\n```",
            Ok((json!({"rate": 1}), vec![Repair::Comma])),
        ),
        ("<function=train>{\"rate\": 1", Ok((json!({"rate": 1}), vec![Repair::Unclosed]))),
        (
            "<tool_call>{\"name\": \"train\", \"arguments\": {rate}}</tool_call>",
            Err("the arguments are not valid JSON: key must be a string at line 1 column 2".to_owned()),
        ),
    ];
    for (text, expected) in cases {
        let (rest, calls) = calls_in_text(text, &["train"]);
        assert_eq!((rest.as_str(), calls.len(), calls[0].name.as_str()), ("", 1, "train"), "{text}");
        assert_eq!(mended(&calls[0].arguments), expected, "{text}");
    }
    // What a limit of length cut stays cut.
    let (_, calls) = calls_in_text("<tool_call>{\"name\": \"train\", \"arguments\": {\"text\": \"hal", &["train"]);
    assert!(arguments(&calls[0].arguments, false).is_err());
}
