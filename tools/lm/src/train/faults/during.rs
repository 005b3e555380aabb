//! What is looked for in the steps: numbers that are none, and a state that is not of one moment.

use std::ops::Range;

use super::{Fault, Finding, Stage::During};
use crate::engine::params::Slots;

/// The figures of a saved state that must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The step in the name of the file.
    pub file: usize,
    /// Steps of the report.
    pub report: usize,
    /// Last step of the curve of losses, and how many it has.
    pub curve: (usize, usize),
    /// Steps of the optimizer.
    pub optimizer: u64,
    /// Tokens that were trained, as the report says.
    pub trained: usize,
    /// Tokens of the rows that these steps take.
    pub expected: usize,
}

/// Whether a saved state is of one moment: then the run goes on as if it had never stopped.
pub fn position(p: &Position) -> Option<Finding> {
    let what = match p {
        _ if p.file != p.report => format!("the file is of step {} and its report of step {}", p.file, p.report),
        _ if p.curve != (p.report, p.report) => format!("{} losses for {} steps", p.curve.1, p.report),
        _ if p.optimizer != p.report as u64 => {
            format!("the optimizer has taken {} steps and the report {}", p.optimizer, p.report)
        }
        _ if p.trained != p.expected => {
            format!("{} tokens were trained where {} steps have {}", p.trained, p.report, p.expected)
        }
        _ => return None,
    };
    Some(Finding::error(Fault::StateLost, During, what, "remove the checkpoints and start anew"))
}

/// A step whose loss or gradient is not finite: its rows, and where it began.
pub(in crate::train) fn not_finite(
    (step, loss, norm): (usize, f64, f64),
    rows: &[usize],
    place: Option<String>,
    (slots, grads): (&Slots, &[Vec<f32>]),
) -> Finding {
    const SHOWN: usize = 8;
    let shown: Vec<String> = rows.iter().take(SHOWN).map(|row| (row + 1).to_string()).collect();
    let more = if rows.len() > SHOWN { ", ..." } else { "" };
    let place = match place {
        Some(layer) => format!(", first in the output of {layer}"),
        None => gradient(slots, grads).map(|name| format!(", first in the gradient of {name}")).unwrap_or_default(),
    };
    let what = format!(
        "loss or gradient is not finite at step {step} (loss {loss}, gradient norm {norm}) with rows {}{more}{place}",
        shown.join(", ")
    );
    Finding::error(Fault::NotFinite, During, what, "lower the learning rate, or check these rows and the base")
}

/// The first tensor in the order of the backward pass whose gradient is not finite.
fn gradient(slots: &Slots, grads: &[Vec<f32>]) -> Option<String> {
    let bad = |grad: &[f32]| grad.iter().any(|x| !x.is_finite());
    let outer = ["lm_head.weight", "embed_tokens.weight", "norm.weight"];
    let after = grads.iter().skip(slots.layers.len()).rev().zip(outer);
    if let Some((_, name)) = after.into_iter().find(|(grad, _)| bad(grad)) {
        return Some(name.to_owned());
    }
    let layers = slots.layers.iter().zip(grads).enumerate().rev();
    layers.into_iter().find(|(_, (_, grad))| bad(grad)).map(|(index, (slots, grad))| {
        let of = |(_, range): &(String, Range<usize>)| grad.get(range.clone()).is_some_and(bad);
        let name = slots.tensors().into_iter().rev().find(of).map_or_else(String::new, |(name, _)| format!(".{name}"));
        format!("layers.{index}{name}")
    })
}
