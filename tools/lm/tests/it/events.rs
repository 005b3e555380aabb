//! Event files against the bytes that TensorBoard's own writer makes.

use std::fs;

use tunesmith_lm::events::Events;

use crate::golden;

#[test]
fn event_files_are_those_of_tensorboard() {
    let dir = tempfile::tempdir().unwrap();
    let start = 1_700_000_000.25;
    drop(Events::create(dir.path(), start, 1).unwrap());
    // The second file of a run voids what the first one may have from its first step on.
    let mut events = Events::create(dir.path(), start, 300).unwrap();
    events.scalars(start + 1.0, 300, &[("train/loss", 0.1), ("train/learning_rate", 2e-4)]).unwrap();
    events.scalars(start + 2.0, 301, &[("train/loss", 1e-30), ("eval/exact_match", 1.0)]).unwrap();
    let made = |number: usize| fs::read(dir.path().join(format!("events.out.tfevents.{number:05}.tunesmith"))).unwrap();
    let golden = fs::read(golden("events.tfevents")).unwrap();
    assert_eq!(made(1), golden);
    assert_eq!(made(0), golden[..made(0).len()]);
}
