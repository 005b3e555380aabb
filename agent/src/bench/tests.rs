//! What a suite's results look like, and when they are a regression.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tunesmith_harness::task::Outcome;

use super::{
    baseline::{self, Compared, Row, Verdict},
    board, junit, pages,
    results::{Results, TaskResult},
};

/// A run in which `right` of 100 rows are right; the wrong ones come first.
fn result(id: &str, seed: u64, right: usize) -> TaskResult {
    let (outcome, exit) = if right >= 80 { (Outcome::Met, 0) } else { (Outcome::NotMet, 3) };
    let tuned = right as f64 / 100.0;
    TaskResult {
        id: id.into(),
        seed,
        outcome: Some(outcome),
        why: "a < b\u{1b} & \"c\" | [d](e)".into(),
        metric: "exact_match".into(),
        goal: 0.8,
        base: Some(0.25),
        tuned: Some(tuned),
        interval: Some((tuned - 0.08, (tuned + 0.05).min(1.0))),
        rows: Some(100),
        chance: Some(0.2),
        score: Some(((tuned - 0.25) / 0.55).clamp(0.0, 1.0)),
        score_interval: Some((((tuned - 0.33) / 0.55).clamp(0.0, 1.0), ((tuned - 0.2) / 0.55).clamp(0.0, 1.0))),
        tokens: Some(12_345),
        usd: Some(0.0123),
        repairs: Default::default(),
        seconds: 12.34,
        cpu_seconds: Some(20.0),
        run: Some("runs/r".into()),
        right: Some(format!("{}{}", "0".repeat(100 - right), "1".repeat(right))),
        exit,
    }
}

/// A run that never began.
fn blocked(id: &str) -> TaskResult {
    TaskResult {
        outcome: None,
        base: None,
        tuned: None,
        interval: None,
        rows: None,
        chance: None,
        score: None,
        score_interval: None,
        tokens: None,
        usd: None,
        cpu_seconds: None,
        run: None,
        right: None,
        exit: 5,
        ..result(id, 0, 0)
    }
}

fn results(tasks: Vec<TaskResult>) -> Results {
    let asked = tasks.len();
    Results::of(("smoke", "url:<x>"), (0, 7), tasks, asked)
}

fn mixed() -> Results {
    results(vec![result("alpha", 0, 90), result("beta", 0, 61), blocked("gamma")])
}

#[test]
fn the_exit_code_is_that_of_the_first_task_below_its_threshold() {
    let (met, below) = (result("a", 0, 90), result("b", 0, 50));
    assert_eq!(results(vec![met.clone()]).exit(false), 0);
    assert_eq!(results(vec![met.clone(), below.clone(), blocked("c")]).exit(false), 3);
    assert_eq!(results(vec![met.clone(), blocked("c")]).exit(false), 5);
    assert_eq!(results(vec![met.clone(), below]).exit(true), 130);
    // One task of two was run before the end.
    assert_eq!(Results::of(("smoke", "null"), (0, 7), vec![met], 2).exit(false), 3);
}

#[test]
fn what_was_mended_of_calls_is_counted_over_all_runs() {
    let mended = |id: &str, comma| TaskResult { repairs: [("comma".to_owned(), comma)].into(), ..result(id, 0, 90) };
    let lines = board::total(&results(vec![mended("alpha", 1), mended("beta", 2), result("gamma", 0, 90)]));
    assert_eq!(lines.last().unwrap(), "calls of the planner took 3 repairs (comma 3)");
    assert!(!board::total(&mixed()).iter().any(|line| line.contains("repair")));
}

#[test]
fn the_scoreboard_has_a_line_per_run_and_a_total() {
    insta::assert_snapshot!("terminal", board::lines(&mixed()).join("\n"));
    let tries = vec![result("a", 0, 90), result("a", 1, 70), result("b", 0, 90), result("b", 1, 85)];
    insta::assert_snapshot!("seeds", board::lines(&results(tries)).join("\n"));
}

#[test]
fn pages_and_reports_keep_words_from_acting() {
    let now = mixed();
    let compared = Compared::of(&now, &results(vec![result("alpha", 0, 99), result("gamma", 0, 50)]));
    insta::assert_snapshot!("markdown", pages::markdown(&now, &compared.lines()));
    insta::assert_snapshot!("junit", junit::xml(&now, Some(&compared)));
    let html = pages::html(&now, &compared.lines());
    let (_, body) = html.split_once("<body>").unwrap();
    insta::assert_snapshot!("html", body);
    assert!(!html.contains("<script") && !html.contains("://"), "{html}");
}

fn row(verdict: Verdict, (stored, now): (f64, f64), same_rows: bool) -> (Verdict, Option<f64>, Option<f64>, bool) {
    (verdict, Some(stored), Some(now), same_rows)
}

fn seen(compared: &Compared) -> Vec<(Verdict, Option<f64>, Option<f64>, bool)> {
    compared
        .tasks
        .iter()
        .map(|Row { verdict, stored, now, same_rows, .. }| (*verdict, *stored, *now, *same_rows))
        .collect()
}

#[test]
fn a_task_is_worse_where_the_difference_is_beyond_noise() {
    let stored = results(vec![result("a", 0, 90), result("b", 0, 90), result("c", 0, 70)]);
    let now = results(vec![result("a", 0, 80), result("b", 0, 87), result("c", 0, 90)]);
    let compared = Compared::of(&now, &stored);
    let want = [
        row(Verdict::Worse, (0.9, 0.8), true),
        row(Verdict::CannotTell, (0.9, 0.87), true),
        row(Verdict::Better, (0.7, 0.9), true),
    ];
    assert_eq!((seen(&compared), compared.worse()), (want.to_vec(), true));
    // Ten rows lost and none won has p = 2 / 2^10; of three tests it is the second.
    let p = compared.tasks[0].p_value.unwrap();
    assert!((p - 1.5 * 2.0 / 1024.0).abs() < 1e-12, "{p}");
    assert_eq!(compared.lines()[2], "within noise of the baseline: 1 of 3 tasks");
    assert!(!Compared::of(&stored, &stored).worse());
}

#[test]
fn other_rows_take_a_larger_difference() {
    let stored = Results { sealed_seed: 8, ..results(vec![result("a", 0, 90)]) };
    let against = |right| Compared::of(&results(vec![result("a", 0, right)]), &stored);
    assert_eq!(seen(&against(82)), [row(Verdict::CannotTell, (0.9, 0.82), false)]);
    assert_eq!(seen(&against(72)), [row(Verdict::Worse, (0.9, 0.72), false)]);
    let same = Results { sealed_seed: 7, ..stored.clone() };
    let compared = Compared::of(&results(vec![result("a", 0, 82)]), &same);
    assert_eq!(seen(&compared), [row(Verdict::Worse, (0.9, 0.82), true)]);
}

#[test]
fn a_lost_result_is_a_regression_and_a_new_one_is_none() {
    let stored = results(vec![result("a", 0, 90), result("left out", 0, 90)]);
    let now = results(vec![blocked("a"), result("b", 0, 90)]);
    let compared = Compared::of(&now, &stored);
    let want = [(Verdict::Missing, Some(0.9), None, false), (Verdict::New, None, Some(0.9), false)];
    assert_eq!((seen(&compared), compared.worse()), (want.to_vec(), true));
    assert!(!Compared::of(&results(vec![result("b", 0, 90)]), &stored).worse());
    // One run of two is enough to be missed.
    let (two, one) = ([result("a", 0, 90), result("a", 1, 90)], [result("a", 0, 90), blocked("a")]);
    let compared = Compared::of(&results(one.to_vec()), &results(two.to_vec()));
    assert_eq!(seen(&compared), [(Verdict::Missing, Some(0.9), None, false)]);
}

#[test]
fn a_baseline_that_was_not_printed_by_a_suite_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("stored.json");
    let refused = |results: &Results| {
        std::fs::write(&file, serde_json::to_string(results).unwrap()).unwrap();
        baseline::read(&file, "smoke").err().map(|failure| (failure.exit, failure.message))
    };
    let good = mixed();
    assert_eq!(refused(&good), None);
    let edited = results(vec![TaskResult { right: Some("0121".into()), ..result("a", 0, 90) }]);
    let (code, why) = refused(&edited).unwrap();
    assert!(code == 2 && why.contains("the rows that \"a\" got right are not written in 0 and 1"), "{why}");
    assert!(refused(&Results { suite: "quick".into(), ..good }).unwrap().1.contains("of the suite \"quick\""));
}

#[test]
fn seeds_are_averaged_over_each_row() {
    // The second seed changes nothing, so that the rows that one seed lost are still lost.
    let stored = results(vec![result("a", 0, 90), result("a", 1, 90)]);
    let now = results(vec![result("a", 0, 80), result("a", 1, 90)]);
    assert_eq!(seen(&Compared::of(&now, &stored)), [row(Verdict::Worse, (0.9, 0.85), true)]);
}

#[test]
fn what_is_printed_can_be_read_again() {
    let now = mixed();
    let read: Results = serde_json::from_str(&serde_json::to_string(&now).unwrap()).unwrap();
    let exits = |results: &Results| results.tasks.iter().map(|task| task.exit).collect::<Vec<_>>();
    assert_eq!((exits(&read), exits(&now)), (vec![0; 3], vec![0, 3, 5]));
    let mut read = read;
    read.tasks.iter_mut().zip(&now.tasks).for_each(|(read, now)| read.exit = now.exit);
    assert_eq!(read, now);
}

#[test]
fn a_score_is_the_share_of_the_way_from_the_base_to_the_goal() {
    use super::results::score;
    let cases = [(0.2, 0.2), (0.1, 0.2), (0.5, 0.2), (0.8, 0.2), (0.9, 0.2), (0.79, 0.8), (0.85, 0.9), (0.7, 0.9)];
    let scores = cases.map(|(value, start)| (score(value, start, 0.8) * 1000.0).round() / 1000.0);
    assert_eq!(scores, [0.0, 0.0, 0.5, 1.0, 1.0, 0.0, 1.0, 0.0]);
}

#[test]
fn a_suite_has_the_mean_of_the_scores_with_its_interval_where_all_are_known() {
    let scored = |score, interval| TaskResult { score, score_interval: interval, ..result("a", 0, 90) };
    let known = |score, low, high| scored(Some(score), Some((low, high)));
    let total = |tasks: Vec<TaskResult>| {
        let total = results(tasks).total;
        (total.score, total.score_interval)
    };
    // The halves are the roots of 0.03^2 + 0.04^2 and of 0.05^2 + 0.12^2, over two tasks.
    assert_eq!(total(vec![known(0.5, 0.47, 0.55), known(0.25, 0.21, 0.37)]), (Some(0.375), Some((0.35, 0.44))));
    assert_eq!(total(vec![known(1.0, 0.9, 1.0), scored(Some(0.0), None)]), (Some(0.5), None));
    assert_eq!(total(vec![known(1.0, 0.9, 1.0), blocked("b")]), (None, None));
    assert_eq!(total(vec![]), (None, None));
}
