//! Whole evaluations: what they write, and that they are the same however often they are interrupted.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use tunesmith_harness::{
    eval::{
        evaluation::{ANSWERS, EvaluationError, MANIFEST, Place, Plan, RESULTS, Spec, evaluate, samples_file},
        functions::Functions,
        registry::Registry,
        render,
        request::{Doc, Generation},
        results::Results,
        task::EvalTask,
    },
    model::{
        LanguageModel, Loglikelihood, Message, ModelError, OnProgress,
        calibration::{Constant, Random},
    },
};

const TASKS: [&str; 6] = ["own_group", "own_inputs", "own_likely", "own_rolling", "own_generate", "own_zero"];

/// A model that counts what it is asked.
struct Counting<M> {
    model: M,
    asked: usize,
}

impl<M: LanguageModel> LanguageModel for Counting<M> {
    fn loglikelihood(
        &mut self,
        requests: &[(String, String)],
        on: OnProgress<'_>,
    ) -> Result<Vec<Loglikelihood>, ModelError> {
        self.asked += requests.len();
        self.model.loglikelihood(requests, on)
    }

    fn loglikelihood_rolling(&mut self, texts: &[String], on: OnProgress<'_>) -> Result<Vec<f64>, ModelError> {
        self.asked += texts.len();
        self.model.loglikelihood_rolling(texts, on)
    }

    fn generate_until(
        &mut self,
        requests: &[(String, Generation)],
        on: OnProgress<'_>,
    ) -> Result<Vec<String>, ModelError> {
        self.asked += requests.len();
        self.model.generate_until(requests, on)
    }

    fn chat_prompt(&self, messages: &[Message]) -> Result<String, ModelError> {
        self.model.chat_prompt(messages)
    }

    fn max_length(&self) -> usize {
        self.model.max_length()
    }

    fn fingerprint(&self) -> String {
        self.model.fingerprint()
    }
}

fn random() -> Counting<Random> {
    Counting { model: Random { seed: 1 }, asked: 0 }
}

/// The requests of tasks in `golden/eval/tasks`, whose rows lie beside them.
fn plan(spec: &Spec) -> Result<Plan, EvaluationError> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/eval/tasks");
    let selected = Registry::index(std::slice::from_ref(&folder)).unwrap().select(&spec.tasks).unwrap();
    let load = |config: tunesmith_harness::eval::config::TaskConfig| {
        let name = config.task.trim_start_matches("own_");
        let rows = fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
        EvalTask::new(config, &serde_json::from_str(&rows).unwrap(), &Functions::default()).unwrap()
    };
    Plan::new(spec, selected.tasks.into_iter().map(load).collect(), selected.groups, None)
}

fn spec(tasks: &[&str]) -> Spec {
    let tasks = tasks.iter().map(|task| task.to_string()).collect();
    Spec { tasks, bootstrap_iters: 100, ..Spec::default() }
}

/// The requests of one task with these keys and rows.
fn own(change: Value, rows: Value, spec: &Spec) -> Result<Plan, EvaluationError> {
    let task = own_task(change, &rows);
    Plan::new(spec, vec![task], Vec::new(), None)
}

fn own_task(change: Value, rows: &Value) -> EvalTask {
    let mut config = json!({
        "task": "own", "tag": [], "dataset_kwargs": {}, "test_split": "test", "description": "", "target_delimiter": " ",
        "fewshot_delimiter": "\n\n", "fewshot_config": {}, "output_type": "multiple_choice", "repeats": 1,
        "should_decontaminate": false, "metadata": {}, "doc_to_text": "{{q}}", "doc_to_target": "{{a}}",
        "doc_to_choice": ["yes", "no"],
    });
    config.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let rows: Vec<Doc> = serde_json::from_value(rows.clone()).unwrap();
    let splits = BTreeMap::from([("test".to_owned(), rows)]);
    EvalTask::new(serde_json::from_value(config).unwrap(), &splits, &Functions::default()).unwrap()
}

fn rows(n: usize) -> Value {
    (0..n).map(|i| json!({"q": format!("Is {i} even?"), "a": i % 2, "from": i / 10})).collect()
}

fn run(
    plan: &Plan,
    model: &mut dyn LanguageModel,
    out: &Path,
    resume: bool,
    cache: Option<&Path>,
) -> Result<Results, EvaluationError> {
    let place = Place { out, resume, cache, model: json!({"model": "test"}) };
    evaluate(plan, model, &place, &mut |_, _, _| {})
}

/// Everything that an evaluation leaves but its answers.
fn written(out: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path());
    let kept = files.filter(|path| path.file_name().unwrap() != ANSWERS);
    kept.map(|path| (path.strip_prefix(out).unwrap().to_owned(), fs::read(&path).unwrap())).collect()
}

fn said(done: Result<Results, EvaluationError>, out: &Path) -> String {
    done.unwrap_err().to_string().replace(&out.display().to_string(), "D")
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn an_evaluation_writes_lm_evals_results_and_samples() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(&TASKS);
    let results = run(&plan(&spec).unwrap(), &mut random(), dir.path(), false, None).unwrap();
    let mut read = json_of(&dir.path().join(RESULTS));
    assert_eq!(serde_json::to_value(&results).unwrap(), read);
    // What the task files say is tested where they are read; figures are the table below.
    let read = read.as_object_mut().unwrap();
    assert_eq!(read.remove("configs").unwrap().as_object().unwrap().len(), 8);
    assert!(read.remove("tunesmith").is_some());
    insta::assert_snapshot!("evaluation_results", serde_json::to_string_pretty(&read).unwrap());
    let table: Vec<String> = render::cells(&results.tunesmith.figures).iter().map(|row| row.join(" | ")).collect();
    insta::assert_snapshot!(
        "evaluation_table",
        format!("{}\n{}", table.join("\n"), results.tunesmith.notes.join("\n"))
    );
    let samples = |task: &str| fs::read_to_string(dir.path().join(samples_file(task))).unwrap();
    insta::assert_snapshot!("evaluation_samples", samples("own_choices") + &samples("own_rolling"));
}

#[test]
fn a_place_holds_one_evaluation_of_one_model() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(&["own_choices"]);
    let asked = plan(&spec).unwrap();
    run(&asked, &mut random(), dir.path(), false, None).unwrap();
    let before = written(dir.path());
    let again = |plan: &Plan, model: &mut dyn LanguageModel, resume| {
        said(run(plan, model, dir.path(), resume, None), dir.path())
    };
    let refused = "D/evaluation.json: an evaluation is here already; go on with --resume, or name another --out";
    assert_eq!(again(&asked, &mut random(), false), refused);
    let other_model = "D/evaluation.json: the evaluation here is of another model or adapter; name another --out";
    assert_eq!(again(&asked, &mut Constant { text: "no".into() }, true), other_model);
    let other = "D/evaluation.json: the evaluation here asks something else (other tasks, rows, limit or examples); name another --out";
    for changed in [
        Spec { tasks: vec!["own_numbers".into()], ..spec.clone() },
        Spec { limit: Some(1.0), ..spec.clone() },
        Spec { num_fewshot: Some(1), ..spec.clone() },
        Spec { fewshot_seed: 1, ..spec.clone() },
        Spec { system: Some("Be brief.".into()), ..spec.clone() },
    ] {
        assert_eq!(again(&plan(&changed).unwrap(), &mut random(), true), other, "{changed:?}");
    }
    assert_eq!(written(dir.path()), before);
    let mut model = random();
    run(&asked, &mut model, dir.path(), true, None).unwrap();
    assert_eq!((model.asked, written(dir.path())), (0, before));
    fs::write(dir.path().join(MANIFEST), "{\"spec\":").unwrap();
    let damaged = again(&asked, &mut random(), true);
    assert!(
        damaged.starts_with("D/evaluation.json: is damaged (EOF") && damaged.ends_with("name another --out"),
        "{damaged}"
    );
}

/// Answers and files of an evaluation that nothing interrupted, and how much it asked.
fn unbroken() -> &'static (Vec<u8>, BTreeMap<PathBuf, Vec<u8>>, usize) {
    type Done = (Vec<u8>, BTreeMap<PathBuf, Vec<u8>>, usize);
    static DONE: OnceLock<Done> = OnceLock::new();
    DONE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let mut model = random();
        run(&plan(&spec(&TASKS)).unwrap(), &mut model, dir.path(), false, None).unwrap();
        (fs::read(dir.path().join(ANSWERS)).unwrap(), written(dir.path()), model.asked)
    })
}

/// The place of an evaluation that was begun and has these answers.
fn begun(answers: &[u8]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(MANIFEST), &unbroken().1[Path::new(MANIFEST)]).unwrap();
    fs::write(dir.path().join(ANSWERS), answers).unwrap();
    dir
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn an_evaluation_cut_at_any_byte_goes_on_to_the_same_bytes(cut in 0.0..1.0f64) {
        let (answers, files, asked) = unbroken();
        let at = (answers.len() as f64 * cut) as usize;
        let dir = begun(&answers[..at]);
        let mut model = random();
        run(&plan(&spec(&TASKS)).unwrap(), &mut model, dir.path(), true, None).unwrap();
        prop_assert_eq!(&written(dir.path()), files);
        prop_assert_eq!(&fs::read(dir.path().join(ANSWERS)).unwrap(), answers);
        prop_assert!(model.asked <= *asked);
    }

    #[test]
    fn damaged_answers_give_an_error_or_scores_and_no_panic(at in 0.0..1.0f64, byte in any::<u8>()) {
        let mut answers = unbroken().0.clone();
        let at = (answers.len() as f64 * at) as usize;
        answers[at] = byte;
        let dir = begun(&answers);
        if let Err(error) = run(&plan(&spec(&TASKS)).unwrap(), &mut random(), dir.path(), true, None) {
            prop_assert_eq!(error.to_string().lines().count(), 1);
        }
    }
}

#[test]
fn answers_of_another_kind_are_refused_in_one_line() {
    let text = String::from_utf8(unbroken().0.clone()).unwrap();
    let changed = text.replace("\"loglikelihood\":{", "\"text\":\"A\",\"x\":{");
    let dir = begun(changed.as_bytes());
    let error = said(run(&plan(&spec(&TASKS)).unwrap(), &mut random(), dir.path(), true, None), dir.path());
    assert!(error.starts_with("D/answers.jsonl: line 2 is damaged") && error.lines().count() == 1, "{error}");
    // Well-formed, but no answer to what was asked.
    let (head, rest) = text.split_once('\n').unwrap();
    let mut batches: Vec<Value> = rest.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for answer in batches.iter_mut().flat_map(|batch| batch.as_array_mut().unwrap()) {
        answer[1] = json!({"rolling": "NaN"});
    }
    let lines: String = batches.iter().map(|batch| format!("{batch}\n")).collect();
    let dir = begun(format!("{head}\n{lines}").as_bytes());
    let error = said(run(&plan(&spec(&TASKS)).unwrap(), &mut random(), dir.path(), true, None), dir.path());
    assert!(error.starts_with("the task `own_choices` cannot be scored: ") && error.lines().count() == 1, "{error}");
}

#[test]
fn a_cache_answers_without_asking() {
    let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let out = |name: &str| {
        let out = dir.path().join(name);
        fs::create_dir(&out).unwrap();
        out
    };
    let evaluated = |tasks: &[&str], model: &mut dyn LanguageModel, name: &str| {
        let out = out(name);
        run(&plan(&spec(tasks)).unwrap(), model, &out, false, Some(cache.path())).unwrap();
        written(&out)
    };
    let (mut first, mut second, mut third) = (random(), random(), random());
    let files = evaluated(&TASKS[..3], &mut first, "first");
    assert_eq!(evaluated(&TASKS[..3], &mut second, "second"), files);
    assert_eq!((first.asked > 0, second.asked), (true, 0));
    let rolling = plan(&spec(&["own_rolling"])).unwrap().requests();
    evaluated(&["own_likely", "own_rolling"], &mut third, "third");
    assert_eq!(third.asked, rolling);
    let mut other = Counting { model: Random { seed: 2 }, asked: 0 };
    evaluated(&["own_likely"], &mut other, "other");
    assert!(other.asked > 0);
}

#[test]
fn what_cannot_be_scored_is_found_before_the_long_run() {
    let dir = tempfile::tempdir().unwrap();
    let filters = json!({"filter_list": [{"name": "f", "filter": [{"function": "regex", "regex_pattern": "("}]}]});
    let plan = own(filters, rows(500), &spec(&[])).unwrap();
    let mut model = random();
    let error = said(run(&plan, &mut model, dir.path(), false, None), dir.path());
    assert!(error.starts_with("the task `own` cannot be scored: ") && error.lines().count() == 1, "{error}");
    assert_eq!(model.asked, 2);
}

#[test]
fn a_limit_is_a_number_or_a_share_of_the_first_rows() {
    let of = |limit: f64| {
        let dir = tempfile::tempdir().unwrap();
        let plan = own(json!({}), rows(30), &Spec { limit: Some(limit), ..spec(&[]) }).unwrap();
        let results = run(&plan, &mut random(), dir.path(), false, None).unwrap();
        (results.n_samples["own"]["effective"].as_u64().unwrap(), results.tunesmith.notes.len())
    };
    let limits = [0.01, 0.1, 0.34, 1.0, 7.0, 7.9, 30.0, 1e300];
    assert_eq!(limits.map(of), [(1, 1), (3, 1), (11, 1), (1, 1), (7, 1), (7, 1), (30, 0), (30, 0)]);
    for limit in [0.0, -3.0, f64::NAN] {
        let error = own(json!({}), rows(30), &Spec { limit: Some(limit), ..spec(&[]) }).err().unwrap().to_string();
        let expected =
            format!("the task `own` cannot be limited to {limit} rows; give a number from 1, or a share below 1");
        assert_eq!(error, expected);
    }
}

/// Figures of rows of which every fifth is wrong, in clusters of ten or none.
fn figure(cluster: Option<&str>, n: usize) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let spec = Spec { cluster: cluster.map(str::to_owned), ..spec(&[]) };
    let plan = own(json!({}), rows(n), &spec).unwrap();
    let results = run(&plan, &mut Constant { text: String::new() }, dir.path(), false, None).unwrap();
    let figure = serde_json::to_value(&results.tunesmith.figures[0]).unwrap();
    json!([figure["value"], figure["method"], figure["interval"], figure["stderr"], figure["chance"], figure["n"]])
}

#[test]
fn every_number_has_its_interval() {
    // The first choice always wins where all are equal: half the rows are right, in every cluster.
    let one = figure(None, 1);
    assert_eq!([&one[0], &one[1], &one[3], &one[5]], [&json!(1.0), &json!("clopper-pearson"), &json!(null), &json!(1)]);
    // Clopper-Pearson: one of one reaches down to half of 5 %.
    assert!((one[2][0].as_f64().unwrap() - 0.025).abs() < 1e-12 && one[2][1] == 1.0, "{one}");
    let wilson = figure(None, 100);
    assert_eq!(
        [&wilson[0], &wilson[1], &wilson[4], &wilson[5]],
        [&json!(0.5), &json!("wilson"), &json!(0.5), &json!(100)]
    );
    // Wilson (1927): 50 of 100 at 95 %.
    let (low, high) = (wilson[2][0].as_f64().unwrap(), wilson[2][1].as_f64().unwrap());
    assert!((low - 0.403_832).abs() < 1e-6 && (high - 0.596_168).abs() < 1e-6, "{wilson}");
    assert!((wilson[3].as_f64().unwrap() - (0.25f64 / 99.0).sqrt()).abs() < 1e-15);
    assert_eq!(figure(Some("from"), 100)[1], "clustered");
    let error = own(json!({}), rows(9), &Spec { cluster: Some("who".into()), ..spec(&[]) }).err().unwrap();
    let expected =
        "the task `own` has rows without the column `who` that --cluster names; leave it out or name another";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn samples_of_tasks_with_similar_names_do_not_overwrite_each_other() {
    let long = "x".repeat(400);
    let names = ["a/b", "a_b", "a b", "../a", &long, &format!("{long}y")];
    let tasks = names.iter().map(|name| own_task(json!({"task": name}), &rows(3))).collect();
    let plan = Plan::new(&spec(&[]), tasks, Vec::new(), None).unwrap();
    let dir = tempfile::tempdir().unwrap();
    run(&plan, &mut random(), dir.path(), false, None).unwrap();
    assert_eq!(samples_file("a_b"), "samples_a_b.jsonl");
    let samples = written(dir.path()).into_keys().filter(|path| path.to_str().unwrap().starts_with("samples_")).count();
    assert_eq!(samples, names.len());
}

#[test]
fn a_row_without_choices_is_refused_by_its_number_and_not_passed_over() {
    let rows =
        json!([{"q": "a", "a": 0, "c": ["x", "y"]}, {"q": "b", "a": 0, "c": []}, {"q": "c", "a": 1, "c": ["x", "y"]}]);
    let error = own(json!({"doc_to_choice": "{{c}}"}), rows, &spec(&[])).err().unwrap();
    let expected = "the task `own` cannot ask row 2: it has no choices; leave it out of the data";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn endless_numbers_of_examples_are_refused() {
    for n in [5, 1 << 40, usize::MAX] {
        let spec = Spec { num_fewshot: Some(n), ..spec(&[]) };
        let error = own(json!({}), rows(4), &spec).err().unwrap().to_string();
        let expected = format!(
            "the task `own` cannot ask row 1: {n} few-shot examples are asked for, and there are only 4 rows to draw from"
        );
        assert_eq!(error, expected);
    }
}

/// The share of format failures of a task that writes, behind these filters.
fn failures(filters: Value, text: &str) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let change = json!({"output_type": "generate_until", "doc_to_choice": null, "doc_to_target": "7",
        "filter_list": [{"name": "f", "filter": filters}]});
    let plan = own(change, rows(4), &spec(&[])).unwrap();
    let results = run(&plan, &mut Constant { text: text.into() }, dir.path(), false, None).unwrap();
    serde_json::to_value(&results.tunesmith.figures[0]).unwrap()["format_failures"].clone()
}

#[test]
fn format_failures_are_counted_where_a_filter_says_so_and_else_unknown() {
    let (take, number) = (json!({"function": "take_first"}), json!({"function": "regex", "regex_pattern": "[0-9]+"}));
    assert_eq!(failures(json!([number, take]), "none"), json!(1.0));
    assert_eq!(failures(json!([number, {"function": "remove_whitespace"}, take]), "7"), json!(0.0));
    assert_eq!(failures(json!([take]), "none"), Value::Null);
    // What is left of it then is no mark that could be told from an answer.
    let zero = json!({"function": "regex", "regex_pattern": "[0-9]+", "fallback": "0"});
    assert_eq!(failures(json!([zero, take]), "none"), Value::Null);
    assert_eq!(failures(json!([number, {"function": "uppercase"}, take]), "none"), Value::Null);
}

#[test]
fn intervals_of_clusters_are_wider_or_unknown() {
    let interval = |metrics: Value, cluster: Option<&str>, output_type: &str| {
        let dir = tempfile::tempdir().unwrap();
        let spec = Spec { cluster: cluster.map(str::to_owned), ..spec(&[]) };
        let mut change = json!({"output_type": output_type, "metric_list": metrics});
        if output_type == "loglikelihood" {
            change = json!({"output_type": output_type, "metric_list": metrics, "doc_to_choice": null, "doc_to_target": "{{a}}"});
        }
        let plan = own(change, rows(60), &spec).unwrap();
        let results = run(&plan, &mut random(), dir.path(), false, None).unwrap();
        let figure = results.tunesmith.figures[0].clone();
        (figure.value.unwrap(), figure.interval, figure.method.unwrap_or_default())
    };
    let brier = |cluster| interval(json!([{"metric": "brier_score"}]), cluster, "multiple_choice");
    let (value, alone, method) = brier(None);
    assert_eq!(method, "student t");
    assert!(alone.is_some_and(|(low, high)| low < value && value < high), "{alone:?}");
    assert_eq!(brier(Some("from")).2, "clustered");
    let f1 = |cluster| interval(json!([{"metric": "f1"}]), cluster, "multiple_choice");
    assert_eq!(f1(None).2, "bootstrap, normal");
    // lm-eval's standard error takes the rows for independent.
    assert_eq!(f1(Some("from")).1, None);
    let perplexity = |cluster| interval(json!([{"metric": "perplexity"}]), cluster, "loglikelihood");
    let (value, alone, method) = perplexity(None);
    let (low, high) = alone.unwrap();
    assert!(low < value && value < high && (low * high / value.powi(2) - 1.0).abs() < 1e-9, "{low} {value} {high}");
    assert_eq!((method.as_str(), perplexity(Some("from")).2.as_str()), ("student t", "clustered"));
}
