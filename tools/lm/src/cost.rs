//! What a training step costs in arithmetic, and what this machine can do of it.

use std::time::{Duration, Instant};

use rayon::prelude::*;

use crate::{
    config::Config,
    engine::{
        batch::Sequence,
        math,
        params::{LayerSlots, Method, Slots, shapes},
    },
    error::Result,
};

/// What rows look like, as far as their cost depends on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rows {
    /// Length of the sequence that a token is in, on average over tokens.
    pub length: f64,
    /// Share of tokens that are predicted: only these need the output layer.
    pub trained: f64,
}

impl Rows {
    /// The averages of these rows.
    pub fn of(rows: &[Sequence]) -> Self {
        let tokens: usize = rows.iter().map(|row| row.tokens.len()).sum();
        let squares: f64 = rows.iter().map(|row| (row.tokens.len() as f64).powi(2)).sum();
        let targets: usize = rows.iter().map(Sequence::targets).sum();
        let all = tokens.max(1) as f64;
        Rows { length: squares / all, trained: targets as f64 / all }
    }
}

/// Floating-point operations for each token of training: 2 for each multiplication with its addition.
///
/// - A frozen weight costs 2 forward and 2 for the gradient of its input; a trained number, such as those of an adapter,
///   costs 2 more for its own gradient.
/// - The output layer costs the same for each predicted token.
/// - Attention costs `4 · heads · head_dim` forward for each position that a token sees, on average half of the sequence
///   (or the sliding window), and twice that backward.
///
/// Norms, activations, the optimizer and whatever is computed twice to save memory are left out, as is usual.
pub fn train_flops_per_token(config: &Config, method: &Method, rows: Rows) -> Result<f64> {
    let slots = Slots::new(config, method)?;
    let head = (config.vocab_size * config.hidden_size) as f64 * rows.trained;
    let head = head * if slots.head || slots.tied { 6.0 } else { 4.0 };
    let weights: usize = shapes(config).iter().map(|(out, input)| out * input).sum();
    let layer = |slots: &LayerSlots| {
        let trained = slots.linears.iter().map(|slot| {
            let whole = slot.weight.as_ref().map_or(0, |range| range.len());
            2 * whole + slot.lora.as_ref().map_or(0, |lora| 6 * (lora.a.len() + lora.b.len()))
        });
        4 * weights + trained.sum::<usize>()
    };
    let linear = head + slots.layers.iter().map(layer).sum::<usize>() as f64;
    let seen = |layer| {
        let all = (rows.length + 1.0) / 2.0;
        config.window(layer).map_or(all, |window| all.min(window as f64))
    };
    let seen: f64 = (0..config.num_hidden_layers).map(seen).sum();
    Ok(linear + 12.0 * config.q_dim() as f64 * seen)
}

/// Width of the matrices of the probe: they fit the cache of a core.
const WIDTH: usize = 384;
/// Least rounds and most time of the probe.
const PROBE: (usize, Duration) = (5, Duration::from_millis(60));

/// Floating-point operations per second that f32 matrix products reach on all threads: the best of a few short rounds.
/// A measure of the machine, for telemetry only.
pub fn peak_flops() -> f64 {
    let threads = rayon::current_num_threads();
    let operands = vec![0.5f32; WIDTH * WIDTH];
    let mut results = vec![vec![0.0f32; WIDTH * WIDTH]; threads];
    let mut best = f64::INFINITY;
    let (began, mut rounds) = (Instant::now(), 0);
    while rounds < PROBE.0 || began.elapsed() < PROBE.1 {
        let round = Instant::now();
        results.par_iter_mut().for_each(|result| {
            math::nt((WIDTH, WIDTH, WIDTH), result, &operands, &operands, false, 1.0);
        });
        best = best.min(round.elapsed().as_secs_f64());
        rounds += 1;
    }
    (2 * WIDTH * WIDTH * WIDTH * threads) as f64 / best.max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{lora::LoraConfig, pretrain::ModelShape};

    fn flops(shape: ModelShape, rows: Rows) -> f64 {
        let config = shape.config().unwrap();
        train_flops_per_token(&config, &Method::Lora(LoraConfig::default()), rows).unwrap()
    }

    #[test]
    fn known_shapes_cost_what_is_known_of_them() {
        // 2.07 and 0.60 GFLOP for each token of 4 x 256 with LoRA r=16 on all linear layers.
        let rows = Rows { length: 256.0, trained: 1.0 };
        let qwen =
            ModelShape { vocab: 151_936, hidden: 896, inner: 4864, layers: 24, heads: 14, kv_heads: 2, context: 512 };
        let smol =
            ModelShape { vocab: 49_152, hidden: 576, inner: 1536, layers: 30, heads: 9, kv_heads: 3, context: 512 };
        for (shape, known) in [(qwen, 2.07e9), (smol, 0.60e9)] {
            let flops = flops(shape, rows);
            assert!((flops / known - 1.0).abs() < 0.015, "{flops:e} and not {known:e}");
        }
        // The output layer is paid for where something is predicted.
        let head = flops(smol, rows) - flops(smol, Rows { trained: 0.25, ..rows });
        assert_eq!(head, 3.0 * (49_152 * 576) as f64);
    }

    #[test]
    fn everything_trained_costs_three_times_the_forward_pass() {
        let shape = ModelShape { vocab: 64, hidden: 32, inner: 48, layers: 2, heads: 4, kv_heads: 2, context: 64 };
        let config = shape.config().unwrap();
        let full = train_flops_per_token(&config, &Method::Full, Rows { length: 0.0, trained: 1.0 }).unwrap();
        // Norms are left out: two of each layer and the last.
        let numbers = config.parameters() as f64 - 5.0 * 32.0;
        assert_eq!(full, 6.0 * numbers + 12.0 * 32.0);
    }

    #[test]
    fn rows_are_averaged_over_tokens() {
        let rows = [Sequence::from(vec![1; 30], 20), Sequence::from(vec![1; 10], 5)];
        assert_eq!(Rows::of(&rows), Rows { length: 25.0, trained: 15.0 / 40.0 });
    }

    #[test]
    fn the_probe_is_short_and_finds_something() {
        let began = Instant::now();
        let peak = peak_flops();
        assert!(peak > 1e7 && began.elapsed() < Duration::from_secs(20), "{peak:e}");
    }
}
