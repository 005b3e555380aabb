#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::json;

use super::*;

fn score(scorer: &str, verdict: Verdict, why: &str) -> Score {
    Score { scorer: scorer.into(), value: None, interval: None, verdict, why: why.into() }
}

#[test]
fn a_step_shows_its_result_and_only_the_scores_that_need_attention() {
    let block = Block {
        step: 3,
        tool: "train".into(),
        ok: true,
        result: "120 of 120 steps".into(),
        seconds: 42.0,
        scores: vec![
            score("train.gradients", Verdict::Pass, "all reached"),
            score("train.overfit", Verdict::Warn, "rose\u{1b}[31m again"),
            score("train.ends", Verdict::Fail, "never stops"),
            score("x", Verdict::Unknown, "who knows"),
        ],
    };
    let want = [
        " 3  train  ✓!✗?  42 s",
        "    120 of 120 steps",
        "    ! train.overfit: rose\\u{1b}[31m again",
        "    ✗ train.ends: never stops",
    ];
    assert_eq!(block.lines(false), want);
    assert_eq!(
        block.lines(true)[0],
        " 3  train  \u{1b}[32m✓\u{1b}[0m\u{1b}[33m!\u{1b}[0m\u{1b}[31m✗\u{1b}[0m\u{1b}[33m?\u{1b}[0m  42 s"
    );
    let failed = Block { ok: false, result: "no".into(), scores: Vec::new(), ..block };
    assert_eq!(failed.lines(false), [" 3  train  ✗  42 s", "    no"]);
}

#[test]
fn progress_is_one_line_of_what_is_known() {
    let mut progress = Progress { what: "train".into(), done: 12, total: 40, ..Progress::default() };
    assert_eq!(progress_line(&progress), "train 12/40");
    progress.loss = Some(0.3124);
    progress.valid_loss = Some(0.4);
    progress.tokens_per_second = Some(5120.4);
    progress.utilisation = Some(0.423);
    progress.peak_memory = Some(3_200_000_000);
    progress.eta_seconds = Some(75.0);
    assert_eq!(
        progress_line(&progress),
        "train 12/40, loss 0.312, valid 0.400, 5120 tokens/s, 42.3 % of peak, 3.20 GB, 1 min 15 s left"
    );
}

#[test]
fn plain_progress_is_said_when_time_has_passed() {
    let mut state = State::default();
    let at = |what: &str, done| Progress { what: what.into(), done, total: 100, ..Progress::default() };
    assert!(!due(&mut state, &at("train", 1)));
    assert!(!due(&mut state, &at("train", 50)));
    // Two seconds later a tenth of the way is worth a line, and less is not.
    let earlier =
        |state: &mut State, by| state.said = state.said.take().map(|(what, at, share)| (what, at - by, share));
    earlier(&mut state, Duration::from_secs(2));
    assert!(!due(&mut state, &at("train", 10)));
    assert!(due(&mut state, &at("train", 12)));
    assert!(!due(&mut state, &at("train", 90)));
    // After a longer time anything is, also when something else goes on.
    earlier(&mut state, Duration::from_secs(6));
    assert!(due(&mut state, &at("evaluate", 13)));
    assert!(!due(&mut state, &at("evaluate", 13)));
}

#[test]
fn outputs_are_told_by_their_figures() {
    let line = |tool: &str, output| outputs::line(tool, true, &output);
    let trained = json!({
        "adapter": "train-1", "steps": [90, 100], "curve": [[1, 2.5], [90, 0.25]], "valid_loss": 0.3, "valid_exact": 0.9,
        "tokens_per_second": 5000.0
    });
    let want = "train-1, 90 of 100 steps, loss 2.500 to 0.250, validation 0.300, 90.0 % exact, 5000 tokens/s";
    assert_eq!(line("train", trained), want);
    let measured = json!({"adapter": null, "metric": "accuracy", "value": 0.5, "interval": [0.4, 0.6], "n": 80, "exact_match": 0.0});
    let want = "base: accuracy 50.0 % (40.0 to 60.0 %) of 80 validation examples, exact match 0.0 %";
    assert_eq!(line("evaluate", measured), want);
    // A damaged or unknown output is still shown, without rows or nested parts.
    assert_eq!(line("train", json!({"adapter": 7, "rows": [1]})), "adapter 7");
    assert_eq!(line("new_tool", json!({"a": 1, "b": "x\ny", "c": {"d": 2}})), "a 1, b x\\ny");
    assert_eq!(outputs::line("train", false, &json!("it \u{1b} broke")), "it \\u{1b} broke");
}
