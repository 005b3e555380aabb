//! The harness's own statistics against SciPy, statsmodels and scikit-learn (see `golden/make_stats.py`).

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tunesmith_harness::{
    baselines::{NaiveBayes, baselines},
    grade::Baselines,
    metrics, stats,
    task::JobKind,
};

fn golden<T: DeserializeOwned>(part: &str) -> T {
    let all: Value = serde_json::from_str(include_str!("../golden/stats.json")).unwrap();
    serde_json::from_value(all[part].clone()).unwrap()
}

/// Relative where the value is large, absolute where it is tiny.
fn close(got: f64, want: f64, tolerance: f64) -> bool {
    (got - want).abs() <= tolerance * want.abs().max(1e-300) || (got - want).abs() < 1e-15
}

#[test]
fn wilson_intervals_are_those_of_statsmodels() {
    #[derive(Deserialize)]
    struct Case {
        right: usize,
        n: usize,
        interval: (f64, f64),
    }
    for case in golden::<Vec<Case>>("wilson") {
        let got = stats::wilson(case.right, case.n);
        let same = close(got.0, case.interval.0, 1e-9) && close(got.1, case.interval.1, 1e-9);
        assert!(same, "{}/{}: {got:?}, not {:?}", case.right, case.n, case.interval);
    }
}

#[test]
fn exact_p_values_are_those_of_statsmodels() {
    #[derive(Deserialize)]
    struct Case {
        only_a: usize,
        only_b: usize,
        p: f64,
    }
    for case in golden::<Vec<Case>>("mcnemar") {
        let got = stats::mcnemar(case.only_a, case.only_b);
        assert!(close(got, case.p, 1e-9), "{} {}: {got}, not {}", case.only_a, case.only_b, case.p);
    }
}

#[test]
fn the_bootstrap_interval_is_what_much_resampling_finds() {
    #[derive(Deserialize)]
    struct Case {
        only_a: usize,
        only_b: usize,
        n: usize,
        interval: (f64, f64),
    }
    for case in golden::<Vec<Case>>("bootstrap") {
        let got = stats::paired_bootstrap(case.only_a, case.only_b, case.n);
        let within = (got.0 - case.interval.0).abs().max((got.1 - case.interval.1).abs());
        assert!(within <= 1.0001 / case.n as f64, "n {}: {got:?}, not {:?}", case.n, case.interval);
    }
}

#[test]
fn label_metrics_are_those_of_scikit_learn() {
    #[derive(Deserialize)]
    struct Case {
        labels: usize,
        truth: Vec<usize>,
        predicted: Vec<i64>,
        accuracy: f64,
        macro_f1: f64,
        confusion: Vec<Vec<usize>>,
    }
    let case: Case = golden("predictions");
    let truth: Vec<Option<usize>> = case.truth.iter().map(|t| Some(*t)).collect();
    let predicted: Vec<Option<usize>> = case.predicted.iter().map(|p| usize::try_from(*p).ok()).collect();
    let right: Vec<bool> = truth.iter().zip(&predicted).map(|(t, p)| t == p).collect();
    let names = (0..case.labels).map(|i| i.to_string()).collect();
    assert!(close(metrics::accuracy(&right), case.accuracy, 1e-12));
    assert!(close(metrics::macro_f1(case.labels, &truth, &predicted), case.macro_f1, 1e-12));
    assert_eq!(metrics::confusion(names, &truth, &predicted).counts, case.confusion);
}

#[test]
fn naive_bayes_predicts_as_scikit_learn_does() {
    #[derive(Deserialize)]
    struct Case {
        open: Vec<(String, usize)>,
        sealed: Vec<(String, usize)>,
        predicted: Vec<usize>,
        naive_bayes: f64,
        majority: f64,
    }
    let case: Case = golden("texts");
    let open: Vec<(&str, usize)> = case.open.iter().map(|(text, label)| (text.as_str(), *label)).collect();
    let sealed: Vec<(&str, Option<usize>)> = case.sealed.iter().map(|(text, l)| (text.as_str(), Some(*l))).collect();
    let bayes = NaiveBayes::fit(3, &open);
    let predicted: Vec<usize> = sealed.iter().map(|(text, _)| bayes.predict(text)).collect();
    assert_eq!(predicted, case.predicted);
    assert_eq!(
        baselines(JobKind::Classification, 3, &open, &sealed),
        Baselines { chance: Some(1.0 / 3.0), majority: Some(case.majority), naive_bayes: Some(case.naive_bayes) }
    );
}
