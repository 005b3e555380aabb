//! Figures in requests, and what they are read as.
use tunesmith_harness::task::Goal;

use super::*;

fn goal(request: &str) -> Vec<(String, f64)> {
    goals(&Words::new(request)).0.into_iter().map(|goal| (goal.metric, goal.bound.value())).collect()
}

fn one(metric: &str, at_least: f64) -> Vec<(String, f64)> {
    vec![(metric.to_owned(), at_least)]
}

#[test]
fn scores_to_reach_are_read_in_many_words() {
    for (request, want) in [
        ("at least 90 % F1", one("macro_f1", 0.9)),
        ("accuracy over 0.85.", one("accuracy", 0.85)),
        ("f1>=85%", one("macro_f1", 0.85)),
        ("reach accuracy 99.9%. then ship it", one("accuracy", 0.999)),
        ("I need 80% f1", one("macro_f1", 0.8)),
        ("it should be right nine times out of ten", one("accuracy", 0.9)),
        ("it should get at least 9 out of 10 right", one("accuracy", 0.9)),
        ("correct 95 percent of the time", one("accuracy", 0.95)),
        ("no more than 5% mistakes", one("accuracy", 0.95)),
        ("clf msg->team, f1>=.9", one("macro_f1", 0.9)),
        ("ideally at least 85% of the fields correct", one("field_accuracy", 0.85)),
        ("it should be 5 points better than before", one("gain", 0.05)),
        ("at least 12 percentage points higher, please", one("gain", 0.12)),
        ("5 points on the list, and more", vec![]),
        ("correct in minimum 80 percents", one("accuracy", 0.8)),
        ("60 per cent exactly right would do", one("exact_match", 0.6)),
        ("at least 70 % exactly right", one("exact_match", 0.7)),
        ("valid JSON at least 99 % of the time", one("well_formed", 0.99)),
        ("at least 90 % accuracy and 0.8 F1", vec![("accuracy".into(), 0.9), ("macro_f1".into(), 0.8)]),
    ] {
        assert_eq!(goal(request), want, "{request}");
    }
}

#[test]
fn numbers_that_are_no_score_are_no_goal() {
    for request in [
        "classify tickets collected over 1 year",
        "route these into more than 1 team",
        "what we recover 0.9 of",
        "train it on more than 1.0 rows",
        "train it, overall 0.9 is nice",
        "train a model above 0.5b",
        "train it on at least 200 % of what we have",
        "train it at over 0 %",
        "train it above the 90 percentile, over 90 percentile",
        "train it with over 0.9.1",
        "train it on 80 % of the rows",
    ] {
        assert_eq!(goal(request), vec![], "{request}");
    }
    assert_eq!(goals(&Words::new("at least 90 % recall")), (vec![], vec!["recall"]));
}

#[test]
fn losses_of_raw_text_are_bound_from_above() {
    let of = |request| goals(&Words::new(request)).0;
    for (request, want) in [
        ("keep training until the perplexity is below 20", Goal::at_most("perplexity", 20.0)),
        ("I want at most 1.5 bits per byte", Goal::at_most("bits_per_byte", 1.5)),
        ("pretrain it, perplexity<12.5", Goal::at_most("perplexity", 12.5)),
    ] {
        assert_eq!(of(request), [want], "{request}");
    }
    assert_eq!(of("read the 20 books. Perplexity matters. Thanks, 7 of us"), []);
}

#[test]
fn sizes_bound_what_is_shipped() {
    let of = |request| bytes(&Words::new(request));
    assert_eq!(of("under 20 MB"), [20_000_000]);
    assert_eq!(of("f1>=.9, <20MB, 10min"), [20_000_000]);
    assert_eq!(of("no bigger than 50 megabytes"), [50_000_000]);
    assert_eq!(of("it has to fit in 1.5GB"), [1_500_000_000]);
    assert_eq!(of("a file of 10 MiB or less"), [10_485_760]);
    assert!(of("my laptop has 8 GB of RAM, it must fit in 8 GB of memory").is_empty());
    assert!(of("the file has 20 MB of text").is_empty());
}

#[test]
fn times_bound_the_run() {
    let of = |request| minutes(&Words::new(request));
    assert_eq!(of("in 10 minutes"), [10.0]);
    assert_eq!(of("f1>=.9, <20MB, 10min, gguf"), [10.0]);
    assert_eq!(of("20 min wall clock."), [20.0]);
    assert_eq!(of("you have half an hour"), [30.0]);
    assert_eq!(of("the learning must not pass half an hour"), [30.0]);
    assert_eq!(of("i only got a quarter of an hour before the raid"), [15.0]);
    assert_eq!(of("don't take longer than an hour and a half"), [90.0]);
    assert_eq!(of("within a quarter of an hour"), [15.0]);
    assert_eq!(of("ready in twenty mins, 20 minutes at most"), [20.0]);
    assert!(of("emails of the last 10 minutes; orders 3 hours late").is_empty());
}

#[test]
fn sizes_of_models_are_parameters() {
    let of = |request| parameters(&Words::new(request));
    assert_eq!(of("something around 0.5B"), [(500_000_000, false)]);
    assert_eq!(
        of("a 135M parameter model, below half a billion parameters"),
        [(135_000_000, false), (500_000_000, true)]
    );
    assert!(of("20M rows").is_empty());
}
