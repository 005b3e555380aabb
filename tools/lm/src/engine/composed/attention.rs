//! Causal attention within each sequence of a batch. Sequences of about one length are worked on together, padded to the
//! longest of them, so that no score between two sequences is computed.

use std::{collections::BTreeMap, ops::Range};

use candle_core::{D, DType, Device, Result, Tensor};

use super::ops::{known, replay, times};
use crate::engine::{attention::Heads, batch::Batch};

/// Scores of one head that are computed at a time.
const SCORES: usize = 1 << 22;

/// Where the rows of a batch stand when its sequences are padded.
pub(super) struct Packing {
    /// The row at each padded place; any row where there is none.
    places: Tensor,
    /// The place of each row.
    rows: Tensor,
    /// 1 at places with a row, 0 at the others, `[places, 1]`; `None` where nothing is padded.
    real: Option<Tensor>,
    groups: Vec<Group>,
    /// What is added to the scores, by length and window.
    masks: BTreeMap<(usize, Option<usize>), Tensor>,
}

/// Sequences that are worked on together.
struct Group {
    /// Its first place.
    start: usize,
    sequences: usize,
    /// Places of each sequence.
    len: usize,
}

impl Packing {
    /// The packing of `batch` for layers with these windows.
    pub(super) fn new(batch: &Batch, windows: &[Option<usize>], (device, dtype): (&Device, DType)) -> Result<Self> {
        let (mut places, mut real) = (Vec::new(), Vec::new());
        let mut rows = vec![0u32; batch.tokens.len()];
        let (mut groups, mut masks) = (Vec::new(), BTreeMap::new());
        for sequences in grouped(&batch.sequences) {
            let group = Group { start: places.len(), sequences: sequences.len(), len: sequences[0].len() };
            for sequence in sequences {
                for i in 0..group.len {
                    let row = sequence.start + i.min(sequence.len() - 1);
                    if i < sequence.len() {
                        rows[row] = places.len() as u32;
                    }
                    places.push(row as u32);
                    real.push(f32::from(i < sequence.len()));
                }
            }
            for window in windows {
                let window = limiting(*window, group.len);
                if let std::collections::btree_map::Entry::Vacant(place) = masks.entry((group.len, window)) {
                    place.insert(mask(group.len, window, device)?);
                }
            }
            groups.push(group);
        }
        let padded = places.len() > rows.len();
        let real = padded.then(|| Tensor::from_vec(real, (places.len(), 1), device)?.to_dtype(dtype)).transpose()?;
        let (n, m) = (places.len(), rows.len());
        let (places, rows) = (Tensor::from_vec(places, n, device)?, Tensor::from_vec(rows, m, device)?);
        Ok(Packing { places, rows, real, groups, masks })
    }

    /// What each row of `q` `[rows, heads · dim]` reads from the rows of its sequence.
    pub(super) fn attend(&self, heads: Heads, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        let (q, k, v) = (self.pad(q)?, self.pad(k)?, self.pad(v)?);
        let mut parts = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let Some(mask) = self.masks.get(&(group.len, limiting(heads.window, group.len))) else {
                candle_core::bail!("no mask was made for a window of {:?}", heads.window)
            };
            let part = |x: &Tensor| x.narrow(0, group.start, group.sequences * group.len);
            let (mask, shape) = (mask.clone(), (group.sequences, group.len));
            parts.push(replay([Some(&part(&q)?), Some(&part(&k)?), Some(&part(&v)?)], move |inputs| match inputs {
                [Some(q), Some(k), Some(v)] => attention(heads, shape, (q, k, v), &mask),
                _ => candle_core::bail!("attention has three inputs"),
            })?);
        }
        self.unpad(&Tensor::cat(&parts, 0)?)
    }

    /// Rows to places. Each row has one place; what stands at the others has no gradient.
    fn pad(&self, x: &Tensor) -> Result<Tensor> {
        let (value, rows) = (x.detach().index_select(&self.places, 0)?, self.rows.clone());
        known([Some(x), None, None], value, move |dy| Ok([Some(dy.contiguous()?.index_select(&rows, 0)?), None, None]))
    }

    /// Places to rows.
    fn unpad(&self, y: &Tensor) -> Result<Tensor> {
        let (value, places) = (y.detach().index_select(&self.rows, 0)?, self.places.clone());
        let real = self.real.clone();
        known([Some(y), None, None], value, move |dy| {
            let dy = dy.contiguous()?.index_select(&places, 0)?;
            Ok([Some(real.as_ref().map_or(Ok(dy.clone()), |real| times(&dy, real))?), None, None])
        })
    }
}

/// Sequences in groups, the longest first in each, none shorter than half of it.
fn grouped(sequences: &[Range<usize>]) -> Vec<Vec<&Range<usize>>> {
    let mut order: Vec<_> = sequences.iter().filter(|sequence| !sequence.is_empty()).collect();
    order.sort_by_key(|sequence| std::cmp::Reverse(sequence.len()));
    let mut groups: Vec<Vec<&Range<usize>>> = Vec::new();
    for sequence in order {
        match groups.last_mut() {
            Some(group)
                if sequence.len() * 2 > group[0].len() && (group.len() + 1) * group[0].len().pow(2) <= SCORES =>
            {
                group.push(sequence);
            }
            _ => groups.push(vec![sequence]),
        }
    }
    groups
}

/// The window where it hides anything of so many positions.
fn limiting(window: Option<usize>, len: usize) -> Option<usize> {
    window.filter(|window| *window < len)
}

/// 0 where a position sees another, else −∞.
fn mask(len: usize, window: Option<usize>, device: &Device) -> Result<Tensor> {
    let seen = |i: usize, j: usize| j <= i && window.is_none_or(|window| i < j + window);
    let mask = (0..len).flat_map(|i| (0..len).map(move |j| if seen(i, j) { 0.0 } else { f32::NEG_INFINITY }));
    Tensor::from_vec(mask.collect(), (len, len), device)
}

/// Attention of sequences of one length; `q` is `[sequences · len, heads · dim]`. Scores and probabilities are f32.
fn attention(
    heads: Heads,
    (n, len): (usize, usize),
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    mask: &Tensor,
) -> Result<Tensor> {
    let Heads { kv, dim, .. } = heads;
    // The query heads of one key head stand below each other, so that keys and values need no copies.
    let each = heads.q / kv;
    let q = q.reshape((n, len, kv, each, dim))?.permute((0, 2, 3, 1, 4))?.contiguous()?;
    let q = q.reshape((n, kv, each * len, dim))?;
    let k = k.reshape((n, len, kv, dim))?.transpose(1, 2)?.contiguous()?;
    let v = v.reshape((n, len, kv, dim))?.transpose(1, 2)?.contiguous()?;
    let scores = q.matmul(&k.t()?)?.to_dtype(DType::F32)?.affine(f64::from(heads.scale), 0.0)?;
    let p = softmax(&scores.reshape((n, kv, each, len, len))?.broadcast_add(mask)?)?;
    let p = p.reshape((n, kv, each * len, len))?.to_dtype(v.dtype())?;
    let out = p.matmul(&v)?.reshape((n, kv, each, len, dim))?.permute((0, 3, 1, 2, 4))?;
    out.contiguous()?.reshape((n * len, heads.q * dim))
}

fn softmax(scores: &Tensor) -> Result<Tensor> {
    let e = scores.broadcast_sub(&scores.detach().max_keepdim(D::Minus1)?)?.exp()?;
    e.broadcast_div(&e.sum_keepdim(D::Minus1)?)
}
