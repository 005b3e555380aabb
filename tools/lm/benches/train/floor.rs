//! What the machine can do and what the arithmetic needs: the floor under every time.

use std::time::Instant;

use tunesmith_lm::{config::Config, engine::params::shapes};

use crate::{LENGTH, RANK};

/// Floating-point operations per token that no exact training step avoids: a multiplication and an addition count two.
pub struct Floor {
    /// Frozen linear layers and the output layer: forward and gradient of the input.
    frozen: f64,
    /// Adapters: forward, gradients of the input and of the adapters.
    adapters: f64,
    /// Causal attention: two products forward, four backward, over the lower triangle.
    attention: f64,
    /// Trained numbers.
    pub trained: usize,
}

impl Floor {
    /// The floor of a model of this shape.
    pub fn new(config: &Config) -> Self {
        let layers = config.num_hidden_layers;
        let shapes = shapes(config);
        let linear: usize = shapes.iter().map(|(out, inp)| out * inp).sum();
        let adapter: usize = shapes.iter().map(|(out, inp)| (out + inp) * RANK).sum();
        let head = config.vocab_size * config.hidden_size;
        let seen = (LENGTH + 1) as f64 / 2.0;
        Floor {
            frozen: 4.0 * (layers * linear + head) as f64,
            adapters: 6.0 * (layers * adapter) as f64,
            attention: 12.0 * (layers * config.q_dim()) as f64 * seen,
            trained: layers * adapter,
        }
    }

    /// All of it.
    pub fn per_token(&self) -> f64 {
        self.frozen + self.adapters + self.attention
    }
}

/// GFLOP/s of a large f32 product with all threads: the best of some, because others may use the machine.
pub fn measure_peak() -> f64 {
    const N: usize = 2048;
    let (a, b, mut c) = (vec![0.5f32; N * N], vec![0.25f32; N * N], vec![0.0f32; N * N]);
    let mut best = f64::INFINITY;
    for _ in 0..10 {
        let began = Instant::now();
        // SAFETY: all three are N×N with row stride N and column stride 1.
        #[allow(unsafe_code)]
        unsafe {
            let (n, s) = (N, N as isize);
            let rayon = gemm::Parallelism::Rayon(0);
            let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
            gemm::gemm(n, n, n, c, 1, s, false, a, 1, s, b, 1, s, 0.0f32, 1.0, false, false, false, rayon);
        }
        best = best.min(began.elapsed().as_secs_f64());
    }
    2.0 * (N as f64).powi(3) / best / 1e9
}
