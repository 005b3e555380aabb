#![allow(clippy::unwrap_used)]
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn row(value: Value) -> Row {
    value.as_object().unwrap().clone()
}

fn changes(value: Value) -> Changes {
    serde_json::from_value(value).unwrap()
}

fn changed(changes: &Changes, value: Value) -> Value {
    let mut row = row(value);
    changes.apply(&mut row, Some("answer")).unwrap();
    Value::Object(row)
}

#[test]
fn columns_are_made_of_the_row_as_it_was() {
    let changes = changes(json!({"set": {"a": "{{{a}}} and {b}", "b": "{ a }{n}{none}{null}{answer}"}}));
    assert_eq!(
        changed(&changes, json!({"a": "x", "b": "y", "n": 1.5, "null": null, "answer": "secret"})),
        json!({"a": "{x} and y", "b": "x1.5", "n": 1.5, "null": null, "answer": "secret"})
    );
}

#[test]
fn patterns_are_replaced_and_texts_cleaned_but_for_the_answer() {
    let changes = changes(json!({
        "replace": [{"pattern": "<<[^>]*>>"}, {"column": "b", "pattern": "(\\d+) EUR", "with": "€$1"}],
        "clean": ["lower", "spaces"]
    }));
    assert_eq!(
        changed(&changes, json!({"a": " A  <<1+1=2>> B ", "b": ["5 EUR", {"c": "6 EUR"}, 7], "answer": " A  <<1>>"})),
        json!({"a": "a b", "b": ["€5", {"c": "€6"}, 7], "answer": " A  <<1>>"})
    );
}

#[test]
fn each_way_to_clean_does_what_it_says() {
    let table = [
        (Clean::Encoding, "cafÃ© â€œquotedâ€\u{9d}", "café “quoted”"),
        (Clean::Encoding, "café “quoted”", "café “quoted”"),
        (Clean::Encoding, "Ã© and 漢字", "Ã© and 漢字"),
        (
            Clean::Html,
            "<p class='x'>a &amp; b<br/>c</p><!-- no\n --> &#8364; &#x41; &unknown; 1 < 2 &lt;b&gt;",
            "a & b\nc\n € A &unknown; 1 < 2 <b>",
        ),
        (Clean::Unicode, "e\u{301} \u{1100}\u{1161}", "\u{e9} \u{ac00}"),
        (Clean::Control, "a\u{0}b\u{200b}c\u{feff}\td\ne\r\u{202e} \u{200d}", "abc\td\ne \u{200d}"),
        (Clean::Spaces, "\n a \t b \r\n\n\n\n c\u{a0}d \n", "a b\n\nc d"),
        (Clean::Trim, " a  b \n", "a  b"),
        (Clean::Lower, "AÉß", "aéß"),
    ];
    for (way, from, to) in table {
        assert_eq!(cleaning::all(from, &BTreeSet::from([way])), to, "{way:?}");
    }
}

#[test]
fn what_cannot_be_changed_is_said() {
    let table = [
        (json!({"set": {"a": "{b"}}), "set: \"a\": a brace has no partner; write {{ or }} for a brace itself"),
        (json!({"set": {"a": "b}"}}), "set: \"a\": a brace has no partner; write {{ or }} for a brace itself"),
        (json!({"set": {"a": "{b{c}}"}}), "set: \"a\": a brace has no partner; write {{ or }} for a brace itself"),
        (json!({"set": {"a": "{ }"}}), "set: \"a\": {} names no column"),
        (
            json!({"set": {"answer": "b"}}),
            "set: \"answer\" is the answer's column, which stays as it is; set another column",
        ),
        (json!({"set": {"a": "{answer}"}}), "set: \"a\" is made of \"answer\", the answer, which no input may hold"),
        (
            json!({"replace": [{"column": "answer", "pattern": "a"}]}),
            "replace: \"answer\" is the answer's column, which stays as it is; name another one",
        ),
        (json!({"replace": [{"pattern": "(a"}]}), "replace: \"(a\" is not a pattern: unclosed group"),
        (
            json!({"replace": [{"pattern": "a{1000}{1000}"}]}),
            "replace: \"a{1000}{1000}\" is not a pattern: Compiled regex exceeds size limit of 1048576 bytes.",
        ),
    ];
    for (given, why) in table {
        assert_eq!(changes(given.clone()).check(Some("answer")), Err(why.to_owned()), "{given}");
    }
    assert!(serde_json::from_value::<Changes>(json!({"sets": {}})).is_err());
}

#[test]
fn no_text_grows_without_bound() {
    let doubled = json!({"pattern": "(?s)^.*$", "with": "$0$0"});
    let changes = changes(json!({"replace": vec![doubled; 40]}));
    let mut one = row(json!({"a": "0123456789"}));
    assert_eq!(changes.apply(&mut one, None), Err("column \"a\" becomes longer than 16 MB".to_owned()));
}

#[test]
fn changes_read_and_write_alike_and_none_are_nothing() {
    let value = json!({"set": {"a": "{b}"}, "replace": [{"pattern": "x", "with": "y"}], "clean": ["html", "spaces"]});
    assert_eq!(serde_json::to_value(changes(value.clone())).unwrap(), value);
    assert_eq!(serde_json::to_value(Changes::default()).unwrap(), json!({}));
    assert!(Changes::default().is_empty() && !changes(value).is_empty());
}

proptest! {
    #[test]
    fn cleaning_twice_is_cleaning_once(text in "(?s).{0,60}|[ \t\n\r<>&;a-zé\u{200b}\u{301}]{0,60}") {
        for way in [Clean::Unicode, Clean::Control, Clean::Spaces, Clean::Trim, Clean::Lower] {
            let once = cleaning::all(&text, &BTreeSet::from([way])).into_owned();
            let twice = cleaning::all(&once, &BTreeSet::from([way])).into_owned();
            prop_assert_eq!(&twice, &once);
        }
    }

    #[test]
    fn any_template_and_any_text_end_in_a_text_or_an_error(template in ".{0,30}", text in "(?s).{0,40}") {
        let all = [Clean::Encoding, Clean::Html, Clean::Unicode, Clean::Control, Clean::Spaces, Clean::Lower];
        let set = BTreeMap::from([("b".to_owned(), template.clone())]);
        let changes = Changes::new(set, vec![], BTreeSet::from(all));
        let mut one = row(json!({"a": text}));
        if changes.apply(&mut one, None).is_ok() {
            prop_assert!(one["b"].is_string());
        } else {
            let braces = template.contains(['{', '}']);
            prop_assert!(braces);
        }
    }
}
