#![allow(clippy::unwrap_used)]

use super::*;

fn output() -> Output {
    let curve: Vec<(usize, f64)> = (1..=20).map(|step| (step, 4.0 / step as f64)).collect();
    Output {
        adapter: "train-1".into(),
        provenance: None,
        tally: None,
        rows: (90, 10),
        steps: (20, 20),
        stopped: Stopped::Done,
        curve,
        valid_curve: vec![(10, 1.0), (20, 0.9)],
        exact_curve: vec![(10, 0.5), (20, 0.6)],
        best_step: Some(20),
        valid_loss: Some(0.9),
        valid_exact: Some(0.6),
        audit: Audit { reached: 14, tensors: 14 },
        max_grad_norm: 1.0,
        parameters: 10,
        seconds: 1.0,
        tokens_per_second: 1.0,
        ended: (8, 8),
        estimate: None,
        plans: Vec::new(),
        peak_memory: None,
        utilisation: None,
        resumed_from: None,
        storage_warnings: Vec::new(),
        findings: Vec::new(),
        general_loss: None,
        signals: Vec::new(),
    }
}

fn verdicts(output: &Output) -> Vec<(String, Verdict)> {
    let dir = tempfile::tempdir().unwrap();
    let scores = Train.scores(output, &Workdir::open(dir.path()).unwrap());
    scores.into_iter().map(|score| (score.scorer, score.verdict)).collect()
}

#[test]
fn a_good_training_passes_every_check() {
    let all = ["train.gradients", "train.loss", "train.overfit", "train.ends"];
    assert_eq!(verdicts(&output()), all.map(|name| (name.to_owned(), Verdict::Pass)));
}

#[test]
fn each_way_to_fail_is_seen() {
    let check = |change: &dyn Fn(&mut Output), name: &str, verdict: Verdict| {
        let mut output = output();
        change(&mut output);
        assert!(verdicts(&output).contains(&(name.to_owned(), verdict)), "{name} {verdict:?}");
    };
    check(&|o| o.audit.reached = 13, "train.gradients", Verdict::Unknown);
    check(&|o| o.audit = Audit::default(), "train.gradients", Verdict::Unknown);
    check(&|o| o.curve.reverse(), "train.loss", Verdict::Fail);
    check(&|o| o.curve.iter_mut().for_each(|point| point.1 = 1.0), "train.loss", Verdict::Warn);
    check(&|o| o.valid_curve = vec![(10, 1.0), (20, 1.2)], "train.overfit", Verdict::Warn);
    check(&|o| o.ended = (1, 8), "train.ends", Verdict::Fail);
    check(&|o| o.stopped = Stopped::Deadline, "train.time", Verdict::Warn);
}

#[test]
fn findings_are_scores_by_the_name_of_the_fault() {
    let finding = |fault, severity| Finding {
        fault,
        stage: faults::Stage::After,
        severity,
        what: "seen".into(),
        advice: "do this".into(),
    };
    let findings = vec![
        finding(Fault::Collapse, Severity::Warning),
        finding(Fault::MergeDiffers, Severity::Error),
        finding(Fault::Collapse, Severity::Warning),
    ];
    let output = Output { findings, ..output() };
    let found: Vec<_> = verdicts(&output).into_iter().skip(4).collect();
    let expected = [("train.merge_differs", Verdict::Fail), ("train.collapse", Verdict::Warn)];
    assert_eq!(found, expected.map(|(name, verdict)| (name.to_owned(), verdict)));
}

#[test]
fn a_thinned_curve_keeps_its_ends() {
    let curve: Vec<(usize, f64)> = (1..=1000).map(|step| (step, step as f64)).collect();
    let thin = job::thinned(&curve);
    assert_eq!((thin.len(), thin[0], thin[199]), (200, curve[0], curve[999]));
    assert_eq!(job::thinned(&curve[..150]), curve[..150]);
}

#[test]
fn adapters_are_never_written_over() {
    let root = tempfile::tempdir().unwrap();
    let dir = Workdir::open(root.path()).unwrap();
    std::fs::create_dir(root.path().join("train-1")).unwrap();
    assert_eq!(directory(&dir, None).unwrap(), dir.path().join("train-2"));
    for name in ["train-1", "../x", "a/b", "/etc"] {
        assert!(matches!(directory(&dir, Some(name)), Err(ToolError::Invalid(_))), "{name}");
    }
}

#[test]
fn the_defaults_are_all_seven_layers() {
    assert_eq!(Settings::from(Args::default()), Settings::default());
}
