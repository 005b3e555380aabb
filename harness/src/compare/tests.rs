use std::{fs, path::Path};

use serde_json::{Value, json};

use super::*;

/// Writes what lm-eval writes: a results file and the samples of the task `t`, one line for each (document, metrics).
fn written(dir: &Path, items: &[(Value, Value)], results: &Value, config: &Value) {
    fs::create_dir_all(dir).unwrap();
    let file = json!({
        "results": {"t": results, "g": {"acc,none": 0.5}},
        "groups": {"g": {}},
        "group_subtasks": {"g": ["t"]},
        "configs": {"t": config},
        "versions": {"t": 1.0},
        "higher_is_better": {"t": {"acc": true, "bits_per_byte": false}},
    });
    fs::write(dir.join("results_2026-01-02T03-04-05.678.json"), file.to_string()).unwrap();
    let mut lines = String::new();
    for (id, (doc, metrics)) in items.iter().enumerate() {
        let names: Vec<&String> = metrics.as_object().unwrap().keys().collect();
        let mut sample = json!({"doc_id": id, "doc": doc, "filter": "none", "metrics": names,
            "doc_hash": format!("hash of {doc}"), "prompt_hash": "p"});
        sample.as_object_mut().unwrap().extend(metrics.as_object().unwrap().clone());
        lines += &format!("{sample}\n");
    }
    fs::write(dir.join("samples_t_2026-01-02T03-04-05.678.jsonl"), lines).unwrap();
}

/// Results of right-or-wrong items: `right(i)` for `n` documents, four of which share a topic.
fn accuracy(dir: &Path, n: usize, right: impl Fn(usize) -> bool) {
    let items: Vec<(Value, Value)> =
        (0..n).map(|i| (json!({"q": i, "topic": i / 4}), json!({"acc": if right(i) { 1.0 } else { 0.0 }}))).collect();
    let value = (0..n).filter(|i| right(*i)).count() as f64 / n as f64;
    written(dir, &items, &json!({"alias": "t", "acc,none": value, "acc_stderr,none": 0.02}), &json!({"task": "t"}));
}

fn compared(a: &Path, b: &Path, options: &Options) -> Comparison {
    compare(&load(a, None).unwrap(), &load(b, None).unwrap(), options).unwrap()
}

fn dirs() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    (dir, a, b)
}

#[test]
fn right_or_wrong_items_are_compared_by_mcnemar_and_not_by_their_standard_errors() {
    let (_dir, a, b) = dirs();
    accuracy(&a, 400, |i| i % 2 == 0);
    accuracy(&b, 400, |i| i % 2 == 0 || i < 40);
    let found = compared(&a, &b, &Options::default());
    let row = &found.rows[0];
    assert_eq!(found.rows.len(), 1, "a group is no task");
    assert_eq!((row.n, row.test, row.share, row.unmatched), (400, Test::McnemarExact, true, (0, 0)));
    assert!((row.difference.unwrap() - 0.05).abs() < 1e-12);
    assert_eq!(row.p, Some(stats::mcnemar(0, 20)));
    assert_eq!(row.a.interval, stats::share(200, 400, 0.05));
    assert_eq!(row.a.reported_stderr, Some(0.02));
    assert_eq!((row.verdict, row.why.as_str()), (Verdict::Better, "better by 5.0 points"));
    assert_eq!(found.summary, "B is better than A: of 1 comparison, 1 better, 0 worse, 0 cannot be told");
    assert!(found.notes.is_empty(), "{:?}", found.notes);
    let back = compared(&b, &a, &Options::default());
    assert_eq!((back.verdict, back.rows[0].why.as_str()), (Verdict::Worse, "worse by 5.0 points"));
}

#[test]
fn a_small_difference_says_how_many_items_it_would_take() {
    let (_dir, a, b) = dirs();
    accuracy(&a, 200, |i| i % 2 == 0);
    accuracy(&b, 200, |i| (i % 2 == 0) != (i < 30) || i == 1 || i == 0);
    let found = compared(&a, &b, &Options::default());
    let row = &found.rows[0];
    assert_eq!(row.verdict, Verdict::CannotTell);
    let needed = row.items_needed.unwrap();
    assert!(needed > 10_000, "{needed}");
    assert!(row.why.starts_with("cannot tell: what was compared shows differences from 7."), "{}", row.why);
    assert!(row.why.contains("one of 0.5 points would take about "), "{}", row.why);
    assert_eq!(found.verdict, Verdict::CannotTell);
}

#[test]
fn items_are_matched_and_those_of_one_side_are_said() {
    let (_dir, a, b) = dirs();
    accuracy(&a, 100, |i| i % 3 == 0);
    accuracy(&b, 120, |i| i % 3 == 0);
    let found = compared(&a, &b, &Options::default());
    assert_eq!((found.rows[0].n, found.rows[0].unmatched), (100, (0, 20)));
    assert_eq!(found.notes, ["t: compared on 100 items; 0 in A alone and 20 in B alone are left out"]);
    assert_eq!(found.rows[0].difference, Some(0.0));
}

#[test]
fn documents_that_repeat_are_matched_in_order() {
    let (_dir, a, b) = dirs();
    let items = |values: [f64; 4]| values.map(|acc| (json!({"q": "same"}), json!({"acc": acc}))).to_vec();
    written(&a, &items([1.0, 0.0, 0.0, 0.0]), &json!({"acc,none": 0.25}), &json!({}));
    written(&b, &items([1.0, 1.0, 0.0, 1.0]), &json!({"acc,none": 0.75}), &json!({}));
    let found = compared(&a, &b, &Options::default());
    assert_eq!((found.rows[0].n, found.rows[0].p), (4, Some(stats::mcnemar(0, 2))));
}

#[test]
fn items_in_clusters_need_a_larger_difference() {
    let (_dir, a, b) = dirs();
    accuracy(&a, 80, |_| false);
    accuracy(&b, 80, |i| i / 4 % 5 == 0);
    let alone = compared(&a, &b, &Options::default());
    assert_eq!(alone.verdict, Verdict::Better);
    let topic = |path: &Path| load(path, Some("topic")).unwrap();
    let found = compare(&topic(&a), &topic(&b), &Options::default()).unwrap();
    let row = &found.rows[0];
    assert_eq!((row.clusters, row.test), (Some(20), Test::PairedPermutation));
    // Four clusters that all differ in the same direction: 2 of 2^4 ways to swap them.
    assert_eq!((row.p, row.verdict), (Some(0.125), Verdict::CannotTell));
    assert!(row.a.interval.unwrap().1 > stats::share(0, 80, 0.05).unwrap().1);
    let missing = load(&a, Some("author")).unwrap_err().to_string();
    assert_eq!(missing, "t: the documents have no column \"author\"; name one of q, topic");
}

#[test]
fn a_perplexity_is_compared_by_its_sums_and_lower_is_better() {
    let (_dir, a, b) = dirs();
    let results = |shift: f64| {
        let items: Vec<(Value, Value)> = (0..60)
            .map(|i| {
                let ll = -20.0 - f64::from(i % 7) + shift * f64::from(1 + i % 3);
                (json!({"q": i}), json!({"bits_per_byte": [ll, 10 + i % 4]}))
            })
            .collect();
        let sum = |at: usize| items.iter().map(|(_, m)| m["bits_per_byte"][at].as_f64().unwrap()).sum::<f64>();
        let value = -sum(0) / sum(1) / std::f64::consts::LN_2;
        (items, json!({"bits_per_byte,none": value, "bits_per_byte_stderr,none": "N/A"}))
    };
    for (dir, shift) in [(&a, 0.0), (&b, 0.5)] {
        let (items, values) = results(shift);
        written(dir, &items, &values, &json!({}));
    }
    let row = compared(&a, &b, &Options::default()).rows.remove(0);
    assert_eq!((row.test, row.n, row.share), (Test::PairedPermutation, 60, false));
    assert!(row.difference.unwrap() < 0.0 && row.interval.unwrap().1 < 0.0, "{row:?}");
    assert_eq!((row.p, row.verdict), (Some(1.0 / 10_001.0), Verdict::Better));
    assert_eq!(row.a.reported_stderr, None, "N/A is not known");
    assert_eq!(compared(&a, &b, &Options::default()), compared(&a, &b, &Options::default()));
}

#[test]
fn a_gain_below_the_noise_of_repeated_runs_is_none() {
    let (dir, a, b) = dirs();
    accuracy(&a, 400, |i| i % 2 == 0);
    accuracy(&b, 400, |i| i % 2 == 0 || i < 40);
    let noise: Vec<Results> = (0..3)
        .map(|k| {
            let path = dir.path().join(format!("noise{k}"));
            accuracy(&path, 400, |i| i % 2 == 0 || i < 20 * k);
            load(&path, None).unwrap()
        })
        .collect();
    let found = compared(&a, &b, &Options { noise, ..Options::default() });
    let row = &found.rows[0];
    assert_eq!(row.verdict, Verdict::CannotTell);
    assert!(row.noise.unwrap() > 0.15, "{row:?}");
    assert!(
        row.why.starts_with("cannot tell: repeated runs of the same thing differ by up to 15.2 points"),
        "{}",
        row.why
    );
}

#[test]
fn without_samples_reported_values_are_compared_unpaired() {
    let (_dir, a, b) = dirs();
    accuracy(&a, 400, |i| i % 2 == 0);
    accuracy(&b, 400, |i| i % 2 == 0 || i < 40);
    for dir in [&a, &b] {
        fs::remove_file(dir.join("samples_t_2026-01-02T03-04-05.678.jsonl")).unwrap();
    }
    let found = compared(&a, &b, &Options::default());
    let row = &found.rows[0];
    assert_eq!((row.test, row.n, row.verdict), (Test::Unpaired, 0, Verdict::CannotTell));
    let z = 0.05 / (2.0_f64.sqrt() * 0.02);
    assert!((row.p.unwrap() - stats::normal_two_sided(z).unwrap()).abs() < 1e-9);
    assert_eq!(found.notes.len(), 2, "{:?}", found.notes);
}

/// Results whose items are other documents than those of `accuracy`.
fn elsewhere(dir: &Path, n: usize, right: impl Fn(usize) -> bool) {
    let items: Vec<(Value, Value)> =
        (0..n).map(|i| (json!({"p": i, "topic": i / 4}), json!({"acc": if right(i) { 1.0 } else { 0.0 }}))).collect();
    let value = (0..n).filter(|i| right(*i)).count() as f64 / n as f64;
    written(dir, &items, &json!({"acc,none": value, "acc_stderr,none": 0.0}), &json!({"task": "t"}));
}

#[test]
fn a_side_that_is_all_right_is_not_taken_for_certain() {
    let (_dir, a, b) = dirs();
    accuracy(&a, 20, |i| i < 16);
    elsewhere(&b, 20, |_| true);
    let row = compared(&a, &b, &Options::default()).rows.remove(0);
    assert_eq!((row.test, row.n, row.share), (Test::FisherExact, 0, true));
    assert_eq!(row.p, stats::fisher((16, 20), (20, 20)));
    assert_eq!(
        (row.interval, row.b.interval),
        (stats::unpaired_share((16, 20), (20, 20), 0.05), stats::share(20, 20, 0.05))
    );
    // With a second share that were exact, 16 of 20 would be far enough from it.
    assert_eq!(row.verdict, Verdict::CannotTell, "{row:?}");
    elsewhere(&b, 60, |_| true);
    let row = compared(&a, &b, &Options::default()).rows.remove(0);
    assert_eq!((row.verdict, row.why.as_str()), (Verdict::Better, "better by 20.0 points"));
}

#[test]
fn clusters_count_where_nothing_pairs_the_items() {
    let (_dir, a, b) = dirs();
    accuracy(&a, 80, |i| i / 4 % 2 == 0);
    elsewhere(&b, 80, |i| i / 4 % 4 != 0);
    assert_eq!(compared(&a, &b, &Options::default()).verdict, Verdict::Better);
    let topic = |path: &Path| load(path, Some("topic")).unwrap();
    let row = compare(&topic(&a), &topic(&b), &Options::default()).unwrap().rows.remove(0);
    assert_eq!((row.test, row.verdict), (Test::Unpaired, Verdict::CannotTell));
    assert!(row.p.unwrap() > 0.05, "{row:?}");
}

#[test]
fn translations_are_compared_sentence_by_sentence() {
    let (_dir, a, b) = dirs();
    let results = |dir: &Path, good: usize| {
        let sentence = |i: usize| format!("the {i} quick brown foxes jump over {} lazy dogs", i % 7);
        let written_as =
            |i: usize| if i % 10 < good { sentence(i) } else { sentence(i).replace("quick brown", "slow") };
        let items: Vec<(Value, Value)> = (0..60)
            .map(|i| {
                let pair = json!([sentence(i), written_as(i)]);
                (json!({"q": i}), json!({"bleu": pair, "chrf": pair, "ter": [[sentence(i)], written_as(i)]}))
            })
            .collect();
        let of = |metric: &str| {
            let aggregate = Aggregate::of(metric, &items[0].1[metric]);
            let mut all = vec![0.0; Aggregate::WIDE];
            for (_, item) in &items {
                let sums = aggregate.sums(metric, &item[metric]).unwrap();
                all.iter_mut().zip(sums).for_each(|(sum, more)| *sum += more);
            }
            aggregate.value(&all).unwrap()
        };
        let values = json!({"bleu,none": of("bleu"), "chrf,none": of("chrf"), "ter,none": of("ter")});
        written(dir, &items, &values, &json!({}));
    };
    results(&a, 5);
    results(&b, 8);
    let found = compared(&a, &b, &Options::default());
    let of: Vec<_> = found.rows.iter().map(|row| (row.metric.as_str(), row.test, row.n, row.verdict)).collect();
    let better = |metric| (metric, Test::PairedPermutation, 60, Verdict::Better);
    assert_eq!(of, [better("bleu"), better("chrf"), better("ter")]);
    let [bleu, _, ter] = &found.rows[..] else { panic!("{found:?}") };
    assert!(bleu.interval.unwrap().0 > 0.0 && ter.interval.unwrap().1 < 0.0, "{found:?}");
    assert!(found.notes.is_empty(), "{:?}", found.notes);
}

#[test]
fn tasks_that_were_set_up_otherwise_are_warned_about() {
    let (_dir, a, b) = dirs();
    let items = [(json!({"q": 1}), json!({"acc": 1.0}))];
    written(&a, &items, &json!({"acc,none": 1.0}), &json!({"num_fewshot": 0, "metadata": {"pretrained": "x"}}));
    written(&b, &items, &json!({"acc,none": 1.0}), &json!({"num_fewshot": 5, "metadata": {"pretrained": "y"}}));
    let notes = compared(&a, &b, &Options::default()).notes;
    assert_eq!(notes, ["t: the two were not set up alike (num_fewshot), so a difference may come from that"]);
}

#[test]
fn items_that_do_not_make_the_value_are_not_used() {
    let (_dir, a, b) = dirs();
    accuracy(&a, 50, |i| i < 25);
    let items: Vec<(Value, Value)> = (0..50).map(|i| (json!({"q": i, "topic": i / 4}), json!({"acc": 1.0}))).collect();
    written(&b, &items, &json!({"acc,none": 0.3}), &json!({"task": "t"}));
    let found = compared(&a, &b, &Options::default());
    assert_eq!(found.rows[0].test, Test::Unpaired);
    assert_eq!(found.notes, ["B: t: the items do not make the value of acc,none, so it is compared unpaired"]);
}

#[test]
fn a_baseline_names_what_became_worse() {
    let (_dir, a, b) = dirs();
    accuracy(&a, 400, |i| i % 2 == 0 || i < 40);
    accuracy(&b, 400, |i| i % 2 == 0);
    let (stored, current) = (load(&a, None).unwrap(), load(&b, None).unwrap());
    let worse = regressions(&current, &stored, &Options::default()).unwrap();
    assert_eq!(worse.iter().map(|row| (row.task.as_str(), row.metric.as_str())).collect::<Vec<_>>(), [("t", "acc")]);
    assert_eq!(regressions(&stored, &current, &Options::default()).unwrap(), []);
    assert_eq!(regressions(&stored, &stored, &Options::default()).unwrap(), []);
}

#[test]
fn damaged_results_are_refused_in_words() {
    let (dir, a, b) = dirs();
    let refused =
        |path: &Path| load(path, None).unwrap_err().to_string().replace(&dir.path().display().to_string(), "D");
    assert_eq!(
        refused(dir.path()),
        "D: holds neither results of an evaluation (results_*.json) nor a run; name one that does"
    );
    accuracy(&a, 5, |_| true);
    let samples = a.join("samples_t_2026-01-02T03-04-05.678.jsonl");
    fs::write(&samples, "{\"doc_id\": 0}\n[1]\n").unwrap();
    assert_eq!(refused(&a), "D/a/samples_t_2026-01-02T03-04-05.678.jsonl: line 2 is no object");
    fs::write(&samples, "{\"doc_id\": 0, \"doc").unwrap();
    assert!(refused(&a).contains("line 1 is damaged: EOF while parsing"), "{}", refused(&a));
    fs::create_dir_all(&b).unwrap();
    for (text, want) in [
        ("[]", "has no results; name what"),
        ("{\"results\": {\"t\": 3}}", "the results of \"t\" are not a table"),
        ("{\"results\": {}}", "holds no value of any task"),
        ("{\"results\"", "is damaged: "),
    ] {
        fs::write(b.join("results.json"), text).unwrap();
        assert!(refused(&b).contains(want), "{}", refused(&b));
    }
    accuracy(&a, 5, |_| true);
    let one = load(&a, None).unwrap();
    let none = Results { name: "other".to_owned(), ..Results::default() };
    let error = compare(&one, &none, &Options::default()).unwrap_err();
    assert!(matches!(error, CompareError::NothingShared(..)), "{error}");
    let error = compare(&one, &one, &Options { alpha: f64::NAN, ..Options::default() }).unwrap_err();
    assert!(matches!(error, CompareError::Alpha(_)), "{error}");
}

#[test]
fn markdown_holds_the_table_and_shows_hostile_names_as_text() {
    let (_dir, a, b) = dirs();
    accuracy(&a, 400, |i| i % 2 == 0);
    accuracy(&b, 400, |i| i % 2 == 0 || i < 40);
    let mut found = compared(&a, &b, &Options::default());
    (found.a, found.b) = ("a|<b>\u{1b}[2J".to_owned(), "b".to_owned());
    found.notes.push("x\ny".to_owned());
    insta::assert_snapshot!(found.markdown());
}

proptest::proptest! {
    #[test]
    fn hostile_samples_never_panic(lines in "[\\[\\]{}\",:0-9a-zA-Z_ \n-]{0,80}", acc in proptest::num::f64::ANY) {
        let (_dir, a, _) = dirs();
        accuracy(&a, 3, |i| i == 1);
        let samples = a.join("samples_t_2026-01-02T03-04-05.678.jsonl");
        fs::write(&samples, format!("{{\"doc_id\": 1, \"metrics\": [\"acc\"], \"acc\": {acc:?}}}\n{lines}")).unwrap();
        if let Ok(read) = load(&a, None) {
            let _ = compare(&read, &read, &Options::default());
        }
    }
}

#[test]
fn a_value_that_is_lost_is_worse_and_a_metric_of_one_side_is_said() {
    let (_dir, a, b) = dirs();
    let results = |value: Value| json!({"bits_per_byte,none": value, "bits_per_byte_stderr,none": 0.01});
    written(&a, &[], &results(json!(1.25)), &json!({}));
    let mut lost = results(json!("NaN"));
    lost["acc,none"] = json!(0.5);
    written(&b, &[], &lost, &json!({}));
    let found = compared(&a, &b, &Options::default());
    let said: Vec<(&str, Verdict, &str)> =
        found.rows.iter().map(|row| (row.metric.as_str(), row.verdict, row.why.as_str())).collect();
    assert_eq!(said, [("bits_per_byte", Verdict::Worse, "worse: A has a value and B has none")]);
    assert!(found.notes.contains(&"t: in B alone: acc,none".to_owned()), "{:?}", found.notes);
    assert_eq!(compared(&b, &a, &Options::default()).verdict, Verdict::CannotTell);
}
