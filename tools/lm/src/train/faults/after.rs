//! What is looked for in the result: whether it stops, whether what is written is what was trained, and whether the rest
//! was forgotten.

use std::path::Path;

use rayon::prelude::*;

use super::{Fault, Finding, Stage::After};
use crate::{
    config::Config,
    corpus::{Doc, Generator},
    engine::{
        batch::{Batch, Sequence},
        graph::Graph,
        infer::{Cache, Decoder},
        params::Slots,
        trained::Params,
    },
    error::Result,
    lora::Adapter,
    matrix::Stored,
    tokens::Tokenizer,
    weights::Weights,
};

/// By how much log-likelihoods of what is trained and what is merged may differ.
pub const TOLERANCE: f32 = 1e-3;

/// Whether generations end by themselves: below half of them the model has not learned to stop.
pub fn ends((ended, tried): (usize, usize)) -> Option<Finding> {
    (ended * 2 < tried).then(|| {
        let what = format!("{ended} of {tried} generations ended by themselves");
        let advice = "train longer, and check that answers end with a trained token that stops";
        Finding::warning(Fault::NeverStops, After, what, advice)
    })
}

/// Compares the trained numbers `live` on `base` with the `merged` model, on one row that trains something.
pub fn merged(
    base: (&Config, &Weights),
    live: (&Slots, &Params),
    merged: (&Config, &Weights),
    row: &Sequence,
) -> Result<Vec<Finding>> {
    let (slots, params) = live;
    let own_head = slots.head || (slots.embed && !slots.tied);
    if own_head && (merged.0.tie_word_embeddings || merged.1.head.is_none()) {
        let what = "the output layer was trained on its own, but the merged model is tied to its embedding".to_owned();
        let advice = "merge with tie_word_embeddings set to false";
        return Ok(vec![Finding::error(Fault::HeadLost, After, what, advice)]);
    }
    let batch = Batch::new(&[row], |_| 1.0);
    let expected = Graph::new(base.0, base.1, slots.clone(), params)?.evaluate(&batch, params).log_p;
    let (got, before) = (likelihoods(merged, row)?, likelihoods(base, row)?);
    let difference = worst(&expected, &got);
    if difference <= TOLERANCE {
        let trained = worst(&got, &before) > 0.0;
        let none = || {
            let what = "what was trained changes no likelihood of the base".to_owned();
            Finding::warning(Fault::AdapterIgnored, After, what, "train longer or with a higher learning rate")
        };
        return Ok(if trained { Vec::new() } else { vec![none()] });
    }
    let stored = quantised(base.1).map_or(String::new(), |stored| format!(" (the base is stored as {stored:?})"));
    let what = format!("likelihoods of the merged model differ by {difference:.1e} from those of training{stored}");
    let advice = "merge into the numbers that were trained on: of a quantised base, the dequantised ones";
    Ok(vec![Finding::error(Fault::MergeDiffers, After, what, advice)])
}

/// Reads an adapter back from its files and compares it with what was trained.
pub fn adapter(dir: &Path, config: &Config, trained: &Adapter) -> Option<Finding> {
    let what = match Adapter::load(dir, config) {
        Ok(read) if read.tensors == trained.tensors && read.saved == trained.saved => return None,
        Ok(_) => "the adapter has other numbers in its files than in training".to_owned(),
        Err(error) => format!("the adapter cannot be read from its files ({error})"),
    };
    Some(Finding::error(Fault::AdapterIgnored, After, what, "write the adapter again"))
}

/// How much of what the base knew of general text, beyond chance, may be lost. Three adapters for one narrow task cost the
/// bundled base 4, 29 and 84 % of it, and random weights 99 %.
pub const FORGETTING: f64 = 0.95;

/// A fixed probe of general English text, of our own making.
pub struct General {
    rows: Vec<Sequence>,
    /// Loss of a model that knows nothing, in nats per token.
    chance: f64,
}

impl General {
    /// Documents and tokens of each: enough for a loss within a few per cent, at the price of one step.
    const SIZE: (usize, usize) = (8, 64);

    /// The probe in the tokens of a model.
    pub fn new(tokenizer: &Tokenizer, config: &Config) -> Result<Self> {
        let texts = Generator::new(20).filter_map(|doc| match doc {
            Doc::Plain(text) => Some(text),
            Doc::Chat(_) => None,
        });
        let length = Self::SIZE.1.min(config.max_position_embeddings);
        let row = |text: String| {
            let mut tokens = tokenizer.encode_with_offsets(&text, true)?.0;
            tokens.truncate(length);
            Ok(Sequence::from(tokens, 0))
        };
        let rows = texts.take(Self::SIZE.0).map(row).collect::<Result<_>>()?;
        Ok(General { rows, chance: (config.vocab_size.max(2) as f64).ln() })
    }

    /// Loss of a model on it, in nats per token. A token counts as chance at most: a model that is sure of something else
    /// knows no less than one that knows nothing.
    pub fn loss(&self, model: (&Config, &Weights)) -> Result<f64> {
        let decoder = Decoder::new(model.0, model.1);
        let losses: Result<Vec<Vec<f32>>> = self.rows.par_iter().map(|row| of_row(&decoder, row)).collect();
        let log_p = losses?.concat();
        Ok(log_p.iter().map(|p| f64::from(-p).min(self.chance)).sum::<f64>() / log_p.len().max(1) as f64)
    }

    /// Whether general text was forgotten, from its losses before and after training.
    pub fn forgetting(&self, before: f64, after: f64) -> Option<Finding> {
        forgetting((before, after), self.chance)
    }
}

/// Whether nearly all that a base knew beyond `chance` is lost, from the losses `before` and `after` training.
pub fn forgetting((before, after): (f64, f64), chance: f64) -> Option<Finding> {
    let fits = after - before <= FORGETTING * (chance - before).max(0.0);
    (!fits).then(|| {
        let what = format!(
            "the loss of general text rose from {before:.2} to {after:.2} nats per token, chance is {chance:.2}"
        );
        let advice = "take fewer epochs, a lower learning rate or rank, or mix general rows in";
        Finding::warning(Fault::Collapse, After, what, advice)
    })
}

/// How the matrices of a base are stored, where that is quantised.
fn quantised(weights: &Weights) -> Option<Stored> {
    let matrices = weights.layers.iter().flat_map(|layer| layer.linears());
    let stored = matrices.filter_map(|matrix| matrix.dtype());
    stored.into_iter().find(|stored| matches!(stored, Stored::Q8_0 | Stored::Q4K | Stored::Q6K))
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    let difference = |(a, b): (&f32, &f32)| if (a - b).is_finite() { (a - b).abs() } else { f32::INFINITY };
    let all = a.iter().zip(b).map(difference).fold(0.0, f32::max);
    if a.len() == b.len() { all } else { f32::INFINITY }
}

/// Log-likelihoods of the trained tokens of a row, as the decoder computes them that generates.
fn likelihoods((config, weights): (&Config, &Weights), row: &Sequence) -> Result<Vec<f32>> {
    of_row(&Decoder::new(config, weights), row)
}

fn of_row(decoder: &Decoder, row: &Sequence) -> Result<Vec<f32>> {
    let hidden = decoder.forward(&mut [(&row.tokens, &mut Cache::default())])?;
    let batch = Batch::new(&[row], |_| 1.0);
    let rows = hidden.first().map_or(&[][..], Vec::as_slice);
    Ok(decoder.head().cross_entropy(rows, &batch.targets, None).log_p)
}
