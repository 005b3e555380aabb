//! The whole state of a training run on disk, so that it can go on after a crash with the same bytes.

use std::{collections::HashMap, fs, path::PathBuf};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use super::{Best, Report, Run, Spec};
use crate::error::{Error, Result};

/// Where and how often the state is saved.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The file; written to a neighbour first and renamed.
    pub path: PathBuf,
    /// Optimizer steps between saves.
    pub every: usize,
    /// What the state belongs to, for example a hash of base and data; a state of something else is refused.
    pub key: String,
}

/// What stands beside the tensors.
#[derive(Serialize, Deserialize)]
struct Meta {
    key: String,
    spec: Spec,
    report: Report,
    adam_steps: u64,
    since_best: usize,
    best: Option<(f64, f64)>,
}

impl Run {
    /// Goes on from the saved state, if there is one.
    pub(super) fn resume(&mut self, checkpoint: &Checkpoint, spec: &Spec) -> Result<()> {
        let bytes = match fs::read(&checkpoint.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io("cannot read", &checkpoint.path, error)),
        };
        let bad = |why: String| Error::Train(format!("{} {why}: remove it to start anew", checkpoint.path.display()));
        let damaged = |e: &dyn std::fmt::Display| bad(format!("is damaged ({e})"));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(&e))?;
        let meta = header.metadata().as_ref().and_then(|m| m.get("state")).ok_or_else(|| damaged(&"no state"))?;
        let meta: Meta = serde_json::from_str(meta).map_err(|e| damaged(&e))?;
        if meta.key != checkpoint.key || meta.spec != *spec {
            return Err(bad("belongs to another training run".into()));
        }
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| damaged(&e))?;
        let read = |name: String, into: &mut Vec<f32>| -> Result<()> {
            let view = tensors.tensor(&name).map_err(|e| damaged(&e))?;
            if view.dtype() != Dtype::F32 || view.data().len() != into.len() * 4 {
                return Err(bad(format!("has another {name}")));
            }
            for (to, from) in into.iter_mut().zip(view.data().chunks_exact(4)) {
                *to = f32::from_le_bytes([from[0], from[1], from[2], from[3]]);
            }
            Ok(())
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

    /// Saves the state when it is due.
    pub(super) fn save_if_due(&self, checkpoint: &Checkpoint, spec: &Spec, last: bool) -> Result<()> {
        if last || !self.report.steps.0.is_multiple_of(checkpoint.every.max(1)) {
            return Ok(());
        }
        let meta = Meta {
            key: checkpoint.key.clone(),
            spec: spec.clone(),
            report: self.report.clone(),
            adam_steps: self.adam.steps,
            since_best: self.since_best,
            best: self.best.as_ref().map(|b| b.value),
        };
        let state = serde_json::to_string(&meta).map_err(|e| Error::Train(e.to_string()))?;
        let mut groups: Vec<(&str, Vec<&[f32]>)> = vec![
            ("params", self.params.vectors().map(Vec::as_slice).collect()),
            ("m", self.adam.moments.iter().map(|m| m.0.as_slice()).collect()),
            ("v", self.adam.moments.iter().map(|m| m.1.as_slice()).collect()),
        ];
        groups.extend(self.best.as_ref().map(|best| ("best", best.params.vectors().map(Vec::as_slice).collect())));
        let mut bytes: Vec<(String, Vec<u8>)> = Vec::new();
        for (group, vectors) in groups {
            for (i, vector) in vectors.into_iter().enumerate() {
                bytes.push((format!("{group}.{i}"), vector.iter().flat_map(|v| v.to_le_bytes()).collect()));
            }
        }
        let failed = |e: safetensors::SafeTensorError| Error::Train(format!("cannot save the state: {e}"));
        let views = bytes
            .iter()
            .map(|(name, data)| Ok((name, TensorView::new(Dtype::F32, vec![data.len() / 4], data).map_err(failed)?)))
            .collect::<Result<Vec<_>>>()?;
        let header = HashMap::from([("state".to_owned(), state)]);
        let file = safetensors::serialize(views, Some(header)).map_err(failed)?;
        let temporary = checkpoint.path.with_extension("partial");
        fs::write(&temporary, file).map_err(|e| Error::io("cannot write", &temporary, e))?;
        fs::rename(&temporary, &checkpoint.path).map_err(|e| Error::io("cannot replace", &checkpoint.path, e))
    }
}
