//! What strangers' task files, rows and answers may do: they end in a short error or in the right result, and soon.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Map, json};
use tunesmith_harness::eval::{
    config::TaskConfig,
    dataset::Datasets,
    filters::{Answer, Pipeline},
    yaml,
};

/// One short line.
fn is_short(error: &str) -> bool {
    error.lines().count() == 1 && error.chars().count() < 300
}

#[test]
fn a_task_file_of_the_largest_size_is_refused_or_read_whatever_it_repeats() {
    let (mut refused, mut read) = (0, 0);
    for part in [
        "[",
        "{",
        "- ",
        "? ",
        "[[],",
        "{a: ",
        "&a ",
        "*a ",
        "'",
        "\"",
        ": ",
        "\t",
        "!!x ",
        "%T a\n",
        "a: 1\n",
        "a: |\n b\n",
        "# c\n",
        "- - ",
        "[a,\nb,\n",
        "\"\\x41",
        "a: \"x\ny\"\n",
        "a: [\nb]\n",
        "<<: {a: 1}\n",
        "---\n",
        "é: \"x\n",
        "a b ",
        ">\n\n",
    ] {
        match yaml::parse(&part.repeat(yaml::MAX_BYTES / part.len()), Path::new("")) {
            Ok(_) => read += 1,
            Err(error) => {
                assert!(is_short(&error.to_string()), "{part:?}: {error}");
                refused += 1;
            }
        }
    }
    assert_eq!((refused, read), (22, 5));
}

/// What a data file gives a task, or the error.
fn rows(name: &str, text: &str) -> Result<String, String> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(name), text).unwrap();
    let builder = if name.ends_with("csv") { "csv" } else { "json" };
    let keys = json!({"task": "t", "dataset_path": builder, "dataset_kwargs": {"data_files": {"test": name}}});
    let config = TaskConfig::new(keys.as_object().unwrap().clone()).unwrap();
    let datasets = Datasets { local: BTreeMap::new(), folder: dir.path().to_owned() };
    let rows = datasets.rows(&config, "test").map(|rows| json!(rows).to_string());
    rows.map_err(|error| error.to_string().replace(&format!("{}/", dir.path().display()), ""))
}

#[test]
fn rows_that_are_damaged_or_strange_are_refused_or_read() {
    for (name, text, said) in [
        ("a.json", "[".repeat(100_000), "a.json: line 1: not JSON: recursion limit exceeded (column 128)"),
        ("a.json", "[]".into(), "a.json: has no rows (an empty array); add rows below it"),
    ] {
        assert_eq!(rows(name, &text), Err(said.to_owned()));
    }
    for text in ["{\"a\": \"\\ud800\"}\n", "{\"a\": NaN}\n", "{\"a\": 1e999}\n", "{\"a\": 1}\n{\"a\""] {
        let error = rows("a.jsonl", text).unwrap_err();
        assert!(error.contains("not JSON") && is_short(&error), "{error}");
    }
    let twice = rows("a.jsonl", "{\"a\": 1, \"a\": 2}\n").unwrap_err();
    assert!(twice.contains("stands twice in one object") && is_short(&twice), "{twice}");
    let long = rows("a.jsonl", "{\"a\": 123456789012345678901234567890}\n").unwrap_err();
    assert!(long.contains("more than 64 bits") && is_short(&long), "{long}");
    let wide = rows("a.csv", &(",".repeat(100_000) + "\n1\n")).unwrap();
    assert!(wide.starts_with("[{\"Unnamed: 0\":1,\"Unnamed: 1\":null,"), "{}", &wide[..60]);
}

#[test]
fn patterns_that_explode_end_with_an_error_or_an_answer() {
    let doc = Map::new();
    let apply = |pattern: &str, answer: String| {
        let take = json!({"function": "take_first"});
        let list = [json!({"name": "f", "filter": [{"function": "regex", "regex_pattern": pattern}, take]})];
        Pipeline::read(Some(&list))?.remove(0).apply(vec![vec![Answer::Text(answer)]], &[&doc])
    };
    for (pattern, answer) in [
        ("((a{1,100}){1,100}){1,100}", "a".repeat(1_000)),
        ("(.*)(.*)(.*)(.*)x", "a".repeat(3_000)),
        (r"(\w+\s?)*\1$", "ab ".repeat(300)),
        ("(?i)é+(?<=x)", "é".repeat(100_000)),
        ("(((((", String::new()),
        ("", "a".repeat(100_000)),
    ] {
        if let Err(error) = apply(pattern, answer) {
            assert!(is_short(&error.to_string()), "{pattern}: {error}");
        }
    }
    assert_eq!(apply("(a+)+$", "b".to_owned() + &"a".repeat(5_000)), Ok(vec![Answer::Text("a".repeat(5_000))]));
}
