//! Our side: what `generate` does, without loading.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use tunesmith_lm::{
    engine::{
        infer::{Cache, Decoder},
        keep_freed_memory,
    },
    gguf::{self, Quant},
    model::Model,
};

use crate::{Options, PROMPT, STREAMS, Speed, file, made, output, parse, shapes::Shape};

/// Random weights of `shape` in every format.
pub fn files(shape: &Shape, dir: &Path, formats: &[Quant]) -> Result<Vec<PathBuf>, String> {
    let from = dir.join("model");
    made::make(shape, &from)?;
    let model = Model::open(&from).map_err(|e| e.to_string())?;
    let write = |quant: &Quant| {
        let path = file(dir, *quant);
        gguf::write(&path, &model, *quant).map_err(|e| e.to_string())?;
        Ok(path)
    };
    formats.iter().map(write).collect()
}

/// Starts this program again to measure the model of `file`.
pub fn again(file: &Path, options: &Options) -> Result<Speed, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut command = Command::new(program);
    command.arg("--child").arg(file).arg(options.tokens.to_string());
    parse(&output(command.env("RAYON_NUM_THREADS", options.threads.to_string()))?)
}

/// Opens a model and measures it; each figure is taken after one that is thrown away.
pub fn measure(file: &Path, tokens: usize) -> Result<Speed, String> {
    keep_freed_memory();
    let model = Model::open(file).map_err(|e| e.to_string())?;
    let decoder = Decoder::new(&model.config, &model.weights);
    let prompt: Vec<u32> = (0..PROMPT as u32).map(|i| i * 97 % model.config.vocab_size as u32).collect();
    read(&decoder, &prompt)?;
    stream(&decoder, 1, 2)?;
    let prompt = PROMPT as f64 / read(&decoder, &prompt)?;
    let one = tokens as f64 / stream(&decoder, 1, tokens)?;
    let many = (STREAMS * tokens) as f64 / stream(&decoder, STREAMS, tokens)?;
    Ok(Speed { prompt, one, many: Some(many) })
}

/// Seconds of a prompt.
fn read(decoder: &Decoder, prompt: &[u32]) -> Result<f64, String> {
    let began = Instant::now();
    let hidden = decoder.forward(&mut [(prompt, &mut Cache::default())]).map_err(|e| e.to_string())?;
    let width = decoder.config().hidden_size;
    decoder.head().next(&hidden[0][(prompt.len() - 1) * width..], &mut Vec::new());
    Ok(began.elapsed().as_secs_f64())
}

/// Seconds of so many greedy tokens in each of so many streams.
fn stream(decoder: &Decoder, streams: usize, tokens: usize) -> Result<f64, String> {
    let (began, vocab) = (Instant::now(), decoder.config().vocab_size);
    let mut caches = vec![Cache::default(); streams];
    let mut last: Vec<[u32; 1]> = (0..streams as u32).map(|i| [i]).collect();
    let mut logits = Vec::new();
    for _ in 0..tokens {
        let mut fed: Vec<(&[u32], &mut Cache)> = last.iter().map(|token| token.as_slice()).zip(&mut caches).collect();
        let hidden = decoder.forward(&mut fed).map_err(|e| e.to_string())?.concat();
        decoder.head().next(&hidden, &mut logits);
        for (last, row) in last.iter_mut().zip(logits.chunks_exact(vocab)) {
            let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            *last = [best.map_or(0, |(token, _)| token as u32)];
        }
    }
    Ok(began.elapsed().as_secs_f64())
}
