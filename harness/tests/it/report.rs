//! Reports of whole, cut-off and hostile runs.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;
use tunesmith_harness::{
    event::{self, Before, Event, Kind, Rows},
    grade::{Artifact, Baselines, Confusion, Gain, Grade, Measured, WrongRow},
    report::Report,
    run::Input,
    score::{Score, Verdict},
    task::{Goal, JobKind, Outcome, Scope, Task},
};

fn events(kinds: Vec<Kind>) -> Vec<Event> {
    let start: jiff::Timestamp = "2026-03-01T10:00:00Z".parse().unwrap();
    let at = |i: usize| start.checked_add(jiff::SignedDuration::from_secs(20 * i as i64)).unwrap();
    let prev = |i: usize| format!("{i:064x}");
    kinds.into_iter().enumerate().map(|(i, kind)| Event { seq: i as u64, at: at(i), prev: prev(i), kind }).collect()
}

fn started(request: &str) -> Kind {
    let task = Task {
        request: request.into(),
        files: vec!["tickets.csv".into()],
        test: None,
        test_share: None,
        base: None,
        goals: vec![Goal::at_least("accuracy", 0.9)],
        artifacts: Vec::new(),
        max_bytes: None,
        minutes: Some(10.0),
        steps: None,
        usd: None,
        tokens: None,
        disk: None,
        seed: 7,
    };
    let rows = Rows { read: 1880, open: 1505, sealed: 375, dropped: 0, templated: 0, near_groups: 0 };
    let layers = vec!["landlock".into(), "seccomp".into()];
    let file = |path: &str, rows: usize| Input {
        path: path.into(),
        sha256: "f".repeat(64),
        bytes: 12_345,
        rows,
        note: None,
        bad_rows: 0,
        bad: Vec::new(),
    };
    let bad = vec!["line 7: 1 fields where the header has 2".to_owned()];
    let inputs = vec![file("tickets.csv", 1500), Input { bad_rows: 3, bad, ..file("more/<b>.jsonl", 380) }];
    Kind::Started { task, planner: "playbook".into(), version: "0.1.0".into(), rows, layers, inputs, before: None }
}

fn scoped(base: &str) -> Kind {
    Kind::Scoped {
        scope: Scope {
            base: base.into(),
            base_sha256: "b".repeat(64),
            data_sha256: "d".repeat(64),
            kind: JobKind::Classification,
            input: "text".into(),
            target: "intent".into(),
            answer_after: None,
            method: "lora".into(),
            max_length: 128,
            metric: "accuracy".into(),
        },
    }
}

fn call(step: u32, tool: &str, args: Value) -> Kind {
    Kind::Called { step, id: format!("c{step}"), tool: tool.into(), args }
}

fn returned(step: u32, tool: &str, ok: bool, output: Value, seconds: f64) -> Kind {
    Kind::Returned {
        step,
        id: format!("c{step}"),
        tool: tool.into(),
        ok,
        output,
        seconds,
        jobs: Vec::new(),
        fault: None,
        asked: None,
    }
}

fn scored(step: u32, scorer: &str, value: Option<f64>, verdict: Verdict, why: &str) -> Kind {
    let interval = value.map(|v| (v - 0.03, v + 0.02));
    Kind::Scored { step: Some(step), score: Score { scorer: scorer.into(), value, interval, verdict, why: why.into() } }
}

fn measured(value: f64, exact_match: f64, format_failures: f64) -> Measured {
    let interval = (value - 0.03, value + 0.025);
    Measured {
        value,
        interval,
        n: 375,
        exact_match: Some(exact_match),
        format_failures: Some(format_failures),
        macro_f1: Some(value - 0.004),
        field_accuracy: None,
        perplexity: None,
    }
}

const LABELS: [&str; 10] = [
    "activate my card",
    "age limit",
    "card arrival",
    "card linking",
    "cash withdrawal charge",
    "direct debit not recognised",
    "lost or stolen phone",
    "pin blocked",
    "request refund",
    "top up failed",
];

/// A matrix with a strong diagonal and a few confusions.
fn confusion() -> Confusion {
    let mut counts = vec![vec![0; LABELS.len()]; LABELS.len()];
    for (at, row) in counts.iter_mut().enumerate() {
        row[at] = 34 - at % 4;
    }
    for (truth, predicted, n) in [(2, 3, 6), (3, 2, 4), (4, 5, 5), (8, 9, 3), (0, 2, 2), (7, 6, 1)] {
        counts[truth][predicted] = n;
    }
    Confusion { labels: LABELS.map(str::to_owned).into(), counts }
}

fn artifact(path: &str, kind: &str, bytes: u64, measured: Option<Measured>) -> Artifact {
    let sha256 = (if kind == "gguf" { "9" } else { "a" }).repeat(64);
    Artifact { path: path.into(), kind: kind.into(), sha256, bytes, measured, failed: None }
}

fn grade() -> Grade {
    let wrong = |input: &str, expected: &str, got: &str| WrongRow {
        input: input.into(),
        expected: expected.into(),
        got: got.into(),
    };
    Grade {
        metric: "accuracy".into(),
        base: measured(0.104, 0.0, 1.0),
        tuned: Some(measured(0.9147, 0.9093, 0.0027)),
        gain: Some(Gain { value: 0.8107, interval: (0.7707, 0.848), p_value: 1e-60 }),
        baselines: Baselines { chance: Some(0.1), majority: Some(0.1013), naive_bayes: Some(0.9013) },
        artifacts: vec![
            artifact("work/model-q8_0.gguf", "gguf", 3_421_000, Some(measured(0.912, 0.9067, 0.0027))),
            artifact("work/train-2", "adapter", 1_204_112, None),
        ],
        confusion: Some(confusion()),
        errors: vec![
            wrong("How do I link my replacement card to the app?", "card linking", "card arrival"),
            wrong(
                "there is a fee on my statement from the cash machine, what is it",
                "cash withdrawal charge",
                "direct debit not recognised",
            ),
            wrong("money back", "request refund", "top up failed"),
        ],
        unusable: vec![("label \"other\" is not in the recipe".into(), 2)],
        items: vec![],
        passages: vec![],
    }
}

fn losses(steps: u32, from: f64) -> (Vec<Value>, Vec<Value>) {
    let loss = |s: u32| from * (-(s as f64) / 60.0).exp() + 0.08 + 0.06 * ((s * 7919 % 97) as f64 / 97.0 - 0.5);
    let train = (1..=steps).map(|s| json!([s, loss(s)])).collect();
    let valid = (1..=steps / 60)
        .map(|e| json!([e * 60, loss(e * 60) + 0.05 + 0.012 * (e as f64 - 3.0).powi(2) / 4.0]))
        .collect();
    (train, valid)
}

fn evaluated(value: f64) -> Value {
    json!({"metric": "accuracy", "value": value, "interval": [value - 0.04, value + 0.04], "n": 150})
}

/// A run as it should be: two trainings, the second shipped.
fn whole() -> Vec<Event> {
    let (first, first_valid) = losses(240, 2.9);
    let (second, second_valid) = losses(480, 3.4);
    events(vec![
        started("Fine-tune a small model to route these customer messages to the right intent."),
        call(1, "plan", json!({})),
        returned(1, "plan", true, json!({"ok": true}), 0.02),
        scoped("nano"),
        call(2, "data_prepare", json!({"cue": "Intent:"})),
        returned(2, "data_prepare", true, json!({"recipe": {"cue": "Intent:", "max_new_tokens": 12}}), 0.4),
        scored(2, "data_prepare.rows", Some(0.998), Verdict::Pass, "1502 of 1505 rows usable"),
        call(3, "train", json!({"learning_rate": 0.001})),
        returned(
            3,
            "train",
            true,
            json!({"adapter": "train-1", "curve": first, "valid_curve": first_valid, "best_step": 240, "valid_loss": 0.41}),
            64.2,
        ),
        scored(3, "train.gradients", None, Verdict::Pass, "all 70 tensors have gradients"),
        call(4, "train", json!({"learning_rate": 0.003})),
        returned(
            4,
            "train",
            true,
            json!({"adapter": "train-2", "curve": second, "valid_curve": second_valid, "best_step": 240, "valid_loss": 0.35}),
            121.8,
        ),
        scored(4, "train.gradients", None, Verdict::Pass, "all 70 tensors have gradients"),
        scored(4, "train.overfit", Some(0.04), Verdict::Warn, "validation loss rose after step 240"),
        call(5, "shell", json!({"command": "ls"})),
        returned(5, "shell", false, json!({"error": "denied: no shell without --allow shell"}), 0.0),
        call(6, "convert", json!({"quant": "q8_0"})),
        returned(6, "convert", true, json!({"path": "model-q8_0.gguf"}), 0.9),
        call(7, "evaluate", json!({})),
        returned(7, "evaluate", true, evaluated(0.1), 2.0),
        call(8, "evaluate", json!({"adapter": "train-2"})),
        returned(8, "evaluate", true, evaluated(0.92), 2.0),
        scored(8, "eval.value", Some(0.92), Verdict::Pass, "accuracy 92.0 % of 150 examples"),
        Kind::Amended {
            field: "max_length".into(),
            from: json!(96),
            to: json!(128),
            reason: "two rows are longer".into(),
        },
        Kind::Guarded { guard: "repeat".into(), why: "the same call three times".into() },
        Kind::Graded { grade: Box::new(grade()), jobs: Vec::new() },
        Kind::Ended {
            outcome: Outcome::Met,
            why: "on 375 sealed rows, accuracy of 91.5 % meets the goal of 90.0 %".into(),
            run: "runs/20260301-route".into(),
        },
    ])
}

/// A run that ended in the middle of a step, with a planner that did not tell its cost.
fn cut_short() -> Vec<Event> {
    let mut begin = started("Solve these.");
    if let Kind::Started { planner, .. } = &mut begin {
        *planner = "openai:gpt".into();
    }
    events(vec![
        begin,
        Kind::words("I will plan.", Some(812), None),
        call(1, "train", json!({})),
        Kind::Ended {
            outcome: Outcome::Budget,
            why: "the time limit of 10 minutes was reached".into(),
            run: "runs/x".into(),
        },
    ])
}

const HOSTILE: &str = "<script>alert(1)</script> | a `b` **c** [d](javascript:x) https://a.b\n# e \u{1b}[2J \u{202e}f & \"g\" {{ 7*7 }} </style>";

/// What `data_inspect` says of rows that hold a word, kept short as for planners.
fn inspected(word: &str) -> Value {
    let example = json!({"path": word, "line": 3, "text": word, "label": word, "rather": word});
    let label = |rows: usize| json!({"label": word, "rows": rows});
    json!({
        "rows": 40, "duplicates": 1, "format": word, "sample": {"rows": 39, "of": 39, "seed": 0},
        "findings": [{"kind": word, "weight": word, "rows": 2, "of": 39, "why": word}],
        "columns": [
            {"name": "a", "cells": "text", "missing": 10, "distinct": 2, "lengths": [1, 2, 3, 4], "examples": [word],
                "types": {word: 30}, "languages": [label(3)], "absent": [10, 0, 0]},
            {"name": word, "cells": word, "missing": 0, "distinct": 2, "lengths": [1, 2, 3, 4], "examples": [],
                "labels": [label(30), label(10)], "absent": [0, 0, 0]},
        ],
        "tokens": {"of": 39, "template": true, "lengths": [1, 9, 20, 30], "histogram": [3, 30, 6], "histogram_to": 30,
            "max_length": 24, "longer": 2},
        "labels": {"target": word, "input": "a", "count": 3, "balance": [30, 10], "rare": 0, "counts": [],
            "variants": [[label(1)]], "contradicting": 1, "contradicting_examples": [[example]], "near": 1,
            "near_examples": [[example]], "suspicious": 1, "suspicious_of": 39, "suspicious_examples": [example]},
        "near": {"columns": ["a"], "of": 39, "groups": 1, "rows": 1, "same_words": 0, "largest": 2, "examples": [[example]]},
        "damage": [{"kind": word, "name": word, "rows": 1, "examples": [word]}],
        "formats": [{"kind": word, "fits": true, "why": word, "arguments": [word],
            "problems": [{"why": word, "rows": 1, "path": word, "line": 1}]}],
        "bad_rows": 1, "bad": [{"path": word, "line": 9, "reason": word, "example": word}],
    })
}

/// Hostile words everywhere a planner, a data file or a model can put them.
fn hostile() -> Vec<Event> {
    let mut grade = grade();
    grade.metric = HOSTILE.into();
    grade.artifacts[0].path = HOSTILE.into();
    grade.artifacts[1].failed = Some(HOSTILE.into());
    grade.unusable = vec![(HOSTILE.into(), 1)];
    grade.errors = vec![WrongRow { input: HOSTILE.into(), expected: HOSTILE.into(), got: HOSTILE.into() }];
    let confusion = Confusion { labels: vec![HOSTILE.into(), "b".into()], counts: vec![vec![3, 1], vec![0, 2]] };
    grade.confusion = Some(confusion);
    events(vec![
        started(HOSTILE),
        scoped(HOSTILE),
        call(1, HOSTILE, json!({"cue": HOSTILE})),
        returned(1, HOSTILE, false, json!({"error": HOSTILE}), 1.0),
        scored(1, HOSTILE, Some(0.5), Verdict::Fail, HOSTILE),
        call(2, "data_prepare", json!({"cue": HOSTILE})),
        returned(2, "data_inspect", true, inspected(HOSTILE), 1.0),
        returned(2, "convert", true, json!({"ollama_template": HOSTILE, "stop": HOSTILE}), f64::NAN),
        returned(3, "train", true, json!({"curve": [[1, 2.0], ["<b>", null], [2, 1.0]], "best_step": "<b>"}), 1.0),
        Kind::Amended {
            field: HOSTILE.into(),
            from: json!(HOSTILE),
            to: json!({"a": HOSTILE}),
            reason: HOSTILE.into(),
        },
        Kind::Guarded { guard: HOSTILE.into(), why: HOSTILE.into() },
        Kind::Graded { grade: Box::new(grade), jobs: Vec::new() },
        Kind::Ended { outcome: Outcome::NotMet, why: HOSTILE.into(), run: HOSTILE.into() },
    ])
}

#[test]
fn a_whole_run_reads_well() {
    let report = Report::fold(&whole());
    insta::assert_snapshot!("whole", report.markdown());
    assert_eq!((report.cost.tokens, report.cost.usd, report.cost.seconds), (Some(0), Some(0.0), 520.0));
    assert_eq!(
        report.curves.iter().map(|curve| (curve.step, curve.shipped)).collect::<Vec<_>>(),
        [(3, false), (4, true)]
    );
}

#[test]
fn a_run_that_ended_early_says_what_is_known() {
    let report = Report::fold(&cut_short());
    insta::assert_snapshot!("cut_short", report.markdown());
    assert_eq!((report.cost.tokens, report.cost.usd), (Some(812), None));
    assert_eq!((report.base.clone(), report.steps[0].ok), (None, None));
    assert!(report.html().contains("Budget reached: nothing was scored on the sealed rows."));
}

#[test]
fn every_beginning_of_a_log_gives_a_report() {
    let whole = whole();
    for end in 0..=whole.len() {
        let report = Report::fold(&whole[..end]);
        for page in [report.markdown(), report.html()] {
            assert!(!page.contains("cannot be laid out") && !page.contains("undefined"), "{end}: {page}");
        }
        assert!(!report.markdown().contains("none"), "{end}: a missing value was printed");
        assert_eq!(report.outcome.is_some(), end == whole.len());
    }
}

#[test]
fn a_better_baseline_is_in_the_first_sentence() {
    let mut grade = grade();
    grade.baselines.naive_bayes = Some(0.955);
    let report = Report::fold(&events(vec![started("x"), Kind::Graded { grade: Box::new(grade), jobs: Vec::new() }]));
    let sentence = "Not finished, but naive Bayes does better without any model (95.5 %): accuracy rose from 10.4 % to 91.5 % \
        on 375 sealed rows, a gain of +81.1 points (95 % interval 77.1 to 84.8, p < 0.001).";
    assert_eq!(report.sentence(), sentence);
}

#[test]
fn hostile_words_stay_words_on_the_page() {
    let html = Report::fold(&hostile()).html();
    // Everything that is a tag comes from the template or the chart.
    let known = "!doctype html head meta title style body main span h1 p blockquote div table thead tr th br tbody td svg line \
        text polyline circle h2 h3 ul li b details summary pre rect code";
    for tag in html.split('<').skip(1) {
        let name: String =
            tag.trim_start_matches('/').chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '!').collect();
        assert!(known.split(' ').any(|k| k == name), "<{tag}");
    }
    assert_eq!(html.matches("<style").count(), 1);
    assert!(html.contains("&lt;script&gt;alert(1)"));
    assert!(html.contains("\\u{1b}[2J \\u{202e}f") && html.contains("{{ 7*7 }}"));
    assert!(!html.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'));
}

#[test]
fn the_page_shows_the_plots_of_the_first_look_at_the_rows() {
    let look = |output: Value| returned(1, "data_inspect", true, output, 1.0);
    let page = |kinds: Vec<Kind>| Report::fold(&events([vec![started("x")], kinds].concat())).html();
    let html = page(vec![look(inspected("word")), look(inspected("other"))]);
    let section = html.split("The open rows, as data_inspect saw them.").nth(1).unwrap();
    // A bar for each column and each label, and a histogram with a bar for each part and the limit.
    assert_eq!(section.matches("<svg class=\"bar\"").count(), 2 + 2);
    let chart = section.split("<svg class=\"chart\"").nth(1).unwrap().split("</svg>").next().unwrap();
    assert_eq!((chart.matches("<rect").count(), chart.matches("class=\"mark\"").count()), (3, 1), "{chart}");
    assert!(section.contains("<h3>Labels in word</h3>") && section.contains("The 2 most frequent of 3."), "{section}");
    assert!(!html.contains("other"), "{html}");
    // A step that failed, or what an early version said, makes no section and breaks no page.
    for output in [json!(null), json!("x"), json!({"rows": 3}), json!({"rows": 3, "columns": [1], "labels": [2]})] {
        let html = page(vec![returned(1, "data_inspect", false, json!({"error": "no"}), 1.0), look(output.clone())]);
        assert!(html.contains("</html>") && !html.contains("laid out"), "{output}: {html}");
    }
}

#[test]
fn what_was_done_before_the_log_began_counts_and_its_unknown_cost_stays_unknown() {
    let cost = |asked: Option<(Option<u64>, Option<f64>)>| {
        let mut first = started("x");
        if let Kind::Started { before, .. } = &mut first {
            *before = asked.map(|(tokens, usd)| Before { seconds: 90.0, asked: event::Cost { tokens, usd } });
        }
        Report::fold(&events(vec![first, call(1, "data_inspect", json!({}))])).cost
    };
    let plain = cost(None);
    assert_eq!((plain.tokens, plain.usd), (Some(0), Some(0.0)));
    let made = cost(Some((Some(500), Some(0.25))));
    assert_eq!((made.tokens, made.usd, made.seconds), (Some(500), Some(0.25), plain.seconds + 90.0));
    let unknown = cost(Some((None, Some(0.25))));
    assert_eq!((unknown.tokens, unknown.usd), (None, Some(0.25)));
}

#[test]
fn a_step_has_a_bar_where_its_figure_is_a_share() {
    let bars = |metric: &str| {
        let output = json!({"metric": metric, "value": 0.9, "interval": [0.8, 1.0], "n": 50});
        let kinds = vec![started("x"), call(1, "evaluate", json!({})), returned(1, "evaluate", true, output, 1.0)];
        let report = Report::fold(&events(kinds));
        assert!(report.steps[0].metric.is_some());
        report.html().matches("<svg class=\"bar\"").count()
    };
    assert_eq!([bars("accuracy"), bars("bits_per_byte")], [1, 0]);
}

#[test]
fn hostile_words_stay_words_in_markdown() {
    let markdown = Report::fold(&hostile()).markdown();
    insta::assert_snapshot!("hostile", markdown);
    let outside = || markdown.lines().filter(|line| !line.starts_with("    "));
    // What remains of `<` stands alone, as in "p < 0.001".
    assert!(!outside().any(|line| line.replace("< ", "").contains('<') || line.replace("\\](", "").contains("](")));
    assert!(!markdown.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'));
    // No cell opens a column of its own: each table keeps the width of its head.
    let columns = |line: &str| line.replace("\\\\", "").replace("\\|", "").matches('|').count();
    let mut width = None;
    for line in outside() {
        match (line.starts_with('|'), width) {
            (true, None) => width = Some(columns(line)),
            (true, Some(width)) => assert_eq!(columns(line), width, "{line}"),
            (false, _) => width = None,
        }
    }
}

#[test]
fn report_json_is_stable_and_reads_back() {
    let report = Report::fold(&whole());
    let json = serde_json::to_value(&report).unwrap();
    let keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = "version outcome why request goals metric base tuned gain baselines artifacts scope amended hashes cost steps \
        scores guards curves confusion errors unusable rows inputs data planner tunesmith seed layers commands";
    assert_eq!(keys, expected.split(' ').collect::<Vec<_>>());
    assert_eq!(json["outcome"], "met");
    assert_eq!(
        json["steps"][4],
        json!({
            "step": 5, "tool": "shell", "ok": false, "valid": null, "fault": null, "verdict": "fail", "scores": [],
            "metric": null, "loss": null, "seconds": 0.0, "policies": [],
            "cost": {"cpu_seconds": null, "memory_bytes": null, "tokens": 0, "usd": 0.0},
            "error": "denied: no shell without --allow shell", "jobs": []
        })
    );
    assert_eq!(json["hashes"]["work/model-q8_0.gguf"], "9".repeat(64));
    assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
}

#[test]
fn folding_takes_a_time_that_grows_with_the_log() {
    // Every step measures other rows, so that none is compared with another.
    let log = |steps: u32| {
        let step = |n: u32| {
            let output = json!({"metric": "accuracy", "value": 0.5, "n": n, "interval": [0.4, 0.6]});
            let args = json!({"data": format!("data/{n}.jsonl"), "limit": n});
            let score = scored(n, "evaluate.rows", Some(0.5), Verdict::Pass, "as many as it says");
            [call(n, "evaluate", args), returned(n, "evaluate", true, output, 1.0), score]
        };
        events([started("x"), scoped("nano")].into_iter().chain((1..=steps).flat_map(step)).collect())
    };
    // Time of the processor, which does not count what others do meanwhile; without such a clock nothing is measured.
    let spent =
        || -> Option<u64> { fs::read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok() };
    let best = |events: Vec<Event>, times: usize| {
        let once = |_| {
            let before = spent()?;
            for _ in 0..times {
                assert_eq!(Report::fold(&events).steps.len(), events.len() / 3);
            }
            spent().map(|after| after - before)
        };
        (0..5).filter_map(once).min()
    };
    let (short, long) = (best(log(4_000), 8), best(log(32_000), 1));
    // As many steps in all: work that grew with the square of a log's length would take eight times as long.
    let linear = short.zip(long).is_none_or(|(short, long)| long < 3 * short);
    assert!(linear, "{short:?} ns for eight logs of 4,000 steps, {long:?} ns for one of 32,000");
}

#[test]
fn writing_replaces_all_three_files_and_leaves_nothing_else() {
    let dir = TempDir::new().unwrap();
    Report::fold(&cut_short()).write(dir.path()).unwrap();
    let report = Report::fold(&whole());
    let paths = report.write(dir.path()).unwrap();
    let mut names: Vec<String> =
        std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["report.html", "report.json", "report.md"]);
    assert_eq!(paths, ["report.json", "report.md", "report.html"].map(|name| dir.path().join(name)));
    assert_eq!(std::fs::read_to_string(&paths[1]).unwrap(), report.markdown());
}
