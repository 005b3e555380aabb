//! Requests and the columns that they mean.
#![allow(clippy::unwrap_used)]
use serde_json::json;
use tunesmith_harness::task::JobKind::{Classification, Extraction, Generation};

use super::*;

/// A column of 300 rows: labels where there are some, else different texts of this length.
fn column(name: &str, length: usize, labels: &[&str]) -> Column {
    let counts: Vec<_> = labels.iter().map(|label| json!({"label": label, "rows": 300 / labels.len()})).collect();
    let distinct = if labels.is_empty() { 300 } else { labels.len() };
    let lengths = [length, length, length, length];
    let column = json!({"name": name, "cells": "text", "missing": 0, "distinct": distinct, "lengths": lengths,
        "labels": counts, "examples": [], "types": {"text": 300}});
    serde_json::from_value(column).unwrap()
}

fn chosen(request: &str, kinds: &[JobKind], columns: &[Column]) -> Result<(String, String), String> {
    let words = Words::new(request);
    choose(&Seen { words: &words, kinds, columns, rows: 300 }).map(|chosen| (chosen.inputs.join("+"), chosen.target))
}

fn pair(input: &str, target: &str) -> Result<(String, String), String> {
    Ok((input.to_owned(), target.to_owned()))
}

fn tickets() -> [Column; 5] {
    [
        column("id", 4, &[]),
        column("created_at", 10, &[]),
        column("complaint", 120, &[]),
        column("dept", 7, &["billing", "shipping", "returns"]),
        column("priority", 4, &["high", "low"]),
    ]
}

#[test]
fn the_requests_own_words_choose_among_columns() {
    let columns = tickets();
    for (request, want) in [
        ("sort them by the `dept` column", "dept"),
        ("predict which team a complaint should go to", "dept"),
        ("tell me how urgent a complaint is", "priority"),
        ("decide whether it is about billing, shipping or returns", "dept"),
        ("learn the last column from the complaint", "priority"),
        ("from the complaint to the department, whatever its priority is", "dept"),
        ("work out the priority of each complaint", "priority"),
        ("train it on the department", "dept"),
    ] {
        assert_eq!(chosen(request, &[Classification], &columns), pair("complaint", want), "{request}");
    }
}

#[test]
fn what_stays_open_is_asked_and_no_plan_is_made() {
    let columns = tickets();
    let why = chosen("classify these", &[Classification], &columns).unwrap_err();
    assert!(why.starts_with("it is not clear which column is the answer (\"dept\" or \"priority\")"), "{why}");
    let why = chosen("predict the `mood` column", &[Classification], &columns).unwrap_err();
    assert!(why.starts_with("there is no column \"mood\"; the data has \"id\", "), "{why}");
    let both = chosen("predict the dept and predict the priority", &[Classification], &columns);
    assert!(both.unwrap_err().contains("could mean several"));
    let figures = [
        column("age", 2, &["20", "30", "40"]),
        column("plan", 5, &["basic", "gold"]),
        column("left", 3, &["yes", "no"]),
    ];
    let why = chosen("predict who has left", &[Classification], &figures).unwrap_err();
    assert!(why.contains("one column of text"), "{why}");
}

#[test]
fn two_texts_are_told_apart_by_what_is_said_and_by_their_names() {
    let faq = [column("question", 60, &[]), column("answer", 90, &[]), column("topic", 6, &["a b", "c d"])];
    assert_eq!(chosen("a bot that answers questions like we do", &[Generation], &faq), pair("question", "answer"));
    let words = [column("en", 40, &[]), column("de", 42, &[])];
    assert_eq!(chosen("translate from English to German", &[Generation], &words), pair("en", "de"));
    assert_eq!(chosen("translate German into English", &[Generation], &words), pair("de", "en"));
    assert_eq!(chosen("learn German to English", &[Generation], &words), pair("de", "en"));
    assert_eq!(chosen("our English letters in German", &[Generation], &words), pair("en", "de"));
    let calls = [column("user_says", 40, &[]), column("function_call", 42, &[])];
    let got = chosen("the user says a thing and it should answer with the function call", &[Extraction], &calls);
    assert_eq!(got, pair("user_says", "function_call"));
    let styles = [column("rough", 40, &[]), column("polite", 42, &[])];
    assert_eq!(chosen("make my rough drafts polite", &[Generation], &styles), pair("rough", "polite"));
    assert!(chosen("teach it this", &[], &[column("x", 40, &[]), column("y", 42, &[])]).is_err());
}

#[test]
fn what_is_asked_for_and_cannot_be_learned_is_not_replaced_by_something_else() {
    let people = [column("name", 12, &[]), column("age", 2, &[]), column("city", 4, &["Rome", "Oslo"])];
    let why = chosen("classify people by age", &[Classification], &people).unwrap_err();
    assert!(why.starts_with("the request names \"age\" as the answer, and it holds no labels"), "{why}");
    assert!(chosen("classify people", &[Classification], &people).is_err());
    let sums = [column("sum", 9, &[]), column("result", 3, &[])];
    assert_eq!(chosen("a model that does sums", &[Generation], &sums), pair("sum", "result"));
}

#[test]
fn terse_words_denials_and_several_texts_are_read_too() {
    let columns = [
        column("question", 60, &[]),
        column("ddl", 90, &[]),
        column("sql", 50, &[]),
        column("author", 6, &["ann", "bob"]),
    ];
    assert_eq!(chosen("question + ddl -> sql", &[Generation], &columns), pair("question+ddl", "sql"));
    let got = chosen("given the question together with the ddl, write the sql", &[Generation], &columns);
    assert_eq!(got, pair("question+ddl", "sql"));
    let got = chosen("question in, sql out", &[Generation], &columns);
    assert_eq!(got, pair("question", "sql"));
    let guesses = [column("txt", 60, &[]), column("old_guess", 4, &["junk", "ok"]), column("lbl", 4, &["junk", "ok"])];
    let got = chosen("which is junk? don't use old_guess, the right answer is in lbl", &[Classification], &guesses);
    assert_eq!(got, pair("txt", "lbl"));
}

#[test]
fn the_suites_requests_fit_their_columns() {
    let labels: &[&str] = &["a b", "c d", "e f"];
    for (request, input, target, values) in [
        (
            "Fine-tune a small model to rewrite these diary lines so that they tell what the writer does.",
            "line",
            "told",
            &[][..],
        ),
        ("Fine-tune a small model to answer these multiple choice questions.", "question", "answer", labels),
        (
            "Fine-tune a small model to route what listeners write to our radio station to the right desk.",
            "message",
            "desk",
            labels,
        ),
        ("Fine-tune a small model to lay out the words in the form that each line asks for.", "line", "laid_out", &[]),
        ("Train a small model on these tales so that it goes on where a text breaks off.", "text", "rest", &[]),
        (
            "Fine-tune a small model to rewrite each command as a report that it has been done.",
            "command",
            "report",
            &[],
        ),
        (
            "Fine-tune a small model to route these messages from museum visitors to the right team.",
            "message",
            "team",
            labels,
        ),
    ] {
        let wanted = crate::playbook::request::read(request).unwrap();
        assert_eq!((wanted.beyond, wanted.questions), (vec![], vec![]), "{request}");
        let columns = [column(input, 60, &[]), column(target, 50, values)];
        assert_eq!(chosen(request, &wanted.kinds, &columns), pair(input, target), "{request}");
    }
}

#[test]
fn names_of_pictures_are_no_texts() {
    let mut photo = column("photo", 12, &[]);
    photo.examples = vec!["a.JPG".into(), "b.jpg".into()];
    let why = chosen("which tree", &[Classification], &[photo, column("tree", 4, &["oak", "elm"])]).unwrap_err();
    assert!(why.starts_with("column \"photo\" names files of pictures, sound or pages (\"a.JPG\")"), "{why}");
}

#[test]
fn one_value_may_be_taken_out_of_a_text() {
    let mails = [column("email", 200, &[]), column("order_number", 8, &[]), column("customer", 12, &[])];
    let got = chosen("pull the order number out of each email", &[Extraction], &mails);
    assert_eq!(got, pair("email", "order_number"));
}
