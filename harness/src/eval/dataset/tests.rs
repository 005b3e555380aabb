#![allow(clippy::unwrap_used)]

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use super::*;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn rows(files: &[(&str, &str)], keys: Value, split: &str) -> Result<Value, String> {
    let folder = folder(files);
    let mut keys = keys.as_object().unwrap().clone();
    keys.insert("task".into(), "t".into());
    let local = BTreeMap::from([("org/mapped".to_owned(), folder.path().join("copy"))]);
    let datasets = Datasets { local, folder: folder.path().to_owned() };
    let read = datasets.rows(&TaskConfig::new(keys).unwrap(), split);
    read.map(|docs| json!(docs)).map_err(|e| e.to_string().replace(&folder.path().display().to_string(), "DIR"))
}

#[test]
fn csv_has_the_types_that_pandas_finds() {
    let text = "n,gap,x,flag,s,all,,n\n1,1,1.5,True,a,,i,1\n-2,,2,FALSE,NA,NaN,j,x\n3,7,1e3,true,\"b, c\",,k\n";
    let read =
        rows(&[("d.csv", text)], json!({"dataset_path": "csv", "dataset_kwargs": {"data_files": "d.csv"}}), "train");
    let expected = json!([
        {"n": 1, "gap": 1.0, "x": 1.5, "flag": true, "s": "a", "all": null, "Unnamed: 6": "i", "n.1": "1"},
        {"n": -2, "gap": null, "x": 2.0, "flag": false, "s": null, "all": null, "Unnamed: 6": "j", "n.1": "x"},
        {"n": 3, "gap": 7.0, "x": 1000.0, "flag": true, "s": "b, c", "all": null, "Unnamed: 6": "k", "n.1": null},
    ]);
    assert_eq!(read, Ok(expected));
}

#[test]
fn json_rows_have_one_set_of_columns() {
    let files = [("x/1.json", "{\"a\": 1}\n{\"b\": \"x\", \"a\": 2.5}\n"), ("x/2.json", "[{\"a\": 3}]")];
    let kwargs = json!({"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "**/*.json"}}});
    let expected = json!([{"a": 1.0, "b": null}, {"a": 2.5, "b": "x"}, {"a": 3.0, "b": null}]);
    assert_eq!(rows(&files, kwargs.clone(), "test"), Ok(expected));
    assert!(rows(&files, kwargs, "train").unwrap_err().starts_with("data_files has no split \"train\""));
    let field = [("d.json", "{\"data\": [{\"a\": 1}], \"v\": 2}")];
    let keys = json!({"dataset_path": "json", "dataset_kwargs": {"data_files": ["d.json"], "field": "data"}});
    assert_eq!(rows(&field, keys, "train"), Ok(json!([{"a": 1}])));
}

#[test]
fn a_name_of_the_hub_is_its_local_copy() {
    let files = [
        ("copy/main/test.jsonl", "{\"q\": 1}\n"),
        ("copy/data/train-00001-of-00002.csv", "q\n3\n"),
        ("copy/data/train-00000-of-00002.csv", "q\n2\n"),
        ("copy/dev.txt", "one\ntwo\n"),
    ];
    let asked =
        |config: Value, split| rows(&files, json!({"dataset_path": "org/mapped", "dataset_name": config}), split);
    assert_eq!(asked(json!("main"), "test"), Ok(json!([{"q": 1}])));
    assert_eq!(asked(Value::Null, "train"), Ok(json!([{"q": 2}, {"q": 3}])));
    assert_eq!(asked(Value::Null, "dev"), Ok(json!([{"text": "one"}, {"text": "two"}])));
    assert!(asked(Value::Null, "test").unwrap_err().starts_with("DIR/copy has no split \"test\""));
    let said =
        "data set \"org/mapped:other\" has no local copy; fetch it and name it with: --dataset org/mapped:other=PATH";
    assert_eq!(asked(json!("other"), "test"), Err(said.to_owned()));
}

#[test]
fn an_address_of_a_file_is_its_local_copy() {
    let files = [("copy/a/x.jsonl", "{\"q\": 1}\n")];
    let asked = |address: &str| {
        let kwargs = json!({"data_files": {"test": address}});
        rows(&files, json!({"dataset_path": "json", "dataset_kwargs": kwargs}), "test")
    };
    assert_eq!(asked("hf://datasets/org/mapped/a/x.jsonl"), Ok(json!([{"q": 1}])));
    assert_eq!(asked("hf://datasets/org/mapped@main/a/x.jsonl"), Ok(json!([{"q": 1}])));
    for other in ["hf://datasets/org/mapped/a/y.jsonl", "hf://datasets/org/mapped", "hf://datasets/org/other/a/x.jsonl"]
    {
        let said = format!("data set {other:?} has no local copy; fetch it and name it with: --dataset {other}=PATH");
        assert_eq!(asked(other), Err(said));
    }
}

#[test]
fn what_is_not_followed_is_named() {
    let asked =
        |kwargs: Value| rows(&[], json!({"dataset_path": "json", "dataset_kwargs": kwargs}), "train").unwrap_err();
    assert!(asked(json!({"skiprows": 1})).starts_with("dataset_kwargs.skiprows is not followed"));
    let said = "data set \"https://host/x.json\" has no local copy; fetch it and name it with: --dataset https://host/x.json=PATH";
    assert_eq!(asked(json!({"data_files": "https://host/x.json"})), said);
    assert!(asked(json!({"data_files": "*.json"})).ends_with("there is no such file; check data_files"));
    assert!(asked(json!({})).starts_with("dataset_kwargs.data_files is missing"));
}
