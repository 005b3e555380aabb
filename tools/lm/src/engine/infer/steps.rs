//! Steps of generations: one token of each sequence.

use rayon::prelude::*;

use super::{Beside, Decoder, Fed};
use crate::engine::{
    attention,
    layer::{Layer, Saved, Segment},
};

impl Decoder {
    /// Feeds each sequence its one token. Threads share the products of all sequences, and their attention.
    pub(super) fn steps(&self, fed: &mut [Fed<'_>]) {
        let hidden = self.config.hidden_size;
        let (mut x, mut segments) = (Vec::new(), Vec::new());
        for (row, (token, cache, _)) in fed.iter().enumerate() {
            self.weights.embed.gather(token, hidden, self.config.embedding_scale(), &mut x);
            segments.push(Segment { rows: row..row + 1, start: cache.len });
        }
        let (mut y, mut scratch, none) = (vec![0.0; x.len()], Saved::default(), Beside::default());
        let layers = if fed.is_empty() { &[] } else { self.weights.layers.as_slice() };
        for (index, weights) in layers.iter().enumerate() {
            let Beside { slots, theta, norms } = self.adapters.get(index).unwrap_or(&none);
            let layer = Layer::new(&self.shape, index, weights, slots, theta, norms).for_steps();
            layer.project((&x, &[]), &segments, &mut scratch);
            let mut attended = std::mem::take(scratch.attended());
            self.attend_steps(index, fed, scratch.projected(), &mut attended);
            *scratch.attended() = attended;
            layer.finish((&x, &[]), &mut y, &mut scratch);
            std::mem::swap(&mut x, &mut y);
        }
        for ((_, cache, rows), x) in fed.iter_mut().zip(x.chunks_exact(hidden)) {
            cache.len += 1;
            rows.extend_from_slice(x);
        }
    }

    /// Appends each sequence's key and value to its cache and attends over all of it.
    fn attend_steps(&self, layer: usize, fed: &mut [Fed<'_>], (q, k, v): super::Projected<'_>, out: &mut [f32]) {
        let heads = self.shape.heads(layer);
        let (wide, narrow) = (heads.q * heads.dim, heads.kv * heads.dim);
        let one = |(i, ((_, cache, _), out)): (usize, (&mut Fed<'_>, &mut [f32]))| {
            let start = cache.len;
            let (keys, values) = &mut cache.layers[layer];
            keys.extend_from_slice(&k[i * narrow..][..narrow]);
            values.extend_from_slice(&v[i * narrow..][..narrow]);
            attention::step(heads, start, (&q[i * wide..][..wide], keys, values), out, &mut Vec::new());
        };
        match fed {
            [only] => one((0, (only, out))),
            _ => fed.par_iter_mut().zip(out.par_chunks_exact_mut(wide)).enumerate().for_each(one),
        }
    }
}
