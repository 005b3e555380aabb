#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::{Value, json};

use super::*;
use crate::eval::{
    aggregate::{Bootstrap, aggregate},
    filters::Answer,
    functions::Port,
    metrics::{Item, Metric, exact_match::ExactMatch},
};

/// What `tests/lm_eval/ports.py` wrote: calls of lm-eval's functions with what they gave.
const GOLDEN: &str = include_str!("../../../tests/golden/eval/ports.jsonl");

fn port(line: &Value) -> Port {
    let same = |native: &&Native| {
        let helpers = native.helpers.iter().map(|(name, hash)| ((*name).to_owned(), json!(hash))).collect();
        native.name == line["name"] && native.sha256 == line["sha256"] && line["helpers"] == Value::Object(helpers)
    };
    all().find(same).unwrap_or_else(|| panic!("no port of {} in {}", line["name"], line["of"])).port
}

fn answers(answers: &Value) -> Vec<Answer> {
    let answer = |answer: &Value| match answer {
        Value::Array(pair) => {
            Answer::Loglikelihood { sum: pair[0].as_f64().unwrap(), greedy: pair[1].as_bool().unwrap() }
        }
        Value::Number(sum) => Answer::Rolling(sum.as_f64().unwrap()),
        Value::String(text) => Answer::Text(text.clone()),
        other => panic!("{other} is no answer"),
    };
    answers.as_array().unwrap().iter().map(answer).collect()
}

fn written(items: Vec<(String, Item)>) -> Value {
    let value = |name: &str, item: Item| match item {
        Item::Number(x) if x.is_nan() => json!("nan"),
        // Python counts truth values as numbers.
        Item::Number(x) if name.starts_with("prompt_level") => json!(x == 1.0),
        item => json!(item),
    };
    items.into_iter().map(|(name, item)| (name.clone(), value(&name, item))).collect::<Doc>().into()
}

fn given(port: Port, input: &Value) -> Result<Value, String> {
    match port {
        Port::Docs(port) => port(serde_json::from_value(input.clone()).unwrap()).map(|docs| json!(docs)),
        Port::Doc(port) => port(input.as_object().unwrap()),
        Port::Results(port) | Port::CheckedResults(port, _) => {
            port(input[0].as_object().unwrap(), &answers(&input[1])).map(written)
        }
        Port::Aggregation(aggregation) => {
            let rows = serde_json::from_value::<Vec<Vec<bool>>>(input.clone()).unwrap();
            let items: Vec<Item> = rows.into_iter().map(Item::Truths).collect();
            let name = "inst_level_strict_acc".into();
            let metric = Metric { name, aggregation, higher_is_better: None, exact_match: ExactMatch::default() };
            let score = aggregate(&metric, "none", &items, Bootstrap { iterations: 10, threads: 1 });
            score.map(|score| json!(score.value)).map_err(|e| e.to_string())
        }
        Port::Samples(_) => panic!("is not called so"),
    }
}

/// Equal, order of keys included; numbers up to what two exponential functions differ in.
fn equal(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| equal(a, b))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| a.0 == b.0 && equal(a.1, b.1))
        }
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= 1e-13 * b.abs()
        }
        _ => ours == theirs,
    }
}

#[test]
fn ports_give_what_lm_evals_functions_give() {
    let mut wrong = Vec::new();
    let (mut cases, mut raised) = (0, 0);
    for line in GOLDEN.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let port = port(&line);
        let mut row = Value::Null;
        for case in line["cases"].as_array().unwrap() {
            cases += 1;
            raised += usize::from(case["raises"] == true);
            let mut input = case["given"].clone();
            // A row that is asked about again is written once.
            if line["kind"] == "results" {
                row = if input[0].is_null() { row } else { input[0].clone() };
                input[0] = row.clone();
            }
            let ours = given(port, &input);
            let right = match (&ours, case.get("gives")) {
                (Ok(ours), Some(theirs)) => equal(ours, theirs),
                (Err(why), None) => !why.is_empty() && !why.contains('\n'),
                _ => false,
            };
            if !right {
                wrong.push(format!("{} {}: {ours:?}\n  lm-eval: {case}", line["of"], line["name"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {cases} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(cases > 100 && raised > 30, "{cases} calls, of which {raised} raise");
}

#[test]
fn an_instruction_that_cannot_be_checked_is_named_before_anything_is_asked() {
    let check = all().find_map(|native| match native.port {
        Port::CheckedResults(_, check) => Some(check),
        _ => None,
    });
    let told = |id: &str, settings: Value| {
        let doc = json!({"key": 1, "prompt": "p", "instruction_id_list": ["punctuation:no_comma", id], "kwargs": [{}, settings]});
        check.unwrap()(doc.as_object().unwrap()).unwrap_err()
    };
    let (language, tokenizer) = ("a language detector", "NLTK's tokenizer");
    for (id, needs) in [
        ("language:response_language", language),
        ("change_case:english_capital", language),
        ("change_case:english_lowercase", language),
        ("length_constraints:number_sentences", tokenizer),
        ("change_case:capital_word_frequency", tokenizer),
    ] {
        let expected = format!(
            "the instruction `{id}` needs {needs}, which is not ported; leave rows with it out of a copy of the data"
        );
        assert_eq!(told(id, json!({"language": "de"})), expected);
    }
    // Where lm-eval would draw a setting at random, nothing is guessed.
    let missing = "the instruction `detectable_format:number_bullet_lists` has no `num_bullets`, which lm-eval would draw at random";
    assert_eq!(told("detectable_format:number_bullet_lists", json!({"num_bullets": null})), missing);
}

#[test]
fn json_that_is_nested_without_end_is_refused() {
    let doc =
        json!({"key": 1, "prompt": "p", "instruction_id_list": ["detectable_format:json_format"], "kwargs": [{}]});
    let judged = |answer: String| {
        let answer = Answer::Text(answer);
        let doc = doc.as_object().unwrap();
        let ports = all().filter_map(|native| match native.port {
            Port::CheckedResults(port, _) => Some(port(doc, std::slice::from_ref(&answer)).map(written)),
            _ => None,
        });
        ports.last().unwrap()
    };
    assert_eq!(judged("[".repeat(900)).unwrap()["prompt_level_strict_acc"], false);
    let why = "the instruction `detectable_format:json_format` is about JSON that is nested deeper than 900";
    assert_eq!(judged("[".repeat(100_000)).unwrap_err(), why);
}

#[test]
fn every_port_is_compared_with_its_function() {
    let lines: Vec<Value> = GOLDEN.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let compared = |native: &Native| {
        lines.iter().any(|line| {
            let helper = |(name, hash): &(&str, &str)| line["helpers"][name] == *hash;
            line["name"] == native.name && line["sha256"] == native.sha256 && native.helpers.iter().all(helper)
        })
    };
    let missing: Vec<&str> = all().filter(|native| !compared(native)).map(|native| native.sha256).collect();
    assert_eq!(missing, Vec::<&str>::new());
}
