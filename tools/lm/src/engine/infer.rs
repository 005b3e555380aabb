//! The whole model with a key/value cache: what generation and scoring run on.

mod branches;
mod steps;

use rayon::prelude::*;

pub use branches::Run;

use super::{
    attention,
    batch::{SHARDS, shards},
    head::Head,
    layer::{Layer, RowNorms, Saved, Segment, Shape, all_row_norms},
    math::RmsNorm,
    params::{LayerSlots, Method, Slots},
    trained::Params,
};
use crate::{
    config::Config,
    error::{Error, Result},
    lora::Adapter,
    weights::Weights,
};

/// A model ready to run forward only.
pub struct Decoder {
    config: Config,
    shape: Shape,
    weights: Weights,
    /// One for each layer, or none.
    adapters: Vec<Beside>,
}

/// An adapter beside the weights of a layer.
#[derive(Default)]
struct Beside {
    slots: LayerSlots,
    theta: Vec<f32>,
    norms: RowNorms,
}

/// Keys and values of one sequence so far: per layer, `[len, kv_heads · head_dim]` each.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    layers: Vec<(Vec<f32>, Vec<f32>)>,
    len: usize,
}

/// The next tokens of a sequence, its cache, and where its hidden rows go.
type Fed<'a> = (&'a [u32], &'a mut Cache, &'a mut Vec<f32>);

/// Queries, keys and values of all rows of a layer.
type Projected<'a> = (&'a [f32], &'a [f32], &'a [f32]);

/// Attention of one sequence in one layer: told the layer, the sequence and its rows, it fills the last slice.
type Attend<'a> = dyn FnMut(usize, usize, &Segment, Projected<'_>, &mut [f32]) + 'a;

impl Cache {
    /// Tokens that the cache holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all but the first `len` tokens.
    pub fn truncate(&mut self, len: usize) {
        let before = self.len.max(1);
        self.len = self.len.min(len);
        for part in self.layers.iter_mut().flat_map(|(keys, values)| [keys, values]) {
            part.truncate(part.len() / before * self.len);
        }
    }
}

impl Decoder {
    /// A decoder over `weights`, which are shared, not copied.
    pub fn new(config: &Config, weights: &Weights) -> Self {
        Decoder { config: config.clone(), shape: Shape::new(config), weights: weights.clone(), adapters: Vec::new() }
    }

    /// The same with `adapter` beside the weights, which stay as they are stored: to merge it decodes every one of them.
    pub fn with_adapter(config: &Config, weights: &Weights, adapter: &Adapter) -> Result<Self> {
        adapter.check(config)?;
        weights.check(config)?;
        if let Some(name) = adapter.overflowing(config)? {
            return Err(Error::Adapter(format!("{name} overflows")));
        }
        let (mut config, mut weights) = (config.clone(), weights.clone());
        adapter.untie(&mut config, &mut weights);
        let slots = Slots::new(&config, &Method::Lora(adapter.config.clone()))?;
        let params = Params::of_adapter(&slots, &config, &weights, adapter);
        let mut decoder = Self::new(&config, &params.weights(&slots, &weights));
        let layers = decoder.weights.layers.iter().zip(slots.layers).zip(params.layers);
        let beside = layers.map(|((weights, slots), theta)| {
            let norms = all_row_norms(&decoder.shape, weights, &slots, &theta);
            Beside { slots, theta, norms }
        });
        decoder.adapters = beside.collect();
        Ok(decoder)
    }

    /// The model's shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The last norm and output layer.
    pub fn head(&self) -> Head<'_> {
        let weight = self.weights.head.as_ref().unwrap_or(&self.weights.embed).into();
        Head { norm: &self.weights.norm, weight, vocab: self.config.vocab_size, rms: RmsNorm::new(&self.config) }
    }

    /// Feeds each sequence its next tokens and appends to its cache. Returns the hidden rows of each sequence,
    /// `[tokens, hidden]`, before the last norm. They have the same bits whatever sequences come along, and on any number of
    /// threads.
    pub fn forward(&self, sequences: &mut [(&[u32], &mut Cache)]) -> Result<Vec<Vec<f32>>> {
        // From a thread outside the pool each product of a step would be a message to it and back.
        rayon::scope(|_| self.forward_inside(sequences))
    }

    fn forward_inside(&self, sequences: &mut [(&[u32], &mut Cache)]) -> Result<Vec<Vec<f32>>> {
        let costs = self.costs(sequences.iter().map(|(tokens, cache)| (*tokens, cache.len)))?;
        let mut hidden = vec![Vec::new(); costs.len()];
        let (mut steps, mut texts): (Vec<Fed<'_>>, Vec<Fed<'_>>) = (Vec::new(), Vec::new());
        for ((tokens, cache), hidden) in sequences.iter_mut().zip(&mut hidden) {
            cache.layers.resize_with(self.weights.layers.len(), Default::default);
            match tokens.len() {
                0 => {}
                1 => steps.push((tokens, cache, hidden)),
                _ => texts.push((tokens, cache, hidden)),
            }
        }
        self.steps(&mut steps);
        if texts.len() < SHARDS {
            for (tokens, cache, hidden) in texts {
                let (start, end) = (cache.len, cache.len + tokens.len());
                *hidden = self.branches(cache, &[Run { start, tokens }], end)?;
            }
            return Ok(hidden);
        }
        let costs: Vec<usize> = texts.iter().map(|text| text.0.len()).collect();
        let mut rest = texts.as_mut_slice();
        let mut parts = Vec::new();
        for shard in shards(&costs) {
            let (part, tail) = rest.split_at_mut(shard.len());
            parts.push(part);
            rest = tail;
        }
        parts.into_par_iter().for_each(|part| self.texts(part));
        Ok(hidden)
    }

    /// The same for sequences that end here: many may go on from one cache, which stays as it is; one layer
    /// of it is copied at a time.
    pub fn forward_last(&self, sequences: &[(&[u32], &Cache)]) -> Result<Vec<Vec<f32>>> {
        let costs = self.costs(sequences.iter().map(|(tokens, cache)| (*tokens, cache.len)))?;
        let parts: Vec<&[(&[u32], &Cache)]> = shards(&costs).into_iter().map(|shard| &sequences[shard]).collect();
        Ok(parts.into_par_iter().map(|part| self.forward_last_shard(part)).collect::<Vec<_>>().concat())
    }

    /// Tokens of each sequence, which must fit and be known.
    fn costs<'a>(&self, sequences: impl Iterator<Item = (&'a [u32], usize)>) -> Result<Vec<usize>> {
        sequences
            .map(|(tokens, before)| {
                if before + tokens.len() > self.config.max_position_embeddings {
                    return Err(Error::Generate(format!(
                        "{} tokens do not fit the model's context of {}",
                        before + tokens.len(),
                        self.config.max_position_embeddings
                    )));
                }
                match tokens.iter().find(|t| **t as usize >= self.config.vocab_size) {
                    Some(token) => Err(Error::Generate(format!("token {token} is outside the vocabulary"))),
                    None => Ok(tokens.len()),
                }
            })
            .collect()
    }

    /// Sequences of several tokens each, on this thread.
    fn texts(&self, texts: &mut [Fed<'_>]) {
        let fed: Vec<(&[u32], usize)> = texts.iter().map(|(tokens, cache, _)| (*tokens, cache.len)).collect();
        let mut p = Vec::new();
        let rows = self.layers(&fed, &mut |layer, index, segment, qkv, out| {
            self.attend(layer, segment, &mut texts[index].1.layers[layer], qkv, out, &mut p);
        });
        for ((tokens, cache, hidden), rows) in texts.iter_mut().zip(rows) {
            cache.len += tokens.len();
            **hidden = rows;
        }
    }

    fn forward_last_shard(&self, sequences: &[(&[u32], &Cache)]) -> Vec<Vec<f32>> {
        let fed: Vec<(&[u32], usize)> = sequences.iter().map(|(tokens, cache)| (*tokens, cache.len)).collect();
        let (mut p, mut joined) = (Vec::new(), (Vec::new(), Vec::new()));
        self.layers(&fed, &mut |layer, index, segment, qkv, out| {
            joined.0.clear();
            joined.1.clear();
            if let Some((keys, values)) = sequences[index].1.layers.get(layer) {
                joined.0.extend_from_slice(keys);
                joined.1.extend_from_slice(values);
            }
            self.attend(layer, segment, &mut joined, qkv, out, &mut p);
        })
    }

    /// Takes the tokens of each sequence, with how many came before, through all layers. `attend` is told the layer and
    /// the sequence.
    fn layers(&self, fed: &[(&[u32], usize)], attend: &mut Attend<'_>) -> Vec<Vec<f32>> {
        let hidden = self.config.hidden_size;
        let (mut x, mut segments) = (Vec::new(), Vec::new());
        for (tokens, before) in fed {
            let first = x.len() / hidden;
            self.weights.embed.gather(tokens, hidden, self.config.embedding_scale(), &mut x);
            segments.push(Segment { rows: first..first + tokens.len(), start: *before });
        }
        let (mut y, mut scratch, none) = (vec![0.0; x.len()], Saved::default(), Beside::default());
        for (index, weights) in self.weights.layers.iter().enumerate() {
            let Beside { slots, theta, norms } = self.adapters.get(index).unwrap_or(&none);
            let layer = Layer::new(&self.shape, index, weights, slots, theta, norms);
            let mut attend = |q: &[f32], k: &[f32], v: &[f32], out: &mut [f32]| {
                for (i, segment) in segments.iter().enumerate() {
                    attend(index, i, segment, (q, k, v), out);
                }
            };
            layer.forward((&x, &[]), &segments, &mut y, &mut scratch, &mut attend);
            std::mem::swap(&mut x, &mut y);
        }
        segments.iter().map(|s| x[s.rows.start * hidden..s.rows.end * hidden].to_vec()).collect()
    }

    /// Appends the segment's keys and values to its cache and attends over all of it.
    fn attend(
        &self,
        layer: usize,
        Segment { rows, start }: &Segment,
        (keys, values): &mut (Vec<f32>, Vec<f32>),
        (q, k, v): Projected<'_>,
        out: &mut [f32],
        p: &mut Vec<f32>,
    ) {
        let heads = self.shape.heads(layer);
        let part = |width: usize| rows.start * width..rows.end * width;
        let (wide, narrow) = (part(heads.q * heads.dim), part(heads.kv * heads.dim));
        keys.extend_from_slice(&k[narrow.clone()]);
        values.extend_from_slice(&v[narrow]);
        let inputs = (&q[wide.clone()], keys.as_slice(), values.as_slice());
        attention::forward(heads, (rows.len(), *start), inputs, &mut out[wide], p);
    }
}
