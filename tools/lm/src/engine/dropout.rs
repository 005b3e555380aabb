//! Dropout before the adapters. A mask depends on the seed, the step, the row and its position in the row, the decoder
//! layer and the linear layer: on nothing that the number of threads or the parts of a step could change. It is made
//! anew in the backward pass instead of being kept.

use crate::rng::Rng;

/// The dropout of one linear layer in one pass.
#[derive(Clone, Copy, Debug)]
pub struct Dropout<'a> {
    /// A key for each row; without keys nothing is dropped, as in evaluations.
    keys: &'a [u64],
    /// Share of numbers that become 0, in 65536ths, so that one random number serves four.
    share: u32,
    /// Tells linear layers apart.
    salt: u64,
}

impl<'a> Dropout<'a> {
    /// Drops nothing.
    pub const NONE: Dropout<'static> = Dropout { keys: &[], share: 0, salt: 0 };

    /// Drops a share of `p` of the inputs of linear layer `linear` in decoder layer `layer`.
    pub fn new(keys: &'a [u64], p: f32, (layer, linear): (usize, usize)) -> Self {
        let salt = ((layer as u64) << 8 | linear as u64).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        Dropout { keys, share: (p * 65536.0).round() as u32, salt }
    }

    /// Whether it drops anything.
    pub fn drops(&self) -> bool {
        !self.keys.is_empty() && self.share > 0
    }

    /// `x` with dropped numbers 0 and the others scaled up, `[rows, width]`; `None` where nothing is dropped.
    pub fn apply(&self, x: &[f32], width: usize) -> Option<Vec<f32>> {
        if !self.drops() {
            return None;
        }
        let mut out = vec![0.0; x.len()];
        self.masked(x, width, &mut out, |out, x| *out = x);
        Some(out)
    }

    /// Adds the gradient of [`Dropout::apply`] to `dx`.
    pub fn backward(&self, dy: &[f32], width: usize, dx: &mut [f32]) {
        self.masked(dy, width, dx, |dx, dy| *dx += dy);
    }

    fn masked(&self, x: &[f32], width: usize, out: &mut [f32], put: impl Fn(&mut f32, f32)) {
        let scale = 65536.0 / (65536 - self.share.min(65535)) as f32;
        for ((out, x), key) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(self.keys) {
            let mut rng = Rng(key ^ self.salt);
            for (out, x) in out.chunks_mut(4).zip(x.chunks(4)) {
                let mut bits = rng.next_u64();
                for (out, x) in out.iter_mut().zip(x) {
                    if (bits & 0xFFFF) as u32 >= self.share {
                        put(out, x * scale);
                    }
                    bits >>= 16;
                }
            }
        }
    }
}

/// The keys of the rows of one sequence: sequence number `index` of optimizer step `step`.
pub fn keys(seed: u64, step: usize, index: usize, len: usize) -> impl Iterator<Item = u64> {
    let mut rng = Rng::new(seed ^ (step as u64) << 32 ^ index as u64, "dropout");
    (0..len).map(move |_| rng.next_u64())
}

#[cfg(test)]
mod tests {
    use super::{Dropout, keys};

    #[test]
    fn the_share_is_dropped_the_rest_scaled_and_the_gradient_is_the_same_mask() {
        let rows: Vec<u64> = keys(7, 3, 0, 500).collect();
        let dropout = Dropout::new(&rows, 0.25, (1, 2));
        let x = vec![1.0; 500 * 30];
        let y = dropout.apply(&x, 30).unwrap();
        let kept = y.iter().filter(|y| **y != 0.0).count() as f64 / y.len() as f64;
        assert!((kept - 0.75).abs() < 0.01 && y.iter().all(|y| *y == 0.0 || (*y - 4.0 / 3.0).abs() < 1e-6), "{kept}");
        let mut dx = vec![0.0; x.len()];
        dropout.backward(&x, 30, &mut dx);
        assert_eq!(dx, y);
        assert_ne!(Dropout::new(&rows, 0.25, (1, 3)).apply(&x, 30).unwrap(), y);
        assert!(Dropout::new(&[], 0.25, (1, 2)).apply(&x, 30).is_none());
    }
}
