#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::*;
use crate::{tool::Tool, train::Train};

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

/// The files of an adapter of rank 2 with one pair of six and four numbers.
fn files(dir: &Path) {
    std::fs::create_dir(dir.join("train-1")).unwrap();
    std::fs::write(dir.join("train-1/adapter_config.json"), "{\"r\":2}").unwrap();
    let tensor = |shape: &str, from: usize, to: usize| {
        format!("{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":[{from},{to}]}}")
    };
    let (a, b) = (tensor("[2,3]", 0, 24), tensor("[2,2]", 24, 40));
    let header = format!("{{\"q.lora_A.weight\":{a},\"q.lora_B.weight\":{b}}}");
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 40]].concat();
    std::fs::write(dir.join("train-1/adapter_model.safetensors"), bytes).unwrap();
}

fn verdicts(output: &Output) -> Vec<(String, Verdict)> {
    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    let scores = Train.scores(output, &Workdir::open(dir.path()).unwrap());
    scores.into_iter().map(|score| (score.scorer, score.verdict)).collect()
}

#[test]
fn a_good_training_passes_every_check() {
    let all = ["train.files", "train.gradients", "train.loss", "train.overfit", "train.ends"];
    assert_eq!(verdicts(&output()), all.map(|name| (name.to_owned(), Verdict::Pass)));
}

#[test]
fn an_adapter_whose_header_names_more_numbers_than_there_can_be_is_not_as_claimed() {
    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    let path = dir.path().join("train-1/adapter_model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    let header = String::from_utf8(whole[8..whole.len() - 40].to_vec()).unwrap();
    let huge = header.replace("[2,3]", "[2,9223372036854775807,9223372036854775807]");
    std::fs::write(&path, [&(huge.len() as u64).to_le_bytes()[..], huge.as_bytes(), &[0; 40]].concat()).unwrap();
    let scores = Train.scores(&output(), &Workdir::open(dir.path()).unwrap());
    let why = format!("the adapter holds {} numbers, 10 were trained", usize::MAX);
    assert_eq!((scores[0].verdict, scores[0].why.as_str()), (Verdict::Fail, why.as_str()));
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
    check(&|o| o.curve.iter_mut().skip(15).for_each(|point| point.1 = f64::NAN), "train.loss", Verdict::Fail);
    check(&|o| o.curve.iter_mut().for_each(|point| point.1 = 1.0), "train.loss", Verdict::Warn);
    check(&|o| o.valid_curve = vec![(10, 1.0), (20, 1.2)], "train.overfit", Verdict::Warn);
    check(&|o| o.ended = (1, 8), "train.ends", Verdict::Fail);
    check(&|o| o.stopped = Stopped::Deadline, "train.time", Verdict::Warn);
}

#[test]
fn an_adapter_that_is_not_as_claimed_is_named() {
    let why = |change: &dyn Fn(&Path, &mut Output)| {
        let dir = tempfile::tempdir().unwrap();
        files(dir.path());
        let mut output = output();
        change(&dir.path().join("train-1"), &mut output);
        adapter(&output, &Workdir::open(dir.path()).unwrap())
    };
    assert_eq!(why(&|_, _| ()), Ok("2 tensors of rank 2, 10 numbers".into()));
    let more: &dyn Fn(&Path, &mut Output) = &|_, output| output.parameters = 11;
    assert_eq!(why(more), Err("the adapter holds 10 numbers, 11 were trained".into()));
    let rank = |dir: &Path, _: &mut Output| std::fs::write(dir.join("adapter_config.json"), "{\"r\":3}").unwrap();
    assert_eq!(why(&rank), Err("q.lora_A.weight is not of rank 3".into()));
    let gone = |dir: &Path, _: &mut Output| std::fs::remove_file(dir.join("adapter_model.safetensors")).unwrap();
    assert_eq!(why(&gone), Err("adapter_model.safetensors is not there".into()));
    let cut = |dir: &Path, _: &mut Output| {
        let path = dir.join("adapter_model.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
    };
    assert_eq!(why(&cut), Err("adapter_model.safetensors is no whole safetensors file".into()));
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
    let found: Vec<_> = verdicts(&output).into_iter().skip(5).collect();
    let expected = [("train.merge_differs", Verdict::Fail), ("train.collapse", Verdict::Warn)];
    assert_eq!(found, expected.map(|(name, verdict)| (name.to_owned(), verdict)));
}
