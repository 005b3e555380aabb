//! Interrupted training goes on from its checkpoints to the bytes of a run that was never interrupted.

use std::{fs, path::Path};

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tunesmith_lm::{
    error::{Error, Result},
    train::{Checkpoint, Control, Progress, Select, Spec, Stopped, StorageWarning, Trained, memory::Memory, train},
};

use crate::train::{bits, lora, rows, run, small, spec};

fn checkpoint(dir: &Path, save_steps: usize) -> Checkpoint {
    let key = Map::from_iter([("data".to_owned(), json!("rows 1"))]);
    Checkpoint { dir: dir.to_owned(), save_steps, save_total_limit: 2, key }
}

/// Trains with checkpoints until `stop` steps are done, as a process would that is killed then.
fn attempt(spec: &Spec, checkpoint: Checkpoint, stop: usize, told: &mut Vec<Progress>) -> Result<Trained> {
    let (config, weights) = small();
    let (rows, valid) = (rows(40, 1), rows(10, 2));
    let mut on = |p: Progress| {
        told.push(p);
        if told.last().is_some_and(|p| p.step >= stop) { Err(Error::Cancelled) } else { Ok(()) }
    };
    let mut control = Control { deadline: None, on: &mut on, checkpoint: Some(checkpoint), memory: Memory::default() };
    train((&config, &weights), (&lora(), spec), (&rows, &valid), &mut control)
}

fn to_the_end(spec: &Spec, dir: &Path, save_steps: usize) -> Result<Trained> {
    attempt(spec, checkpoint(dir, save_steps), usize::MAX, &mut Vec::new())
}

/// The names in a directory of checkpoints, without the lock.
fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name != "lock").collect();
    names.sort();
    names
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_run_killed_anywhere_goes_on_to_the_same_bytes(
        kills in prop::collection::vec(1usize..16, 1..4),
        save_steps in 1usize..6,
        eval_steps in prop::option::of(1usize..6),
        patience in prop::option::of(1usize..3),
        exact in any::<bool>(),
    ) {
        let select = if exact { Select::Exact } else { Select::Loss };
        let spec = Spec { select, eval_steps, patience, learning_rate: 0.05, ..spec() };
        let whole = run(&lora(), &spec, &rows(40, 1), &rows(10, 2));
        let dir = tempfile::tempdir().unwrap();
        for stop in kills {
            let mut told = Vec::new();
            let from = Checkpoint::is_in(dir.path());
            let stopped = attempt(&spec, checkpoint(dir.path(), save_steps), stop, &mut told);
            prop_assert!(stopped.is_ok() || matches!(stopped, Err(Error::Cancelled)));
            prop_assert!(from || told[0].step == 1);
        }
        let resumed = to_the_end(&spec, dir.path(), save_steps).unwrap();
        prop_assert_eq!((bits(&resumed), &resumed.report), (bits(&whole), &whole.report));
        // A finished run that is asked again gives the same without a step.
        let mut told = Vec::new();
        let again = attempt(&spec, checkpoint(dir.path(), save_steps), 0, &mut told).unwrap();
        prop_assert_eq!((bits(&again), told.len()), (bits(&whole), 0));
        prop_assert!(names(dir.path()).len() <= 2);
    }
}

#[test]
fn the_newest_checkpoints_are_kept_and_what_a_kill_left_half_written_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("checkpoint-7.partial"), "half").unwrap();
    to_the_end(&spec(), dir.path(), 4).unwrap();
    assert_eq!(names(dir.path()), ["checkpoint-12.safetensors", "checkpoint-15.safetensors"]);
}

#[test]
fn a_damaged_checkpoint_is_passed_over_for_the_one_before_it() {
    let whole = run(&lora(), &spec(), &rows(40, 1), &rows(10, 2));
    for cut in [0, 100, 5_000] {
        let dir = tempfile::tempdir().unwrap();
        to_the_end(&spec(), dir.path(), 4).unwrap();
        let newest = dir.path().join("checkpoint-15.safetensors");
        let bytes = fs::read(&newest).unwrap();
        fs::write(&newest, &bytes[..cut]).unwrap();
        let mut told = Vec::new();
        let resumed = attempt(&spec(), checkpoint(dir.path(), 4), usize::MAX, &mut told).unwrap();
        assert_eq!(bits(&resumed), bits(&whole));
        let [StorageWarning::CheckpointDamaged { step: 15, .. }] = told[0].warnings.as_slice() else {
            panic!("{:?}", told[0])
        };
        assert_eq!((told[0].step, &resumed.report.storage_warnings), (13, &told[0].warnings));
        assert!(told[1].warnings.is_empty());
    }
    let dir = tempfile::tempdir().unwrap();
    to_the_end(&spec(), dir.path(), 4).unwrap();
    for name in names(dir.path()) {
        fs::write(dir.path().join(name), "x").unwrap();
    }
    let error = to_the_end(&spec(), dir.path(), 4).unwrap_err().to_string();
    assert!(error.ends_with(
        "holds no checkpoint that is not damaged (it is cut off); use what it was made with, or remove it to start anew"
    ));
}

#[test]
fn a_run_with_other_settings_or_data_is_refused_by_the_name_of_the_difference() {
    let dir = tempfile::tempdir().unwrap();
    to_the_end(&spec(), dir.path(), 4).unwrap();
    let refused = |spec: Spec, key: Value| {
        let checkpoint = Checkpoint { key: key.as_object().cloned().unwrap(), ..checkpoint(dir.path(), 4) };
        let error = attempt(&spec, checkpoint, usize::MAX, &mut Vec::new()).unwrap_err().to_string();
        error.split("belongs to another training run: ").nth(1).unwrap().split(';').next().unwrap().to_owned()
    };
    let key = || json!({"data": "rows 1"});
    assert_eq!(refused(Spec { learning_rate: 0.5, ..spec() }, key()), "learning_rate was 0.01 and is now 0.5");
    assert_eq!(refused(Spec { max_steps: Some(9), ..spec() }, key()), "max_steps was null and is now 9");
    assert_eq!(refused(spec(), json!({"data": "rows 2"})), "data was \"rows 1\" and is now \"rows 2\"");
    // How often it is saved changes no result.
    to_the_end(&spec(), dir.path(), 9).unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_costs_a_checkpoint_and_not_the_run() {
    let whole = run(&lora(), &spec(), &rows(40, 1), &rows(10, 2));
    let dir = tempfile::tempdir().unwrap();
    let mut told: Vec<Progress> = Vec::new();
    let (config, weights) = small();
    let mut on = |p: Progress| {
        // From step 7 to 10 everything that is written to a checkpoint goes to a device that is always full.
        match p.step {
            7 => std::os::unix::fs::symlink("/dev/full", dir.path().join("checkpoint-8.partial")).unwrap(),
            10 => assert_eq!(names(dir.path()), ["checkpoint-4.safetensors"]),
            _ => {}
        }
        told.push(p);
        Ok(())
    };
    let mut control =
        Control { deadline: None, on: &mut on, checkpoint: Some(checkpoint(dir.path(), 4)), memory: Memory::default() };
    let data = (rows(40, 1), rows(10, 2));
    let trained = train((&config, &weights), (&lora(), &spec()), (&data.0, &data.1), &mut control).unwrap();
    assert_eq!((bits(&trained), trained.report.stopped), (bits(&whole), Stopped::Done));
    let warning =
        StorageWarning::CheckpointNotSaved { step: 8, why: "No space left on device (os error 28)".to_owned() };
    assert_eq!(trained.report.storage_warnings, std::slice::from_ref(&warning));
    let warned: Vec<_> = told.iter().filter(|p| !p.warnings.is_empty()).map(|p| (p.step, p.warnings.clone())).collect();
    assert_eq!(warned, [(9, vec![warning])]);
    // There is room again, and the next ones are saved.
    assert_eq!(names(dir.path()), ["checkpoint-12.safetensors", "checkpoint-15.safetensors"]);
}
