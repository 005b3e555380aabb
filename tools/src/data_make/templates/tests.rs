use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn spec(value: Value) -> Spec {
    Spec::of(value).unwrap()
}

fn sums() -> Value {
    json!({
        "name": "sums", "rows": 10, "seed": 3,
        "columns": [
            {"name": "question"}, {"name": "answer", "kind": "integer"}, {"name": "kind", "choices": ["sum", "rest"]},
        ],
        "templates": [
            {"row": {"question": "{who} has {a} {things} and buys {b}. {She|cap} now has?", "answer": "{a + b}", "kind": "sum"}},
            {"weight": 0.5, "row": {"question": "{who} gives {other} {b} of {a + b} {things}.", "answer": "{a}", "kind": "rest"}},
        ],
        "slots": {
            "who": [{"text": "Ana", "weight": 3.0}, "Tom"],
            "She": {"by": "who", "cases": {"Ana": "she", "*": "he"}},
            "other": {"like": "who"},
            "a": {"integer": [2, 40]}, "b": {"integer": [10, 50], "step": 10},
            "things": ["red {fruit}s", "{fruit}s"], "fruit": ["plum", "pear"],
        },
    })
}

#[test]
fn every_row_keeps_its_relations_and_a_slot_is_one_value_in_a_row() {
    let spec = spec(sums());
    let templates = Templates::new(&spec).unwrap();
    let mut used = [0, 0];
    for draw in 0..300 {
        let (at, row) = templates.draw(draw);
        let row = row.unwrap();
        used[at] += 1;
        let question = row["question"].as_str().unwrap();
        let numbers: Vec<i64> = question.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
        let answer = row["answer"].as_i64().unwrap();
        match at {
            0 => {
                assert_eq!(numbers[0] + numbers[1], answer, "{question}");
                assert_eq!(question.starts_with("Ana"), question.contains(" She "), "{question}");
            }
            _ => {
                assert_eq!(numbers[1] - numbers[0], answer, "{question}");
                assert!(question.contains("Ana") && question.contains("Tom"), "{question}");
            }
        }
        assert!(!question.contains(['{', '}']), "{question}");
    }
    assert!((170..230).contains(&used[0]), "{used:?}");
}

#[test]
fn typed_slots_stay_in_their_ranges() {
    let spec = spec(json!({
        "name": "n", "rows": 1,
        "columns": [{"name": "price", "kind": "number"}, {"name": "day"}, {"name": "name"}, {"name": "ok", "kind": "boolean"},
                    {"name": "list", "kind": "json", "schema": {"type": "array"}}],
        "templates": [{"row": {"price": "{p}", "day": "{d}", "name": "{n} of {c}", "ok": "true", "list": "[{p}, {{}}]"}}],
        "slots": {"p": {"number": [0.5, 2.25], "decimals": 2}, "d": {"date": ["2024-02-27", "2024-03-01"], "format": "%d %B %Y"},
                  "n": {"name": "person"}, "c": {"name": "company"}},
    }));
    let templates = Templates::new(&spec).unwrap();
    let mut days = BTreeSet::new();
    for draw in 0..200 {
        let row = templates.draw(draw).1.unwrap();
        let price = row["price"].as_f64().unwrap();
        assert!((0.5..=2.25).contains(&price) && ((price * 100.0).round() / 100.0 - price).abs() < 1e-9, "{price}");
        days.insert(row["day"].as_str().unwrap().to_owned());
        assert_eq!(row["list"], json!([price, {}]));
    }
    let expected = ["01 March 2024", "27 February 2024", "28 February 2024", "29 February 2024"];
    assert_eq!(days.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn wrong_templates_say_where_they_are_wrong() {
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut spec = sums();
        change(&mut spec);
        Spec::of(spec).map(|_| String::new()).unwrap_or_else(|why| why)
    };
    let question = |text: &'static str| move |spec: &mut Value| spec["templates"][0]["row"]["question"] = json!(text);
    let slot = |slot: Value| move |spec: &mut Value| spec["slots"]["a"] = slot.clone();
    assert_eq!(refused(&question("{nobody}")), "template 1: there is no slot \"nobody\"; define it in slots");
    assert_eq!(refused(&question("a { b")), "template 1: \"a { b\": a { stands alone; write it twice");
    assert_eq!(
        refused(&question("{who|loud}")),
        "template 1: {who|loud}: there is no \"loud\"; use upper, lower or cap"
    );
    assert_eq!(refused(&slot(json!(["{b}", "{a}"]))), "template 1: slot \"a\" stands within itself");
    assert_eq!(refused(&slot(json!({"integer": [3, 2]}))), "template 1: slot \"a\": the range is empty or too wide");
    assert!(
        refused(&slot(json!({"integr": [1, 2]}))).starts_with("a slot is a list of texts or of {text, weight}, or one")
    );
    assert_eq!(
        refused(&|spec: &mut Value| drop(spec["templates"][1]["row"].as_object_mut().unwrap().remove("answer"))),
        "template 2: it has no text for column \"answer\""
    );
}

#[test]
fn a_text_that_doubles_itself_is_refused_before_it_fills_the_memory() {
    let mut slots = serde_json::Map::new();
    slots.insert("s0".into(), json!(["0123456789"]));
    (1..40).for_each(|at| drop(slots.insert(format!("s{at}"), json!([format!("{{s{}}}{{s{}}}", at - 1, at - 1)]))));
    let spec = spec(json!({
        "name": "n", "rows": 1, "columns": [{"name": "a"}], "templates": [{"row": {"a": "{s39}"}}], "slots": slots,
    }));
    let (_, row) = Templates::new(&spec).unwrap().draw(0);
    assert_eq!(row.unwrap_err(), "column \"a\": a text grows beyond 65536 bytes");
}

fn of_slots(text: &str, slots: impl Iterator<Item = (String, Value)>) -> Value {
    let slots: serde_json::Map<String, Value> = slots.collect();
    json!({"name": "n", "rows": 1, "columns": [{"name": "a"}], "templates": [{"row": {"a": text}}], "slots": slots})
}

#[test]
fn slots_are_nested_at_most_fifty_deep_in_whatever_order_they_are_named() {
    let chain = |slots: usize| {
        let link = |at: usize| match at {
            0 => ("s0".to_owned(), json!(["x"])),
            _ => (format!("s{at}"), json!([format!("{{s{}}}", at - 1)])),
        };
        (0..slots).map(link)
    };
    assert_eq!(spec(of_slots("{s49}", chain(50))).templates.len(), 1);
    let refused = |text: &str| Spec::of(of_slots(text, chain(51))).map(drop).unwrap_err();
    let ascending: String = (0..51).map(|at| format!("{{s{at}}}")).collect();
    assert_eq!(refused("{s50}"), "template 1: slot \"s0\" is nested too deep");
    assert_eq!(refused(&ascending), "template 1: slot \"s50\" is nested too deep");
}

#[test]
fn slots_that_must_differ_from_each_other_end_after_so_many_draws() {
    let values: Vec<Value> = (0..40).map(|at| json!({"text": at.to_string(), "weight": 0.5f64.powi(at)})).collect();
    let likes = (1..30).map(|at| (format!("s{at}"), json!({"like": format!("s{}", at - 1)})));
    let spec = spec(of_slots("{s29}", likes.chain([("s0".to_owned(), json!(values))])));
    let templates = Templates::new(&spec).unwrap();
    let ends: Vec<String> = (0..20).filter_map(|draw| templates.draw(draw).1.err()).collect();
    assert!(ends.iter().any(|why| why.ends_with("more than 10000 values would be drawn for one row")), "{ends:?}");
}

#[test]
fn a_row_of_many_texts_is_bounded_too() {
    let columns: Vec<Value> = (0..20).map(|at| json!({"name": format!("c{at}")})).collect();
    let row: serde_json::Map<String, Value> = (0..20).map(|at| (format!("c{at}"), json!("{long}"))).collect();
    let spec = spec(json!({
        "name": "n", "rows": 1, "columns": columns, "templates": [{"row": row}], "slots": {"long": ["x".repeat(60_000)]},
    }));
    assert_eq!(Templates::new(&spec).unwrap().draw(0).1.unwrap_err(), "the row grows beyond 1048576 bytes");
}

/// Whole specs with slots of every kind.
fn specs() -> impl Strategy<Value = Value> {
    let slot = prop_oneof![
        prop::collection::vec("[a-z{}n|+ ]{1,8}", 1..4).prop_map(|texts| json!(texts)),
        (-50i64..50, 0i64..50, 1i64..9).prop_map(|(a, b, step)| json!({"integer": [a, a + b], "step": step})),
        (-5.0..5.0f64, 0.0..5.0f64, 0u32..4).prop_map(|(a, b, d)| json!({"number": [a, a + b], "decimals": d})),
        Just(json!({"date": ["2020-01-01", "2021-06-30"]})),
        Just(json!({"name": "place"})),
        Just(json!({"like": "n"})),
    ];
    (slot, "[a-z ]{0,5}(\\{[nm]\\}|\\{n\\|cap\\}|\\{n \\+ 1\\}|\\{\\{)[a-z ]{0,5}", 0u64..100).prop_map(|(slot, text, seed)| {
        json!({
            "name": "n", "rows": 3, "seed": seed, "columns": [{"name": "a", "least": 0}, {"name": "b", "kind": "integer"}],
            "templates": [{"row": {"a": text, "b": "{n}"}}, {"row": {"a": "x{m}", "b": "{n + 1}"}}],
            "slots": {"m": slot, "n": {"integer": [0, 9]}},
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200, rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..Default::default()
    })]

    #[test]
    fn no_text_makes_the_parser_panic(text in "[{}|a-c+*()0-9. é]{0,30}") {
        let _ = parse(&text);
    }

    #[test]
    fn rows_fit_their_schema_and_the_same_seed_gives_the_same_rows(value in specs()) {
        if let Ok(spec) = Spec::of(value) {
            let validator = jsonschema::validator_for(&Spec::schema(spec.columns.iter())).unwrap();
            let templates = Templates::new(&spec).unwrap();
            for draw in 0..20 {
                let (at, row) = templates.draw(draw);
                prop_assert_eq!(&(at, row.clone()), &templates.draw(draw));
                if let Ok(row) = row {
                    let row = Value::Object(row);
                    prop_assert!(validator.is_valid(&row), "{}", row);
                }
            }
        }
    }
}
