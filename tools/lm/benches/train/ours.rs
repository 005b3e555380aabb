//! Our side: the training loop that users run.

use std::path::Path;

use tunesmith_lm::{
    engine::{
        batch::Sequence,
        keep_freed_memory,
        params::{Method, random_weights},
    },
    lora::LoraConfig,
    optim::Schedule,
    rng::Rng,
    train::{Control, Progress, Spec, memory::Memory, train},
    weights::{Dtype, Weights},
};

use crate::{
    LENGTH, RANK, ROWS,
    calls::calls,
    sample::{Counted, Sample, peak_bytes},
    shapes::Shape,
};

/// Writes random weights into `dir`, in bf16.
pub fn store(shape: &Shape, dir: &Path) -> Result<(), String> {
    std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let config = shape.config()?;
    random_weights(&config, 1).save(dir, &config, Dtype::BF16).map_err(|e| e.to_string())
}

/// Trains `steps` steps on random rows, of the weights in `dir` or of random ones.
pub fn measure(shape: &Shape, steps: usize, dir: Option<&Path>) -> Result<Sample, String> {
    keep_freed_memory();
    let config = shape.config()?;
    let stored = dir.map(|dir| Weights::load(dir, &config)).transpose().map_err(|e| e.to_string())?;
    let weights = stored.unwrap_or_else(|| random_weights(&config, 1));
    let mut rng = Rng::new(1, "rows");
    let mut row = || (0..LENGTH).map(|_| rng.below(config.vocab_size) as u32).collect();
    let rows: Vec<Sequence> = (0..ROWS).map(|_| Sequence::from(row(), 0)).collect();
    let method = Method::Lora(LoraConfig { r: RANK, lora_alpha: 2.0 * RANK as f64, ..LoraConfig::default() });
    let spec = Spec { epochs: steps, batch_size: ROWS, schedule: Schedule::Constant, ..Spec::default() };
    let mut sample = Sample::default();
    let (mut before, mut second, mut called) = (Counted::now()?, 0.0, calls());
    let mut on = |progress: Progress| {
        let now = Counted::now().map_err(tunesmith_lm::error::Error::Train)?;
        sample.seconds.push(progress.seconds - second);
        sample.cpu.push(now.cpu - before.cpu);
        sample.faults.push(now.faults - before.faults);
        sample.allocations.push(calls() - called);
        (before, second, called) = (now, progress.seconds, calls());
        Ok(())
    };
    let mut control = Control { deadline: None, on: &mut on, checkpoint: None, memory: Memory::default() };
    train((&config, &weights), (&method, &spec), (&rows, &[]), &mut control).map_err(|e| e.to_string())?;
    Ok(Sample { peak_bytes: peak_bytes()?, ..sample })
}
