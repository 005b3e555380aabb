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

const FILES: &[(&str, &str)] = &[
    ("_base", "dataset_path: json\noutput_type: multiple_choice\nnum_fewshot: 1\ntag: all\n"),
    ("a/one.yaml", "include: ../_base\ntask: one\nnum_fewshot: 2\n"),
    ("a/two.yaml", "include: [../_base]\ntask: two\ntag: [all, even]\n"),
    ("a/three.yaml", "task: three\ndataset_path: json\ngeneration_kwargs: {temperature: 1}\n"),
    (
        "g.yaml",
        "group: outer\ngroup_alias: Outer\nrepeats: 3\ntask:\n- one\n- {task: three, num_fewshot: 7}\n- {group: in, task: [two]}\n- {task: own, dataset_path: csv}\naggregate_metric_list: {metric: acc}\nmetadata: {version: 2}\n",
    ),
    ("h.yaml", "group: again\ntask: [outer, even]\n"),
    ("loop.yaml", "group: loop\ntask: [loop]\n"),
    ("class.yaml", "task: old\nclass: !function task.Old\n"),
    ("broken.yaml", "task: [\n"),
    ("missing.yaml", "group: lost\ntask: [twoo]\n"),
];

fn select(asked: &[&str]) -> Result<Selection, String> {
    let folder = folder(FILES);
    let registry = Registry::index(&[folder.path().to_owned()]).unwrap();
    registry.select(&asked.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).map_err(|e| e.to_string())
}

fn names(asked: &[&str]) -> Vec<String> {
    select(asked).unwrap().tasks.into_iter().map(|task| task.task).collect()
}

#[test]
fn names_tags_and_patterns_stand_for_tasks() {
    assert_eq!(names(&["two", "one"]), ["two", "one"]);
    assert_eq!(names(&["all"]), ["one", "two"]);
    assert_eq!(names(&["t*"]), ["three", "two"]);
    assert_eq!(names(&["[!t]ne", "tw?", "one"]), ["one", "two"]);
}

#[test]
fn a_group_brings_its_tasks_with_changed_keys() {
    let found = select(&["outer"]).unwrap();
    let told: Vec<_> = found.tasks.iter().map(|t| (t.task.as_str(), t.num_fewshot, t.repeats)).collect();
    let expected = [("one", Some(2), 3), ("three", Some(7), 3), ("two", Some(1), 3), ("outer::own", None, 3)];
    assert_eq!(told, expected);
    let groups: Vec<_> =
        found.groups.iter().map(|g| (g.name.as_str(), g.alias.as_deref(), g.members.clone())).collect();
    let members = ["one", "three", "outer::in", "outer::own"].map(str::to_owned).to_vec();
    assert_eq!(groups, [("outer", Some("Outer"), members), ("outer::in", None, vec!["two".to_owned()])]);
    assert_eq!(found.groups[0].aggregates, GroupMetric::read(Some(&json!({"metric": "acc"}))).unwrap());
    assert_eq!(names(&["again"]), ["one", "three", "two", "outer::own"]);
}

#[test]
fn what_cannot_be_selected_is_named() {
    assert_eq!(select(&["thre"]).unwrap_err(), "no task, group or tag is called \"thre\"; did you mean \"three\"?");
    let far = "no task, group or tag is called \"xyzxyzxyz\"; name a task file, or folders of them with --include";
    assert_eq!(select(&["xyzxyzxyz"]).unwrap_err(), far);
    assert_eq!(select(&["lost"]).unwrap_err(), "no task, group or tag is called \"twoo\"; did you mean \"two\"?");
    assert!(select(&["old"]).unwrap_err().starts_with("task \"old\" is a Python class ("));
    assert!(select(&["loop"]).unwrap_err().contains("or a group contains itself"));
    let twice = "task \"one\" is in both \"outer\" and \"one\"; ask for one of them at a time";
    assert_eq!(select(&["outer", "one"]).unwrap_err(), twice);
}

#[test]
fn a_broken_file_is_passed_over_among_many_and_refused_alone() {
    let folder = folder(FILES);
    let registry = Registry::index(&[folder.path().to_owned()]).unwrap();
    let skipped: Vec<_> = registry.skipped.iter().map(|e| e.place.rsplit('/').next().unwrap()).collect();
    assert_eq!(skipped, ["broken.yaml"]);
    assert!(Registry::index(&[folder.path().join("broken.yaml")]).is_err());
    let alone = folder.path().join("a/one.yaml").to_string_lossy().into_owned();
    assert_eq!(Registry::default().select(&[alone]).unwrap().tasks[0].task, "one");
}

#[test]
fn keys_that_no_task_has_and_circles_of_includes_are_refused() {
    let files = [
        ("a.yaml", "task: a\nnum_fewshots: 1\n"),
        ("b.yaml", "task: b\ninclude: c.yaml\n"),
        ("c.yaml", "include: b.yaml\n"),
        ("d.yaml", "task: d\nfewshot_delimiter: '|'\ngeneration_kwargs: {temperature: '0.5'}\n"),
    ];
    let folder = folder(&files);
    let registry = Registry::index(&[folder.path().to_owned()]).unwrap();
    let said = registry.select(&["a".to_owned()]).unwrap_err().to_string();
    assert_eq!(said, "a: num_fewshots is no key of a task; check the spelling");
    assert_eq!(registry.skipped.len(), 2);
    assert!(registry.skipped[0].what.contains("included more than once"));
    let task = registry.select(&["d".to_owned()]).unwrap().tasks.remove(0);
    assert_eq!(json!(task.generation_kwargs), json!({"temperature": 0.5, "until": ["|"]}));
}
