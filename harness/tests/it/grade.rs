//! The grader over models that are tables, so that every figure can be told by hand.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;
use tempfile::TempDir;
use tunesmith_harness::{
    grade::{Artifact, Grade, GradeError, GradeProgress, Submission, grade, outcome, too_large},
    model::{ChatLanguageModel, Generated, Loglikelihood, Message, ModelError, Models, OnProgress},
    recipe::{
        Label, Recipe, Row,
        changes::{Changes, Clean},
    },
    task::{Bound, Goal, JobKind},
};

/// Prefers, for each prompt, the labels in `scores`, and says the same text to everything.
struct Table {
    scores: fn(&str) -> Vec<f64>,
    says: fn(&str) -> String,
}

impl ChatLanguageModel for Table {
    fn loglikelihood(
        &mut self,
        requests: &[(Vec<Message>, Vec<String>)],
        on: OnProgress<'_>,
    ) -> Result<Vec<Vec<Loglikelihood>>, ModelError> {
        on(requests.len(), requests.len());
        let score = |sum: f64| Loglikelihood { sum, tokens: 1, greedy: false };
        Ok(requests
            .iter()
            .map(|(prompt, _)| (self.scores)(&prompt[0].content).into_iter().map(score).collect())
            .collect())
    }

    fn generate(
        &mut self,
        prompts: &[Vec<Message>],
        _max_new_tokens: usize,
        _on: OnProgress<'_>,
    ) -> Result<Vec<Generated>, ModelError> {
        Ok(prompts.iter().map(|p| Generated { text: (self.says)(&p[0].content), stopped: true }).collect())
    }

    /// A base takes four bits for a byte, and whoever reads digits takes two.
    fn read(&mut self, texts: &[String], on: OnProgress<'_>) -> Result<Vec<Loglikelihood>, ModelError> {
        on(texts.len(), texts.len());
        let (bits, hard) = if (self.says)("1") == "refund" { (2.0, 0) } else { (4.0, 7) };
        let of = |text: &String| Loglikelihood {
            // Not all passages are equally hard.
            sum: -std::f64::consts::LN_2 * (bits * text.len() as f64 + (text.len() * hard % 50) as f64),
            tokens: text.len() / 2,
            greedy: false,
        };
        Ok(texts.iter().map(of).collect())
    }

    fn max_length(&self) -> usize {
        64
    }
}

/// The base always prefers the first label; the tuned model and good files read the digit in the input.
struct Zoo;

fn by_digit(prompt: &str) -> Vec<f64> {
    let wanted = prompt.chars().find_map(|c| c.to_digit(10)).unwrap_or(0);
    (0..3).map(|at| if at == wanted { -0.5 } else { -2.0 }).collect()
}

fn label_of(prompt: &str) -> String {
    ["card arrival", "refund", "lost pin"][prompt.chars().find_map(|c| c.to_digit(10)).unwrap_or(0) as usize].to_owned()
}

impl Models for Zoo {
    fn open(&self, base: &Path, adapter: Option<&Path>) -> Result<Box<dyn ChatLanguageModel>, ModelError> {
        let name = base.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        Ok(Box::new(match (name, adapter) {
            ("base", None) => Table { scores: |_| vec![-1.0, -2.0, -3.0], says: |_| "hello".into() },
            ("base", Some(_)) | ("good.gguf", None) => Table { scores: by_digit, says: label_of },
            ("reader", _) => Table { scores: by_digit, says: label_of },
            ("tie.gguf", None) => Table { scores: |_| vec![-1.0, -1.0, -1.0], says: |_| "refund".into() },
            ("nan.gguf", None) => Table { scores: |_| vec![-1.0, f64::NAN, -9.0], says: |_| String::new() },
            _ => return Err(ModelError(format!("{name}: not a model"))),
        }))
    }

    fn check_adapter(&self, _base: &Path, adapter: &Path) -> Result<(), ModelError> {
        match fs::read(adapter.join("adapter_model.safetensors")) {
            Ok(bytes) if bytes == b"weights" => Ok(()),
            _ => Err(ModelError("a tensor is not finite".into())),
        }
    }
}

fn row(input: &str, label: &str) -> Row {
    json!({"text": input, "intent": label}).as_object().unwrap().clone()
}

fn recipe(kind: JobKind) -> Recipe {
    let label = |value: &str| Label { value: value.into(), text: value.replace('_', " ") };
    Recipe {
        kind,
        input: "text".into(),
        target: "intent".into(),
        cue: "Intent:".into(),
        labels: ["card_arrival", "refund", "lost_pin"].map(label).into(),
        changes: Default::default(),
        answer_after: None,
        max_length: 64,
        max_new_tokens: 8,
    }
}

/// Ten rows a label, one mislabelled; files of every kind.
fn submission(dir: &TempDir) -> Submission {
    let root = dir.path().to_owned();
    let work = root.join("work");
    fs::create_dir_all(work.join("train-1")).unwrap();
    fs::write(work.join("train-1/adapter_model.safetensors"), "weights").unwrap();
    fs::write(work.join("good.gguf"), "GGUF").unwrap();
    let mut sealed: Vec<Row> = (0..10)
        .flat_map(|i| {
            ["card_arrival", "refund", "lost_pin"]
                .iter()
                .enumerate()
                .map(move |(at, l)| row(&format!("case {at} of {}", "x".repeat(i)), l))
        })
        .collect();
    sealed[0] = row("case 1 but mislabelled", "card_arrival");
    let open =
        vec![row("money please", "refund"), row("of xx", "refund"), row("case", "lost_pin"), row("bad", "nothing")];
    Submission {
        recipe: recipe(JobKind::Classification),
        base: root.join("base"),
        adapter: Some(work.join("train-1")),
        artifacts: vec![(work.join("good.gguf"), "gguf".into())],
        refused: BTreeMap::new(),
        trained: Vec::new(),
        root,
        sealed,
        open,
    }
}

fn graded(s: &Submission) -> Grade {
    grade(s, &Zoo, &mut |_| {}).unwrap()
}

#[test]
fn a_classification_is_scored_by_likelihood_and_by_generation() {
    let dir = TempDir::new().unwrap();
    let got = graded(&submission(&dir));
    insta::assert_snapshot!("classification", short(&got));
    assert_eq!(got.items[0], (true, Some(false)));
    assert_eq!(
        got.items[1..],
        [(false, Some(true)), (false, Some(true)), (true, Some(true))]
            .iter()
            .copied()
            .cycle()
            .take(29)
            .collect::<Vec<_>>()
    );
    let (met, why) = outcome(&got, &[], &[]);
    assert_eq!(
        (met, why.as_str()),
        (
            true,
            "accuracy rose from 33.3 % to 96.7 % on 30 sealed rows, a gain of +63.3 points (95 % interval 43.3 to 83.3, p < 0.001)"
        )
    );
}

/// A grade as JSON, without its list of items, with rounded figures.
fn short(grade: &Grade) -> String {
    fn round(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Number(n) if n.is_f64() => *value = json!((n.as_f64().unwrap() * 1e6).round() / 1e6),
            serde_json::Value::Array(list) => list.iter_mut().for_each(round),
            serde_json::Value::Object(map) => map.values_mut().for_each(round),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(grade).unwrap();
    value.as_object_mut().unwrap().remove("items");
    round(&mut value);
    serde_json::to_string_pretty(&value).unwrap()
}

/// Examples as a training step would have had them, of these inputs.
fn trained_on(dir: &TempDir, inputs: &[String]) -> Vec<PathBuf> {
    let path = dir.path().join("trained.jsonl");
    let line =
        |input: &String| json!({"prompt": format!("{input} Intent:"), "completion": "refund"}).to_string() + "\n";
    fs::write(&path, inputs.iter().map(line).collect::<String>()).unwrap();
    vec![path]
}

/// Inputs with words of their own.
fn told(count: usize) -> Vec<String> {
    let word = |n: usize| format!("w{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40);
    (0..count)
        .map(|at| (0..8).map(|n| word(8 * at + n)).fold(format!("case {}", at % 3), |text, w| text + " " + &w))
        .collect()
}

#[test]
fn nothing_is_claimed_on_rows_that_were_trained_on() {
    let dir = TempDir::new().unwrap();
    let mut s = submission(&dir);
    let inputs = told(120);
    let labels = ["card_arrival", "refund", "lost_pin"];
    s.sealed = inputs.iter().enumerate().map(|(at, input)| row(input, labels[at % 3])).collect();
    s.trained = trained_on(&dir, &inputs[..60]);
    let got = graded(&s);
    let why =
        "contamination: 60 rows that the run brought in and trained on hold 60 of 120 sealed rows whole and 60 in part";
    assert_eq!((got.base.n, &got.tuned, &got.gain), (120, &None, &None));
    assert_eq!(got.artifacts.last().unwrap().failed.as_deref(), Some(why));
    let (met, said) = outcome(&got, &[], &[]);
    assert!(!met && said.contains(why), "{said}");
    // A few rows in part are left out of every figure instead.
    s.trained = trained_on(&dir, &inputs[..20].iter().map(|input| input[..34].to_uppercase()).collect::<Vec<_>>());
    let got = graded(&s);
    assert_eq!((got.base.n, got.tuned.as_ref().unwrap().n, got.items.len()), (100, 100, 100));
    let left_out = "stands whole or in part in data that the run brought in".to_owned();
    assert_eq!(got.unusable, [(left_out, 20)]);
    // What the run was given may be trained on.
    s.open = inputs[..60].iter().map(|input| row(input, "refund")).collect();
    s.trained = trained_on(&dir, &inputs[..60]);
    assert_eq!((graded(&s).base.n, graded(&s).unusable), (120, vec![]));
    s.trained = vec![dir.path().join("gone.jsonl")];
    let failed = graded(&s).artifacts.last().unwrap().failed.clone().unwrap();
    assert!(failed.starts_with("contamination: what it was trained on cannot be read: No such file"), "{failed}");
}

#[test]
fn what_was_not_taken_in_is_not_opened() {
    let dir = TempDir::new().unwrap();
    let mut s = submission(&dir);
    let (adapter, file) = (dir.path().join("work/train-1"), dir.path().join("work/good.gguf"));
    s.refused = BTreeMap::from([(adapter, "lineage: a".to_owned()), (file, "lineage: b".to_owned())]);
    fs::remove_dir_all(dir.path().join("work")).unwrap();
    let got = graded(&s);
    let failed: Vec<Option<&str>> = got.artifacts.iter().map(|artifact| artifact.failed.as_deref()).collect();
    assert_eq!((failed, got.tuned), (vec![Some("lineage: b"), Some("lineage: a")], None));
}

#[test]
fn a_shipped_model_that_is_too_large_is_named() {
    let dir = TempDir::new().unwrap();
    let mut got = graded(&submission(&dir));
    got.artifacts = vec![
        Artifact {
            path: "work/model.gguf".into(),
            kind: "gguf".into(),
            sha256: String::new(),
            bytes: 3_100_000,
            measured: None,
            failed: None,
        },
        Artifact {
            path: "work/train-1".into(),
            kind: "adapter".into(),
            sha256: String::new(),
            bytes: 9_000_000,
            measured: None,
            failed: None,
        },
    ];
    let why = "work/model.gguf takes 3.1 MB, more than the 3.0 MB that it may take";
    assert_eq!(too_large(&got, 3_000_000).as_deref(), Some(why));
    assert_eq!(too_large(&got, 3_100_000), None);
    // Where no model is shipped, the adapter is what is.
    got.artifacts.remove(0);
    assert_eq!(too_large(&got, 9_000_000), None);
    assert!(too_large(&got, 8_999_999).is_some_and(|why| why.starts_with("work/train-1 takes 9.0 MB")));
}

#[test]
fn goals_decide_where_there_are_any() {
    let dir = TempDir::new().unwrap();
    let got = graded(&submission(&dir));
    let goal = |metric: &str, at_least| Goal::at_least(metric, at_least);
    let table = [
        (vec![goal("accuracy", 0.9)], true, "on 30 sealed rows, accuracy of 96.7 % meets the goal of 90.0 %"),
        (
            vec![goal("accuracy", 0.9), goal("macro_f1", 0.99)],
            false,
            "on 30 sealed rows, accuracy of 96.7 % meets the goal of 90.0 %, macro_f1 of 96.7 % misses the goal of 99.0 %",
        ),
        (
            vec![goal("well_formed", 1.0), goal("gain", 0.6)],
            true,
            "on 30 sealed rows, well_formed of 100.0 % meets the goal of 100.0 %, gain of 63.3 % meets the goal of 60.0 %",
        ),
        (vec![goal("bleu", 0.1)], false, "on 30 sealed rows, bleu is not a metric of this result"),
    ];
    for (goals, met, why) in table {
        assert_eq!(outcome(&got, &goals, &[]), (met, why.to_owned()));
    }
}

#[test]
fn raw_text_is_scored_in_bits_per_byte_and_less_is_better() {
    let dir = TempDir::new().unwrap();
    let mut s = submission(&dir);
    s.recipe = Recipe {
        input: "text".into(),
        target: "text".into(),
        cue: String::new(),
        labels: vec![],
        ..recipe(JobKind::Pretraining)
    };
    let text = |at: usize| json!({"text": format!("Passage {at}: {}", "on and on. ".repeat(3 + at % 5))});
    s.sealed = (0..30).map(|at| text(at).as_object().unwrap().clone()).collect();
    s.open = (30..60).map(|at| text(at).as_object().unwrap().clone()).collect();
    let got = graded(&s);
    let (tuned, gain) = (got.tuned.clone().unwrap(), got.gain.clone().unwrap());
    assert_eq!((got.metric.as_str(), got.base.n, tuned.n), ("bits_per_byte", 30, 30));
    assert!((got.base.value - tuned.value - gain.value).abs() < 1e-9 && gain.value > 2.0, "{got:?}");
    assert!(gain.interval.0 > 2.0 && gain.interval.0 < gain.value && gain.value < gain.interval.1, "{gain:?}");
    // Two bits for a byte, of which two are a token.
    assert!(tuned.perplexity.is_some_and(|perplexity| (15.0..17.0).contains(&perplexity)), "{tuned:?}");
    assert_eq!((tuned.exact_match, tuned.format_failures, got.items.len(), got.passages.len()), (None, None, 0, 30));
    assert_eq!(got.baselines, Default::default());
    assert_eq!(got.artifacts[0].failed, None);
    let (met, why) = outcome(&got, &[], &[]);
    assert!(met && why.starts_with("bits per byte fell from 4."), "{why}");
    assert!(why.contains(" to 2.000 on 30 sealed rows, a gain of +2."), "{why}");
    assert!(why.ends_with(", p < 0.001)") && why.contains(" bits per byte (95 % interval 2."), "{why}");
    let most = |metric: &str, value| vec![Goal { metric: metric.into(), bound: Bound::AtMost(value) }];
    let judged = |goals: Vec<Goal>| outcome(&got, &goals, &[]);
    let (met, why) = judged(most("bits_per_byte", 2.5));
    assert!(met && why.ends_with("meets the goal of at most 2.500"), "{why}");
    let (met, why) = judged(most("perplexity", 2.5));
    assert!(!met && why.ends_with("misses the goal of at most 2.500"), "{why}");
    assert!(!judged(vec![Goal::at_least("accuracy", 0.1)]).0);
    // What was saved is more than that, in bits.
    let (met, why) = judged(vec![Goal::at_least("gain", 0.05)]);
    assert_eq!((met, why.as_str()), (false, "on 30 sealed rows, gain is not a metric of this result"));
    // A change of the input could only leave rows out, and of one model alone.
    s.recipe.changes.clean = BTreeSet::from([Clean::Lower]);
    let refused = grade(&s, &Zoo, &mut |_| {}).unwrap_err().to_string();
    assert!(refused.starts_with("the recipe changes rows of raw text, which is measured as it stands"), "{refused}");
}

#[test]
fn ties_and_numbers_that_are_none_are_wrong() {
    let dir = TempDir::new().unwrap();
    let mut s = submission(&dir);
    for name in ["tie.gguf", "nan.gguf"] {
        fs::write(dir.path().join("work").join(name), "GGUF").unwrap();
        s.artifacts.push((dir.path().join("work").join(name), "gguf".into()));
    }
    let got = graded(&s);
    let values: Vec<f64> = got.artifacts.iter().filter_map(|a| Some(a.measured.as_ref()?.value)).collect();
    assert_eq!(values, [1.0 - 1.0 / 30.0, 0.0, 0.0]);
    assert_eq!(got.artifacts[1].failed.as_deref(), Some("the file reaches 0.0 % where the tuned model has 96.7 %"));
    assert!(!outcome(&got, &[], &[]).0);
}

#[test]
fn rows_that_cannot_be_used_are_wrong_unless_they_have_no_input() {
    let dir = TempDir::new().unwrap();
    let mut s = submission(&dir);
    s.sealed = vec![
        row("case 1", "refund"),
        row("case 2", "unheard_of"),
        row("  ", "refund"),
        row("case 0", ""),
        row("case 2", "lost_pin"),
    ];
    let got = graded(&s);
    assert_eq!(got.items, [(false, Some(true)), (false, Some(false)), (false, Some(false)), (false, Some(true))]);
    assert_eq!((got.base.n, got.tuned.as_ref().unwrap().value), (4, 0.5));
    // refund 1; lost pin 2/3, for it was said of the row with the unheard label too; unheard_of 0.
    assert_eq!(got.tuned.as_ref().unwrap().macro_f1, Some((1.0 + 2.0 / 3.0) / 3.0));
    let confusion = got.confusion.unwrap();
    assert_eq!(confusion.labels.last().map(String::as_str), Some("unheard_of"));
    assert_eq!(confusion.counts.iter().flatten().sum::<usize>(), 3);
    assert_eq!(
        got.unusable,
        [
            ("column \"intent\" is missing or empty".to_owned(), 1),
            ("column \"text\" is missing or empty".to_owned(), 1),
            ("label \"unheard_of\" is not in the recipe".to_owned(), 1)
        ]
    );
    s.sealed = vec![row("case 1", "unheard_of")];
    assert!(matches!(grade(&s, &Zoo, &mut |_| {}), Err(GradeError::NoRows(1))));
}

fn changes(value: serde_json::Value) -> Changes {
    serde_json::from_value(value).unwrap()
}

#[test]
fn no_change_chooses_which_rows_count() {
    let dir = TempDir::new().unwrap();
    let mut s = submission(&dir);
    s.sealed = vec![row("case 1", "refund"), row(" ", "refund"), row("case 2 hard", "card_arrival")];
    // Sealed rows that a change empties, or cannot be changed, are wrong; an input made of nothing gives none.
    let doubled = json!({"pattern": "(?s)^.*hard.*$", "with": "$0$0"});
    for replace in
        [json!([{"pattern": "(?s)^.*hard.*$"}]), json!(vec![doubled; 25]), json!([{"pattern": "^ $", "with": "x"}])]
    {
        s.recipe.changes = changes(json!({"replace": replace}));
        let got = graded(&s);
        assert_eq!(got.items, [(false, Some(true)), (true, Some(false))], "{replace}");
    }
    // A column that changes make is read in all rows.
    s.recipe.changes =
        changes(json!({"set": {"asked": "{text}"}, "replace": [{"column": "asked", "pattern": ".*hard"}]}));
    s.recipe.input = "asked".into();
    let got = graded(&s);
    assert_eq!(got.items, [(false, Some(true)), (false, Some(false)), (false, Some(false))]);
    assert_eq!(got.unusable, [("the recipe's changes leave column \"asked\" empty".to_owned(), 2)]);
}

#[test]
fn changes_that_only_lame_the_base_or_a_baseline_are_no_gain() {
    let dir = TempDir::new().unwrap();
    let mut s = submission(&dir);
    s.base = dir.path().join("reader");
    let plain = graded(&s);
    s.recipe.changes = changes(json!({"replace": [{"pattern": "[0-9]"}, {"pattern": "[a-z]+", "with": "."}]}));
    let got = graded(&s);
    assert_eq!((&got.base, &got.baselines), (&plain.base, &plain.baselines));
    let tuned = got.tuned.unwrap();
    assert_eq!((tuned.value, got.gain.unwrap().value < 0.0), (10.0 / 30.0, true));
}

#[test]
fn other_kinds_are_scored_by_exact_match_of_generation() {
    let dir = TempDir::new().unwrap();
    let mut s = submission(&dir);
    s.recipe = Recipe { labels: vec![], ..recipe(JobKind::Generation) };
    s.sealed = vec![row("case 1", "refund"), row("case 2", "lost pin"), row("case 0", "no")];
    let got = graded(&s);
    let tuned = got.tuned.unwrap();
    assert_eq!((got.metric.as_str(), got.base.value, tuned.value), ("exact_match", 0.0, 2.0 / 3.0));
    assert_eq!((tuned.exact_match, tuned.format_failures, tuned.macro_f1), (Some(2.0 / 3.0), Some(0.0), None));
    assert_eq!((got.errors.len(), got.errors[0].got.as_str()), (1, "card arrival"));
    assert!(got.confusion.is_none() && got.baselines.chance.is_none());
}

#[test]
fn always_saying_the_same_is_no_gain_worth_a_model() {
    let dir = TempDir::new().unwrap();
    let mut s = submission(&dir);
    s.artifacts.clear();
    s.recipe = Recipe { labels: vec![], cue: String::new(), ..recipe(JobKind::Generation) };
    // The tuned model says "refund" to all of these. Among the open rows another answer is the most frequent, so that
    // the model is a little better than the baseline says.
    let answer = |at: usize| ["refund", "lost pin", "a", "b", "c"][at % 11 % 5];
    s.sealed = (0..220).map(|at| row(&format!("case 1 {}", "x".repeat(at)), answer(at))).collect();
    s.open = ["lost pin", "lost pin", "refund"].iter().map(|answer| row("case", answer)).collect();
    let got = graded(&s);
    let tuned = got.tuned.clone().unwrap().value;
    assert_eq!((got.base.value, tuned, got.baselines.majority), (0.0, 60.0 / 220.0, Some(40.0 / 220.0)));
    assert!(got.gain.as_ref().unwrap().p_value < 0.001);
    s.open.truncate(0);
    s.open.push(row("case", "refund"));
    let (met, why) = outcome(&graded(&s), &[], &[]);
    assert!(!met && why.contains("but always giving the most frequent answer reaches 27.3 %"), "{why}");
    s.sealed.iter_mut().for_each(|row| drop(row.insert("intent".into(), "refund".into())));
    s.sealed.extend((0..20).map(|at| row(&format!("case 2 {}", "y".repeat(at)), "lost pin")));
    s.open = vec![row("case", "lost pin")];
    assert!(outcome(&graded(&s), &[], &[]).0);
}

#[test]
fn a_gain_needs_its_test_as_well_as_its_interval() {
    let dir = TempDir::new().unwrap();
    let mut got = graded(&submission(&dir));
    got.gain.as_mut().unwrap().p_value = 0.0625;
    let (met, why) = outcome(&got, &[], &[]);
    assert!(!met && why.ends_with("p = 0.062), which is not clearly above zero"), "{why}");
}

#[test]
fn a_file_that_cannot_be_checked_does_not_pass_and_a_wanted_one_must_be_there() {
    let dir = TempDir::new().unwrap();
    let mut s = submission(&dir);
    assert!(outcome(&graded(&s), &[], &["gguf".into()]).0);
    fs::write(dir.path().join("work/notes.txt"), "anything").unwrap();
    s.artifacts = vec![(dir.path().join("work/notes.txt"), "other".into())];
    let got = graded(&s);
    let why = "the grader cannot check a file of kind \"other\"; ship gguf, safetensors or an adapter";
    assert_eq!(got.artifacts[0].failed.as_deref(), Some(why));
    assert!(!outcome(&got, &[], &[]).0);
    s.artifacts.clear();
    let (met, why) = outcome(&graded(&s), &[], &["gguf".into()]);
    assert!(!met && why.ends_with("; the request asks for a file that was not handed in (gguf)"), "{why}");
}

#[test]
fn a_file_that_fails_does_not_stop_the_others() {
    let dir = TempDir::new().unwrap();
    let mut s = submission(&dir);
    let work = dir.path().join("work");
    fs::write(work.join("broken.gguf"), "GGUF").unwrap();
    fs::write(work.join("empty.gguf"), "").unwrap();
    let mut names = vec!["broken.gguf", "empty.gguf", "gone.gguf", "train-1"];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("good.gguf", work.join("link.gguf")).unwrap();
        std::os::unix::fs::symlink(&work, dir.path().join("other")).unwrap();
        names.extend(["link.gguf", "../other/good.gguf"]);
    }
    for name in names {
        s.artifacts.insert(
            0,
            (if name.starts_with("..") { dir.path().join(&name[3..]) } else { work.join(name) }, "gguf".into()),
        );
    }
    let got = graded(&s);
    let verdicts: Vec<(String, bool)> = got.artifacts.iter().map(|a| (a.path.clone(), a.failed.is_none())).collect();
    let bad = verdicts.iter().filter(|(_, ok)| !ok).count();
    assert_eq!(bad, got.artifacts.len() - 2, "{verdicts:?}");
    assert_eq!(
        verdicts[verdicts.len() - 2..],
        [("work/good.gguf".to_owned(), true), ("work/train-1".to_owned(), true)]
    );
    let (met, why) = outcome(&got, &[], &[]);
    assert!(!met && why.contains("broken.gguf: not a model") && why.contains("is a link"), "{why}");
}

#[test]
fn a_broken_adapter_leaves_the_base_graded() {
    let dir = TempDir::new().unwrap();
    let s = submission(&dir);
    fs::write(dir.path().join("work/train-1/adapter_model.safetensors"), "NaN").unwrap();
    let got = graded(&s);
    assert_eq!((got.tuned, got.gain), (None, None));
    assert_eq!(got.artifacts[1].failed.as_deref(), Some("a tensor is not finite"));
    assert!(got.artifacts[0].failed.is_none());
    let (met, why) = outcome(&graded(&s), &[], &[]);
    assert_eq!(
        (met, why.starts_with("there is no tuned model to compare with the base; a shipped file")),
        (false, true)
    );
}

#[test]
fn partial_grades_come_after_each_model_and_lead_to_the_result() {
    let dir = TempDir::new().unwrap();
    let (mut partial, mut stages) = (Vec::new(), Vec::new());
    let got = grade(&submission(&dir), &Zoo, &mut |progress| match progress {
        GradeProgress::Partial(grade) => partial.push(*grade),
        GradeProgress::Rows { stage, done, total } => stages.push((stage, done, total)),
    })
    .unwrap();
    assert_eq!(stages, ["base: labels", "tuned: labels", "work/good.gguf: labels"].map(|s| (s.to_owned(), 30, 30)));
    let known: Vec<(bool, usize)> = partial
        .iter()
        .map(|g| (g.tuned.is_some(), g.artifacts.iter().filter(|a| a.failed.is_some()).count()))
        .collect();
    assert_eq!(known, [(false, 2), (true, 1), (true, 0)]);
    assert_eq!(partial.last(), Some(&got));
}

#[test]
fn a_base_that_cannot_be_opened_is_an_error() {
    let dir = TempDir::new().unwrap();
    let s = Submission { base: PathBuf::from("nowhere"), ..submission(&dir) };
    let error = grade(&s, &Zoo, &mut |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "the base model cannot be scored: nowhere: not a model");
    let s = Submission { recipe: Recipe { labels: vec![], ..recipe(JobKind::Classification) }, ..submission(&dir) };
    assert!(matches!(grade(&s, &Zoo, &mut |_| {}), Err(GradeError::NoLabels)));
}
