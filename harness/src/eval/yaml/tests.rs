#![allow(clippy::unwrap_used)]

use proptest::{prelude::*, test_runner::RngSeed};

use super::*;

fn read(text: &str) -> Result<Value, String> {
    parse(text, Path::new("/tasks")).map_err(|e| e.to_string())
}

fn golden(what: &str) -> Map<String, Value> {
    let golden: Value = serde_json::from_str(include_str!("../../../tests/golden/yaml.json")).unwrap();
    golden[what].as_object().unwrap().clone()
}

#[test]
fn every_kind_of_plain_scalar_is_what_pyyaml_makes_of_it() {
    for (text, expected) in golden("scalars") {
        let read = read(&format!("- {text}")).map(|value| value[0].to_string());
        assert_eq!(read, Ok(expected.to_string()), "{text}");
    }
}

#[test]
fn every_kind_of_document_is_what_pyyaml_makes_of_it() {
    for (text, expected) in golden("documents") {
        assert_eq!(read(&text).map(|value| value.to_string()), Ok(expected.to_string()), "{text}");
    }
}

#[test]
fn a_function_names_a_file_beside_the_task() {
    let expected = json!({"f": {"!function": {"file": "/tasks/sub/utils.py", "name": "process_docs"}}});
    assert_eq!(read("f: !function sub.utils.process_docs"), Ok(expected));
    assert_eq!(read("f: !function x").unwrap_err(), "line 1: !function x names no file; write !function FILE.NAME");
    assert!(read("'!function': {file: /etc/passwd, name: x}").unwrap_err().contains("is a tag, not a key"));
}

#[test]
fn what_has_no_meaning_is_named_with_its_line() {
    for (text, said) in [
        ("a: 1\nb: !python/object x", "line 2: the tag !python/object is not known; a task file uses !function only"),
        ("a: !!binary aGk=", "line 1: the tag !!binary is not known here; leave it out"),
        ("a: !!set {b}", "line 1: the tag tag:yaml.org,2002:set is not known here"),
        ("a: =", "line 1: a lone = has no meaning here"),
        ("a: 0b_", "line 1: 0b_ is not an integer of 64 bits"),
        ("a: 99999999999999999999", "line 1: 99999999999999999999 is not an integer of 64 bits"),
        ("? [a]\n: b", "line 1: a list or a map is no key"),
        ("<<: 1", "line 1: << takes a map or a list of maps"),
        ("--- 1\n--- 2", "line 2: a second document begins"),
        ("&a [*a]", "line 1: an alias stands inside the value that it names"),
        ("a: *b", "line 1:"),
        ("a: b: c", "line 1:"),
        ("a: \"x", "line 1:"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.starts_with(said), "{text}: {error}");
    }
}

#[test]
fn aliases_of_aliases_are_bounded() {
    let level = |n: usize| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(","));
    let laughs: String = std::iter::once("a0: &a0 [x]\n".to_owned()).chain((1..12).map(level)).collect();
    assert!(read(&laughs).unwrap_err().contains("aliases written out"));
    let deep: String = (1..200).map(|n| format!("a{n}: &a{n} [*a{}]\n", n - 1)).collect();
    assert!(read(&format!("a0: &a0 [x]\n{deep}")).unwrap_err().contains("nested more than"));
    assert!(read(&"[".repeat(1000)).unwrap_err().starts_with("line 1: "));
    assert!(read(&"x".repeat(MAX_BYTES + 1)).unwrap_err().contains("are more than"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hostile_text_gives_a_value_or_an_error(text in "([-?:,\\[\\]{}&*!|>'\"%@`#~ \n\r\tab01.<=\\\\\u{85}é]|: |- |\n  |!!|\\*a|&a |<<: ){0,40}") {
        let _ = read(&text);
    }

    #[test]
    fn quoted_texts_over_lines_lose_nothing(words in prop::collection::vec("[a-z]{1,5}", 1..6), indent in 0..4_usize) {
        let lines = words.join(&format!("\n{}", " ".repeat(indent)));
        prop_assert_eq!(read(&format!("a:\n  b: \"{lines}\"\n  c: 1")), Ok(json!({"a": {"b": words.join(" "), "c": 1}})));
    }
}
