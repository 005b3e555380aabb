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

#[derive(Deserialize)]
struct Span {
    interval: (f64, f64),
}

fn spans(got: (f64, f64), want: (f64, f64), what: &str) {
    assert!(close(got.0, want.0, 1e-9) && close(got.1, want.1, 1e-9), "{what}: {got:?}, not {want:?}");
}

#[test]
fn quantiles_are_those_of_scipy() {
    #[derive(Deserialize)]
    struct Case {
        p: f64,
        df: Option<f64>,
        t: f64,
    }
    for case in golden::<Vec<Case>>("quantiles") {
        let got = stats::t_quantile(case.p, case.df.unwrap_or(f64::INFINITY)).unwrap();
        assert!(close(got, case.t, 1e-9), "{} {:?}: {got}, not {}", case.p, case.df, case.t);
    }
}

#[test]
fn intervals_of_shares_are_those_of_statsmodels() {
    #[derive(Deserialize)]
    struct Case {
        right: usize,
        n: usize,
        alpha: f64,
        beta: (f64, f64),
        wilson: (f64, f64),
    }
    for Case { right, n, alpha, beta, wilson } in golden::<Vec<Case>>("shares") {
        spans(stats::clopper_pearson(right, n, alpha).unwrap(), beta, &format!("exact {right}/{n} at {alpha}"));
        spans(stats::wilson_at(right, n, alpha).unwrap(), wilson, &format!("Wilson {right}/{n} at {alpha}"));
    }
}

#[test]
fn means_and_their_clusters_are_those_of_scipy_and_statsmodels() {
    #[derive(Deserialize)]
    struct Case {
        values: Vec<f64>,
        clusters: Vec<usize>,
        mean: f64,
        se: f64,
        clustered_se: f64,
        interval: (f64, f64),
        clustered_interval: (f64, f64),
    }
    for case in golden::<Vec<Case>>("means") {
        let what = format!("{} values", case.values.len());
        for (clusters, se, interval) in
            [(None, case.se, case.interval), (Some(&case.clusters[..]), case.clustered_se, case.clustered_interval)]
        {
            let got = stats::Estimate::of(&case.values, clusters).unwrap();
            assert!(
                close(got.value, case.mean, 1e-12) && close(got.se.unwrap(), se, 1e-12),
                "{what}: {got:?}, not {se}"
            );
            spans(got.interval(0.05).unwrap(), interval, &what);
        }
    }
}

#[test]
fn clustered_shares_are_wilsons_at_the_effective_number_of_items() {
    #[derive(Deserialize)]
    struct Case {
        right: Vec<u8>,
        clusters: Vec<usize>,
        #[serde(flatten)]
        want: Span,
    }
    for case in golden::<Vec<Case>>("clustered_shares") {
        let right: Vec<bool> = case.right.iter().map(|right| *right == 1).collect();
        spans(stats::clustered_share(&right, &case.clusters, 0.05).unwrap(), case.want.interval, "clusters");
    }
}

#[test]
fn paired_differences_of_shares_are_agrestis_and_mins() {
    #[derive(Deserialize)]
    struct Case {
        only_a: usize,
        only_b: usize,
        n: usize,
        #[serde(flatten)]
        want: Span,
    }
    for Case { only_a, only_b, n, want } in golden::<Vec<Case>>("paired_shares") {
        let what = format!("{only_a} {only_b} of {n}");
        spans(stats::paired_share(only_a, only_b, n, 0.05).unwrap(), want.interval, &what);
    }
}

#[test]
fn unpaired_shares_are_newcombes_and_fishers() {
    #[derive(Deserialize)]
    struct Case {
        a: stats::Counted,
        b: stats::Counted,
        p: f64,
        #[serde(flatten)]
        want: Span,
    }
    for Case { a, b, p, want } in golden::<Vec<Case>>("unpaired_shares") {
        let what = format!("{a:?} {b:?}");
        spans(stats::unpaired_share(a, b, 0.05).unwrap(), want.interval, &what);
        let got = stats::fisher(a, b).unwrap();
        assert!(close(got, p, 1e-9), "{what}: {got}, not {p}");
    }
}

#[test]
fn unpaired_means_are_tested_by_welch() {
    #[derive(Deserialize)]
    struct Case {
        a: Vec<f64>,
        b: Vec<f64>,
        p: f64,
        #[serde(flatten)]
        want: Span,
    }
    for Case { a, b, p, want } in golden::<Vec<Case>>("unpaired_means") {
        let [a, b] = [a, b].map(|values| stats::Estimate::of(&values, None).unwrap());
        let got = stats::Difference::of_means(&a, &b).unwrap();
        spans(got.interval(0.05).unwrap(), want.interval, "Welch");
        assert!(close(got.p().unwrap(), p, 1e-9), "{got:?}, not {p}");
    }
}

#[test]
fn adjusted_p_values_are_those_of_statsmodels() {
    #[derive(Deserialize)]
    struct Case {
        p: Vec<f64>,
        adjusted: Vec<f64>,
    }
    for case in golden::<Vec<Case>>("adjusted") {
        let p: Vec<Option<f64>> = case.p.iter().copied().map(Some).collect();
        for (got, want) in stats::benjamini_hochberg(&p).into_iter().zip(case.adjusted) {
            assert!(close(got.unwrap(), want, 1e-12), "{got:?}, not {want}");
        }
    }
}

#[test]
fn detectable_differences_are_those_of_statsmodels() {
    #[derive(Deserialize)]
    struct Case {
        effect: f64,
        p: f64,
        sd: f64,
        n: f64,
    }
    for Case { effect, p, sd, n } in golden::<Vec<Case>>("power") {
        let got = stats::detectable(sd / n.sqrt(), f64::INFINITY, 0.05).unwrap();
        assert!(close(got, effect, 1e-9), "{p}: {got}, not {effect}");
        let items = n.ceil() as usize;
        let whole = stats::detectable(sd / (items as f64).sqrt(), f64::INFINITY, 0.05).unwrap();
        assert_eq!(stats::items_needed(items, whole, effect), Some(items));
    }
}

#[test]
fn chances_of_several_tries_are_those_of_counting() {
    #[derive(Deserialize)]
    struct Case {
        n: usize,
        right: usize,
        k: usize,
        any: f64,
        all: f64,
    }
    for Case { n, right, k, any, all } in golden::<Vec<Case>>("tries") {
        let got = (stats::pass_at_k(n, right, k).unwrap(), stats::pass_hat_k(n, right, k).unwrap());
        assert!((got.0 - any).abs() < 1e-12 && (got.1 - all).abs() < 1e-12, "{n} {right} {k}: {got:?}");
    }
}
