//! Filters, metrics and aggregations of eval tasks against lm-eval's (see `golden/make_scoring.py`).

use std::process::Command;

use serde_json::{Map, Value, json};
use tunesmith_harness::eval::{
    aggregate::{Bootstrap, GroupMetric, Score, TaskScores, aggregate, aggregate_group},
    config::OutputType,
    filters::{Answer, Pipeline},
    metrics::{Item, Metric},
    process::{Truth, process_results},
};

/// Cases that lm-eval answered.
struct Peer(Value);

impl Peer {
    fn golden() -> Self {
        Self(serde_json::from_str(include_str!("../golden/scoring.json")).unwrap())
    }

    /// Checks every case of a part and shows the first few that differ.
    fn check(&self, part: &str, check: impl Fn(&Value) -> Result<(), String>) {
        let cases = self.0[part].as_array().unwrap();
        let wrong: Vec<String> =
            cases.iter().filter_map(|case| Some(format!("{}\n  {case}", check(case).err()?))).collect();
        assert!(!cases.is_empty());
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong[..wrong.len().min(8)].join("\n"));
    }

    fn check_all(&self) {
        self.check("filters", filters);
        self.check("rows", rows);
        self.check("aggregations", aggregations);
        self.check("groups", groups);
    }
}

#[test]
fn filters_give_what_those_of_lm_eval_give() {
    Peer::golden().check("filters", filters);
}

#[test]
fn metrics_of_a_row_are_those_of_lm_eval() {
    Peer::golden().check("rows", rows);
}

#[test]
fn values_and_standard_errors_over_rows_are_those_of_lm_eval() {
    Peer::golden().check("aggregations", aggregations);
}

#[test]
fn scores_of_groups_are_those_of_lm_eval() {
    Peer::golden().check("groups", groups);
}

#[test]
fn answers_that_send_a_pattern_astray_are_refused_and_long_ones_are_not() {
    let pipeline = |pattern: &str| {
        let list = [json!({"name": "f", "filter": [{"function": "regex", "regex_pattern": pattern}]})];
        Pipeline::read(Some(&list)).unwrap().remove(0)
    };
    let doc = Map::new();
    let apply = |pattern: &str, answer: String| pipeline(pattern).apply(vec![vec![Answer::Text(answer)]], &[&doc]);
    // Python would take about 2^200 steps for the first.
    let astray = apply(r"(?:a(?=a)|a|aa)+b", "a".repeat(200));
    assert!(astray.as_ref().is_err_and(|e| e.to_string().contains("takes too long on a text")), "{astray:?}");
    let long = "1 a ".repeat(250_000) + "#### 42";
    assert_eq!(apply(r"#### (\d+)", long), Ok(vec![Answer::List(vec![Answer::Text("42".into())])]));
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    let filter =
        |filter: Value| Pipeline::read(Some(&[json!({"name": "f", "filter": [filter]})])).unwrap_err().to_string();
    let function = json!({"!function": {"file": "utils.py", "name": "mine"}});
    assert_eq!(
        [
            filter(json!({"function": "decontaminate", "path": "x"})),
            filter(json!({"function": "custom", "filter_fn": function})),
            filter(json!({"function": "regex", "patern": "x"})),
        ],
        [
            "filter `decontaminate` is not supported; leave it out of the task file or use one that is",
            "filter `mine` is a Python function that has no native port; use a built-in one",
            "filter `regex`: the setting `patern` is not known",
        ]
    );
    let metric = |metric: Value| Metric::of(OutputType::GenerateUntil, Some(&[metric]), false).unwrap_err().to_string();
    assert_eq!(
        [
            metric(json!({"metric": "rouge1"})),
            metric(json!({"metric": function})),
            metric(json!({"metric": "f1", "hf_evaluate": true})),
            metric(json!({"metric": "exact_match", "aggregation": "mode"})),
            metric(json!({"metric": "exact_match", "ignore_accents": true})),
        ],
        [
            "metric `rouge1` is not supported; leave it out of the task file or use one that is",
            "metric `mine` is a Python function that has no native port; use a built-in one",
            "metric `f1` is not supported; leave it out of the task file or use one that is",
            "aggregation `mode` is not supported; leave it out of the task file or use one that is",
            "metric `exact_match`: the setting `ignore_accents` is not known",
        ]
    );
}

/// Run with `TUNESMITH_PEER_LM_EVAL` set to the Python of an environment with lm-eval.
#[test]
#[ignore = "needs lm-eval"]
fn soak_scores_of_random_cases_are_those_of_lm_eval() {
    let python = std::env::var("TUNESMITH_PEER_LM_EVAL").expect("TUNESMITH_PEER_LM_EVAL: a Python with lm-eval");
    let maker = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/make_scoring.py");
    let seeds = std::env::var("TUNESMITH_PEER_SEEDS").unwrap_or_else(|_| "1 2 3".into());
    for seed in seeds.split(' ') {
        let made = Command::new(&python).args([maker, seed, "10"]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Peer(serde_json::from_slice(&made.stdout).unwrap()).check_all();
    }
}

fn filters(case: &Value) -> Result<(), String> {
    let list = [json!({"name": "f", "filter": case["filter"]})];
    let answers = case["answers"].as_array().unwrap().iter();
    let answers = answers.map(|row| row.as_array().unwrap().iter().cloned().map(Answer::from).collect()).collect();
    let docs: Vec<_> = case["docs"].as_array().unwrap().iter().map(|doc| doc.as_object().unwrap()).collect();
    let got = Pipeline::read(Some(&list)).and_then(|pipelines| pipelines[0].apply(answers, &docs));
    let want = case.get("gives").map(|rows| rows.as_array().unwrap().iter().cloned().map(Answer::from).collect());
    if got.as_ref().ok() == want.as_ref() { Ok(()) } else { Err(format!("{got:?}\n  not {want:?}")) }
}

fn rows(case: &Value) -> Result<(), String> {
    let output_type: OutputType = serde_json::from_value(case["output_type"].clone()).unwrap();
    let metrics = Metric::of(output_type, case["metric_list"].as_array().map(Vec::as_slice), false).unwrap();
    let choices: Option<Vec<String>> = serde_json::from_value(case["choices"].clone()).unwrap();
    let truth = Truth {
        output_type,
        gold: &case["gold"],
        choices: choices.as_deref(),
        multiple_target: case["multiple_target"].as_bool().unwrap(),
    };
    let results = case["results"].as_array().unwrap();
    let answers: Vec<Answer> = results.iter().map(|result| answer(output_type, result)).collect();
    let got = process_results(&truth, &metrics, &answers);
    let same = match (&got, case.get("gives")) {
        (Ok(got), Some(want)) => {
            let want = want.as_array().unwrap();
            got.len() == want.len()
                && got.iter().zip(want).all(|((name, item), want)| *name == want[0] && same_item(item, &want[1]))
        }
        (Err(_), None) => true,
        _ => false,
    };
    if same { Ok(()) } else { Err(format!("{got:?}")) }
}

fn answer(output_type: OutputType, result: &Value) -> Answer {
    match output_type {
        OutputType::GenerateUntil => result.clone().into(),
        OutputType::LoglikelihoodRolling => Answer::Rolling(float(result)),
        _ => Answer::Loglikelihood { sum: float(&result[0]), greedy: result[1].as_bool().unwrap() },
    }
}

fn float(value: &Value) -> f64 {
    match value {
        Value::String(special) => special.parse().unwrap(),
        value => value.as_f64().unwrap(),
    }
}

/// Within `tolerance` where numbers are small, and relative to them where they are large.
fn close(got: f64, want: f64, tolerance: f64) -> bool {
    got == want || (got.is_nan() && want.is_nan()) || (got - want).abs() <= tolerance * want.abs().max(1.0)
}

fn same_item(item: &Item, want: &Value) -> bool {
    let all = |got: &[f64], want: &Value| {
        let want = want.as_array().unwrap();
        got.len() == want.len() && got.iter().zip(want).all(|(got, want)| close(*got, float(want), 1e-12))
    };
    match item {
        Item::Number(x) => close(*x, float(want), 1e-12),
        Item::Weighted(x, n) => close(*x, float(&want[0]), 0.0) && want[1] == *n,
        Item::Labels(gold, pred) => label(&want[0]) == *gold && want[1] == *pred,
        Item::Probabilities(gold, values) => label(&want[0]) == *gold && all(values, &want[1]),
        Item::Texts(wanted, text) => *want == json!([wanted, text]),
        Item::References(wanted, text) => *want == json!([wanted, text]),
        Item::Truths(truths) => *want == json!(truths),
        Item::Nothing => want.is_null(),
    }
}

/// Python's truth values are numbers.
fn label(value: &Value) -> i64 {
    value.as_i64().or_else(|| value.as_bool().map(i64::from)).unwrap()
}

fn aggregations(case: &Value) -> Result<(), String> {
    let text = |key: &str| case[key].as_str().unwrap();
    let entry = json!({"metric": text("metric"), "aggregation": text("aggregation"), "higher_is_better": null});
    let metric = Metric::of(OutputType::GenerateUntil, Some(&[entry]), true).unwrap().remove(0);
    let special = |value: &Value| if value.is_string() { Some(float(value)) } else { None };
    let item = |value: &Value| match special(value) {
        Some(number) => Item::Number(number),
        None => Item::of(metric.aggregation, value).unwrap(),
    };
    let items: Vec<Item> = case["items"].as_array().unwrap().iter().map(item).collect();
    let iterations = case["iterations"].as_u64().unwrap() as usize;
    let got = [1, 3].map(|threads| aggregate(&metric, "none", &items, Bootstrap { iterations, threads }));
    let same = match (&got[0], case.get("gives")) {
        (Ok(got), Some(want)) => {
            let stderr = match (got.stderr, &want[1]) {
                (None, Value::Null) => true,
                // Bootstrap and formula alike.
                (Some(got), want) if !want.is_null() => relative(got, float(want)),
                _ => false,
            };
            close(got.value, float(&want[0]), 1e-9) && stderr && got.n == items.len()
        }
        (Err(_), None) => true,
        _ => false,
    };
    let repeats = format!("{:?}", got[0]) == format!("{:?}", got[1]);
    if same && repeats { Ok(()) } else { Err(format!("{got:?}, not {}", case["gives"])) }
}

fn relative(got: f64, want: f64) -> bool {
    got == want || (got.is_nan() && want.is_nan()) || (got - want).abs() <= 1e-12 * want.abs()
}

fn groups(case: &Value) -> Result<(), String> {
    let metrics = GroupMetric::read(Some(&case["aggregate_metric_list"])).unwrap();
    let tasks: Vec<TaskScores> =
        case["tasks"].as_array().unwrap().iter().map(|task| scores(task.as_object().unwrap())).collect();
    let got = aggregate_group(&metrics, &tasks);
    let want = case["gives"].as_array().unwrap();
    let same = |(got, want): (&Score, &Value)| {
        want[0] == format!("{},{}", got.metric, got.filter)
            && close(got.value, float(&want[1]), 1e-12)
            && match got.stderr {
                None => want[2].is_null(),
                Some(stderr) => relative(stderr, float(&want[2])),
            }
    };
    if got.len() == want.len() && got.iter().zip(want).all(same) { Ok(()) } else { Err(format!("{got:?}")) }
}

fn scores(task: &Map<String, Value>) -> TaskScores {
    let n = task["sample_len"].as_u64().unwrap() as usize;
    let score = |(key, value): (&String, &Value)| {
        let (metric, filter) = key.split_once(',').filter(|(metric, _)| !metric.ends_with("_stderr"))?;
        let stderr = task[&format!("{metric}_stderr,{filter}")].as_f64();
        let (filter, metric) = (filter.into(), metric.into());
        Some(Score { filter, metric, value: float(value), stderr, n, higher_is_better: Some(true) })
    };
    TaskScores { n, scores: task.iter().filter_map(score).collect() }
}
