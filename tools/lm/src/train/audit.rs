//! The gradient audit of the first steps: every trained tensor must be reached. A graph that is cut somewhere still has
//! a falling loss, so the loss does not show it.

use serde::{Deserialize, Serialize};

use super::faults::{Fault, Finding, Stage};
use crate::{
    engine::params::Slots,
    error::{Error, Result},
};

/// What the audit found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Trained tensors whose gradient was finite and not zero.
    pub reached: usize,
    /// Trained tensors in all; those that were not reached were not due yet, for want of steps.
    pub tensors: usize,
}

impl Audit {
    /// Checks the gradients of `step` (from 1): in the first step every tensor but A, whose gradient is zero while B is;
    /// A in the first step after B has moved, which a warm-up that begins at zero puts off to the third.
    pub fn check(&mut self, step: Step, slots: &Slots, grads: &[Vec<f32>]) -> Result<()> {
        let layers = slots.layers.len();
        // Where the loss has nothing to say, as of pairs that are told apart beyond doubt, no tensor hears of it.
        let silent = grads.iter().flatten().all(|g| *g == 0.0);
        let outer = grads.iter().enumerate().skip(layers).filter(|(_, g)| !g.is_empty());
        let outer = outer.map(|(i, g)| (format!("variable {i}"), 0..g.len(), g));
        let inner = grads.iter().zip(&slots.layers).enumerate().flat_map(|(i, (g, slots))| {
            slots.tensors().into_iter().map(move |(name, range)| (format!("layers.{i}.{name}"), range, g))
        });
        for (name, range, grad) in inner.chain(outer) {
            self.tensors += usize::from(step.number == 1);
            let due = if name.ends_with("lora_A.weight") { step.first_moved } else { step.number == 1 };
            let compares = ["q_proj", "k_proj", "q_norm", "k_norm"].iter().any(|part| name.contains(part));
            if !due || silent || compares && !step.attends {
                continue;
            }
            let norm: f64 = grad[range].iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            if norm == 0.0 || !norm.is_finite() {
                return Err(cut(format!("the gradient of {name} is {norm} at step {}", step.number)));
            }
            self.reached += 1;
        }
        Ok(())
    }
}

/// A gradient that does not arrive.
pub(super) fn cut(what: String) -> Error {
    Finding::error(Fault::GradientCut, Stage::During, what, "train tensors that the loss depends on").into()
}

/// Which step is audited.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Its number, from 1.
    pub number: usize,
    /// Whether the step before was the first one that changed the parameters.
    pub first_moved: bool,
    /// Whether a token is predicted from two positions at least: over one, queries and keys decide nothing.
    pub attends: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::params::{LayerSlots, LoraSlot};

    const FIRST: Step = Step { number: 1, first_moved: false, attends: true };
    const MOVED: Step = Step { number: 2, first_moved: true, attends: true };

    fn slots(layers: usize) -> Slots {
        let mut slots = LayerSlots { len: 4, ..LayerSlots::default() };
        slots.linears[0].lora = Some(LoraSlot { a: 0..2, b: 2..4, magnitude: None, r: 1, scaling: 1.0 });
        Slots { layers: vec![slots; layers], ..Slots::default() }
    }

    #[test]
    fn a_tensor_without_gradient_is_named() {
        let mut audit = Audit::default();
        audit.check(FIRST, &slots(2), &[vec![0.0, 0.0, 1.0, 0.0], vec![0.0, 0.0, 0.0, 0.0]]).unwrap_err();
        let error = Audit::default().check(FIRST, &slots(1), &[vec![1.0, 1.0, 0.0, 0.0]]).unwrap_err().to_string();
        assert_eq!(
            error,
            "training: gradient_cut: the gradient of layers.0.self_attn.q_proj.lora_B.weight is 0 at step 1; train tensors \
             that the loss depends on"
        );
    }

    #[test]
    fn a_may_be_zero_in_the_first_step_but_not_in_the_second() {
        let mut audit = Audit::default();
        audit.check(FIRST, &slots(1), &[vec![0.0, 0.0, 1.0, 1.0]]).unwrap();
        assert!(audit.check(MOVED, &slots(1), &[vec![0.0, 0.0, 1.0, 1.0]]).is_err());
        let mut audit = Audit::default();
        audit.check(FIRST, &slots(1), &[vec![0.0, 0.0, 1.0, 1.0]]).unwrap();
        assert_eq!(audit, Audit { reached: 1, tensors: 2 });
        audit.check(MOVED, &slots(1), &[vec![1.0, 0.0, 1.0, 1.0]]).unwrap();
        assert_eq!(audit, Audit { reached: 2, tensors: 2 });
    }

    #[test]
    fn nothing_is_due_where_the_loss_says_nothing_or_nothing_is_attended_to() {
        let mut audit = Audit::default();
        audit.check(FIRST, &slots(1), &[vec![0.0; 4]]).unwrap();
        let grads = [vec![0.0, 0.0, 0.0, 0.0], vec![1.0]];
        audit.check(Step { attends: false, ..FIRST }, &slots(1), &grads).unwrap();
        assert_eq!(audit.reached, 1);
        assert!(audit.check(FIRST, &slots(1), &grads).is_err());
    }

    #[test]
    fn a_gradient_that_is_not_finite_is_named() {
        let error = Audit::default().check(FIRST, &slots(1), &[vec![0.0, 0.0, f32::NAN, 0.0]]).unwrap_err().to_string();
        assert!(error.contains("lora_B.weight is NaN"), "{error}");
    }
}
