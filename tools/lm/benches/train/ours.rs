//! Our side: the training loop that users run.

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
};

use crate::{
    LENGTH, RANK, ROWS,
    sample::{Sample, cpu_seconds, peak_bytes},
    shapes::Shape,
};

/// Trains `steps` steps on random rows.
pub fn measure(shape: &Shape, steps: usize) -> Result<Sample, String> {
    keep_freed_memory();
    let config = shape.config()?;
    let weights = random_weights(&config, 1);
    let mut rng = Rng::new(1, "rows");
    let mut row = || (0..LENGTH).map(|_| rng.below(config.vocab_size) as u32).collect();
    let rows: Vec<Sequence> = (0..ROWS).map(|_| Sequence::from(row(), 0)).collect();
    let method = Method::Lora(LoraConfig { r: RANK, lora_alpha: 2.0 * RANK as f64, ..LoraConfig::default() });
    let spec = Spec { epochs: steps, batch_size: ROWS, schedule: Schedule::Constant, ..Spec::default() };
    let (mut seconds, mut cpu, mut before) = (Vec::new(), Vec::new(), (0.0, cpu_seconds()?));
    let mut on = |progress: Progress| {
        let now = (progress.seconds, cpu_seconds().map_err(tunesmith_lm::error::Error::Train)?);
        seconds.push(now.0 - before.0);
        cpu.push(now.1 - before.1);
        before = now;
        Ok(())
    };
    let mut control = Control { deadline: None, on: &mut on, checkpoint: None, memory: Memory::default() };
    train((&config, &weights), (&method, &spec), (&rows, &[]), &mut control).map_err(|e| e.to_string())?;
    Ok(Sample { seconds, cpu, peak_bytes: peak_bytes()? })
}
