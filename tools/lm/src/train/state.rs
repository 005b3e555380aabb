//! The whole state of a training run: what a checkpoint holds, and how a run goes on from it with the same bytes.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Report, Spec,
    batches::Data,
    checkpoint::{Saved, StorageWarning, Store, Unread, difference},
    faults::{Position, position as position_of},
    run::{Best, Run},
};
use crate::error::{Error, Result};

/// What stands beside the tensors. The order of rows needs no state: it depends on seed and epoch alone.
#[derive(Serialize, Deserialize)]
struct Meta {
    /// Everything that decides the run: the caller's key, then the spec.
    run: Map<String, Value>,
    report: Report,
    adam_steps: u64,
    since_best: usize,
    best: Option<(f64, f64)>,
}

impl Run {
    /// Goes on from the newest checkpoint that is whole, if there is one.
    pub(super) fn resume(&mut self, store: &Store<'_>, spec: &Spec, data: &Data<'_>) -> Result<()> {
        let mut damaged = Vec::new();
        for step in store.steps()? {
            let path = store.path(step);
            match Saved::open(&path) {
                Ok(saved) => {
                    self.load(saved, (store, step), (spec, data))?;
                    for (step, why) in damaged {
                        let path = store.path(step);
                        std::fs::remove_file(&path).map_err(|e| Error::io("cannot remove", &path, e))?;
                        self.report.storage_warnings.push(StorageWarning::CheckpointDamaged { step, why });
                    }
                    return Ok(());
                }
                Err(Unread::Damaged(why)) => damaged.push((step, why)),
                Err(Unread::Io(error)) => return Err(Error::io("cannot read", &path, error)),
            }
        }
        match damaged.first() {
            None => Ok(()),
            Some((_, why)) => Err(refused(store, &format!("holds no checkpoint that is not damaged ({why})"))),
        }
    }

    fn load(
        &mut self,
        mut saved: Saved,
        (store, file): (&Store<'_>, usize),
        (spec, data): (&Spec, &Data<'_>),
    ) -> Result<()> {
        let meta: Meta = serde_json::from_str(&saved.state)
            .map_err(|_| refused(store, "was written by another version of this program"))?;
        if let Some(what) = difference(&meta.run, &identity(store, spec)?) {
            return Err(refused(store, &format!("belongs to another training run: {what}")));
        }
        let report = &meta.report;
        let position = Position {
            file,
            report: report.steps.0,
            curve: (report.curve.last().map_or(0, |point| point.0), report.curve.len()),
            optimizer: meta.adam_steps,
            trained: report.trained_tokens,
            expected: data.targets_of_steps(spec, report.steps.0),
        };
        if let Some(finding) = position_of(&position) {
            return Err(refused(store, &format!("holds a state that is not of one moment ({finding})")));
        }
        let mut read = |name: String, into: &mut Vec<f32>| match saved.read(&name, into) {
            Ok(true) => Ok(()),
            Ok(false) => Err(refused(store, &format!("belongs to another training run: it has another {name}"))),
            Err(error) => Err(Error::io("cannot read", &store.settings.dir, error)),
        };
        let mut best = meta.best.map(|value| Best { value, params: self.params.clone() });
        for (i, values) in self.params.vectors_mut().enumerate() {
            read(format!("params.{i}"), values)?;
            read(format!("m.{i}"), &mut self.adam.moments[i].0)?;
            read(format!("v.{i}"), &mut self.adam.moments[i].1)?;
        }
        for (i, values) in best.iter_mut().flat_map(|best| best.params.vectors_mut()).enumerate() {
            read(format!("best.{i}"), values)?;
        }
        self.best = best;
        self.adam.steps = meta.adam_steps;
        self.since_best = meta.since_best;
        self.report = meta.report;
        self.resumed_tokens = self.report.tokens;
        self.graph.trained().set(&self.params)
    }

    /// Saves the state when it is due. That it cannot be written is no reason to lose what the memory holds.
    pub(super) fn save_if_due(&mut self, store: &Store<'_>, spec: &Spec, last: bool) -> Result<()> {
        let step = self.report.steps.0;
        if !last && !step.is_multiple_of(store.settings.save_steps.max(1)) {
            return Ok(());
        }
        let meta = Meta {
            run: identity(store, spec)?,
            // What went wrong with files is no part of the run that goes on, and findings are made anew.
            report: Report { storage_warnings: Vec::new(), findings: Vec::new(), ..self.report.clone() },
            adam_steps: self.adam.steps,
            since_best: self.since_best,
            best: self.best.as_ref().map(|b| b.value),
        };
        let state = serde_json::to_string(&meta).map_err(|e| Error::Train(e.to_string()))?;
        if let Err(error) = store.write(step, &state, &self.tensors()) {
            let why = error.to_string();
            self.report.storage_warnings.push(StorageWarning::CheckpointNotSaved { step, why });
        }
        Ok(())
    }

    /// Every vector of the state with its name, borrowed: a checkpoint is written from where the numbers are.
    fn tensors(&self) -> Vec<(String, &[f32])> {
        let mut groups: Vec<(&str, Vec<&[f32]>)> = vec![
            ("params", self.params.vectors().map(Vec::as_slice).collect()),
            ("m", self.adam.moments.iter().map(|m| m.0.as_slice()).collect()),
            ("v", self.adam.moments.iter().map(|m| m.1.as_slice()).collect()),
        ];
        groups.extend(self.best.as_ref().map(|best| ("best", best.params.vectors().map(Vec::as_slice).collect())));
        let named = |(group, vectors): (&str, Vec<_>)| {
            let group = group.to_owned();
            vectors.into_iter().enumerate().map(move |(i, vector)| (format!("{group}.{i}"), vector))
        };
        groups.into_iter().flat_map(named).collect()
    }
}

/// Everything that decides a run, by name.
fn identity(store: &Store<'_>, spec: &Spec) -> Result<Map<String, Value>> {
    let mut all = store.settings.key.clone();
    match serde_json::to_value(spec) {
        Ok(Value::Object(fields)) => all.extend(fields),
        _ => return Err(Error::Train("the settings cannot be written".into())),
    }
    Ok(all)
}

fn refused(store: &Store<'_>, why: &str) -> Error {
    Error::Train(format!(
        "{} {why}; use what it was made with, or remove it to start anew",
        store.settings.dir.display()
    ))
}
