//! Many sequences in one pass, laid out as a tree: a beginning that several of them share is computed once.

use std::ops::Range;

use rayon::prelude::*;

use super::{Beside, Cache, Decoder};
use crate::{
    engine::layer::{Layer, Saved, Segment},
    error::Result,
};

/// New tokens of a sequence. They follow the first `start` tokens of the sequence before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run<'a> {
    /// Tokens that are shared with the sequence before.
    pub start: usize,
    /// The tokens after those.
    pub tokens: &'a [u32],
}

/// Where the tokens of one sequence are: the first ones in the stem, the others in rows of the pass.
#[derive(Clone, Debug, Default)]
struct Path {
    stem: usize,
    rows: Vec<Range<usize>>,
}

impl Path {
    /// Keeps the first `len` tokens.
    fn truncate(&mut self, len: usize) {
        let mut left = len.saturating_sub(self.stem);
        self.stem = self.stem.min(len);
        for range in &mut self.rows {
            range.end = range.end.min(range.start + left);
            left -= range.len();
        }
        self.rows.retain(|range| !range.is_empty());
    }
}

/// Some rows of a pass; parts are worked on side by side.
struct Part {
    /// Runs or pieces of them, with rows counted within the part.
    segments: Vec<Segment>,
    /// Where the tokens before the first segment are.
    before: Path,
    x: Vec<f32>,
    y: Vec<f32>,
    saved: Saved,
}

/// Parts for so many rows: enough to share among threads, none so small that a product is slow.
fn parts(rows: usize) -> usize {
    match rows {
        0..32 => 1,
        32..512 => 2,
        512..1024 => 4,
        _ => 8,
    }
}

impl Decoder {
    /// Takes `runs` through the model: the first goes on from `stem`, each other branches off the sequence of the run
    /// before it. Returns the hidden row of every token, `[tokens, hidden]`, before the last norm. `stem` then holds the
    /// first `keep` tokens of the last sequence. All bits are the same however sequences are cut into passes.
    pub fn branches(&self, stem: &mut Cache, runs: &[Run<'_>], keep: usize) -> Result<Vec<f32>> {
        self.costs(runs.iter().map(|run| (run.tokens, run.start)))?;
        stem.layers.resize_with(self.weights.layers.len(), Default::default);
        let (mut parts, mut kept) = self.lay_out(stem.len, runs);
        kept.truncate(keep);
        let none = Beside::default();
        for (index, weights) in self.weights.layers.iter().enumerate() {
            let Beside { slots, theta, norms } = self.adapters.get(index).unwrap_or(&none);
            let layer = Layer::new(&self.shape, index, weights, slots, theta, norms);
            parts.par_iter_mut().for_each(|part| layer.project((&part.x, &[]), &part.segments, &mut part.saved));
            let mut attended: Vec<Vec<f32>> =
                parts.iter_mut().map(|part| std::mem::take(part.saved.attended())).collect();
            let old = &stem.layers[index];
            let joined =
                attended.par_iter_mut().enumerate().map(|(i, out)| self.attend_part(index, i, &parts, old, out));
            joined.collect::<()>();
            let width = self.shape.heads(index).kv * self.shape.heads(index).dim;
            extend(&mut stem.layers[index], &kept, &parts, width);
            for (part, out) in parts.iter_mut().zip(attended) {
                *part.saved.attended() = out;
            }
            parts.par_iter_mut().for_each(|part| {
                layer.finish((&part.x, &[]), &mut part.y, &mut part.saved);
                std::mem::swap(&mut part.x, &mut part.y);
            });
        }
        stem.len = kept.stem + kept.rows.iter().map(Range::len).sum::<usize>();
        Ok(parts.into_iter().flat_map(|part| part.x).collect())
    }

    /// Cuts the rows of `runs` into parts. Returns them and where the tokens of the last sequence are.
    fn lay_out(&self, stem: usize, runs: &[Run<'_>]) -> (Vec<Part>, Path) {
        let rows: usize = runs.iter().map(|run| run.tokens.len()).sum();
        let size = rows.div_ceil(parts(rows)).max(1);
        let (mut all, mut path, mut row) = (Vec::<Part>::new(), Path { stem, rows: Vec::new() }, 0);
        for run in runs {
            path.truncate(run.start);
            let (mut rest, mut start) = (run.tokens, run.start);
            while !rest.is_empty() {
                if row % size == 0 {
                    all.push(Part::after(path.clone()));
                }
                let (now, later) = rest.split_at(rest.len().min(size - row % size));
                if let Some(part) = all.last_mut() {
                    part.segments.push(Segment { rows: row % size..row % size + now.len(), start });
                    let scale = self.config.embedding_scale();
                    self.weights.embed.gather(now, self.config.hidden_size, scale, &mut part.x);
                }
                path.rows.push(row..row + now.len());
                (rest, start, row) = (later, start + now.len(), row + now.len());
            }
        }
        for part in &mut all {
            part.y.resize(part.x.len(), 0.0);
        }
        (all, path)
    }

    /// Attention of the segments of part `index`: neighbours in the tree share most keys, which are laid out once.
    fn attend_part(&self, layer: usize, index: usize, parts: &[Part], stem: &(Vec<f32>, Vec<f32>), out: &mut [f32]) {
        let (part, heads) = (&parts[index], self.shape.heads(layer));
        let (width, mut p) = (heads.kv * heads.dim, Vec::new());
        let mut joined = (stem.0[..part.before.stem * width].to_vec(), stem.1[..part.before.stem * width].to_vec());
        extend(&mut joined, &part.before, parts, width);
        for segment in &part.segments {
            joined.0.truncate(segment.start * width);
            joined.1.truncate(segment.start * width);
            self.attend(layer, segment, &mut joined, part.saved.projected(), out, &mut p);
        }
    }
}

impl Part {
    fn after(before: Path) -> Self {
        Part { segments: Vec::new(), before, x: Vec::new(), y: Vec::new(), saved: Saved::default() }
    }
}

/// Turns the keys and values of the stem into those of `path`.
fn extend((keys, values): &mut (Vec<f32>, Vec<f32>), path: &Path, parts: &[Part], width: usize) {
    keys.truncate(path.stem * width);
    values.truncate(path.stem * width);
    // All parts but the last have the rows of the first.
    let size = parts.first().map_or(1, |part| part.segments.last().map_or(1, |last| last.rows.end));
    for range in &path.rows {
        let (_, k, v) = parts[range.start / size].saved.projected();
        let first = range.start % size;
        let part = first * width..(first + range.len()) * width;
        keys.extend_from_slice(&k[part.clone()]);
        values.extend_from_slice(&v[part]);
    }
}
