//! The decoder: forward and hand-written backward on f32, one custom operation of candle's graph per layer.
//!
//! | module | answers |
//! |---|---|
//! | [`math`] | products and element-wise kernels |
//! | [`attention`] | causal attention of one segment, forward and backward |
//! | [`params`] | which numbers are trained, and where they stand in a flat vector |
//! | [`trained`] | what those numbers are at the start, and what they become |
//! | [`linear`] | a linear layer with its adapter, forward and backward |
//! | [`dropout`] | which inputs of an adapter are dropped |
//! | [`layer`] | one decoder layer, forward and backward |
//! | [`head`] | logits and the fused linear cross-entropy |
//! | [`preference`] | the loss of pairs of answers |
//! | [`batch`] | the rows of one step, in shards |
//! | [`variables`] | the trained numbers as candle's variables |
//! | [`graph`] | the whole model as a candle graph of fused layers, for training on the CPU |
//! | [`composed`] | the same made of candle's own operations, for training on other devices |
//! | [`device`] | which device, and what is computed with there |
//! | [`infer`] | the whole model with a key/value cache, for generation and scoring |

pub mod attention;
pub mod batch;
pub mod composed;
pub mod device;
pub mod dropout;
pub mod graph;
pub mod head;
pub mod infer;
pub mod layer;
pub mod linear;
pub mod math;
mod ops;
pub mod params;
pub mod preference;
pub mod trained;
pub mod variables;

use std::sync::Arc;

use candle_core::Tensor;

use crate::error::Result;

/// A model being trained: [`graph::Graph`] or [`composed::Composed`].
pub trait Engine {
    /// The layout of the trained numbers.
    fn slots(&self) -> &params::Slots;
    /// The trained numbers as variables.
    fn trained(&self) -> &variables::Variables;
    /// Whether layers compute their forward pass again in the backward pass instead of keeping it.
    fn set_recompute(&mut self, recompute: bool);
    /// The scalar loss of `batch` with its graph, and the figures behind it. Call `backward` on the tensor.
    fn loss(&self, batch: &Arc<batch::Batch>) -> Result<(Tensor, head::Loss)>;
    /// The loss figures of `batch` with `params`, without a graph and without dropout.
    fn evaluate(&self, batch: &batch::Batch, params: &trained::Params) -> Result<head::Loss>;
}

/// Makes the allocator keep freed memory: a training step frees and takes the same buffers again, and faulting fresh
/// pages in costs more than the arithmetic on them. Affects speed only. Called once by processes that train.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only sets parameters of the C allocator and may be called at any time.
    #[allow(unsafe_code)]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives memory that is free, and that [`keep_freed_memory`] would keep, back to the system. Affects speed only.
pub fn return_freed_memory() {
    crate::kernels::room::clear();
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim only returns free pages of the C allocator and may be called at any time.
    #[allow(unsafe_code)]
    unsafe {
        libc::malloc_trim(0);
    }
}
