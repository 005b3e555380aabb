//! What is tried next after a candidate: a fixed table over what its training reported.
//!
//! | seen | tried next |
//! |---|---|
//! | the loss diverged, or numbers were not finite | a tenth of the rate, once; then nothing more |
//! | the validation loss rose from an early best | as many epochs as the best took and a fourth more, with weight decay and dropout, once |
//! | the same after that | nothing more: rows are missing, not steps |
//! | the best was the last step, and training and validation loss are alike | twice the rank and half as many epochs more, once |
//! | anything else | the ladder's next learning rate |
//!
//! One thing is changed at a time, each with the number that justifies it, and what was best is kept whatever comes after.

use serde::Serialize;
use tunesmith_lm::train::faults::Signal;
use tunesmith_tools::train;

use super::ladder::RANK;

/// How much of the rate is left after a divergence.
const CALMER: f64 = 0.1;
/// Weight decay, and share of an adapter's inputs that is dropped, after overfitting.
const DECAY: f64 = 0.1;
const DROPOUT: f64 = 0.1;
/// A best checkpoint in this part of the steps is an early one.
const EARLY: f64 = 0.5;
/// Validation loss over training loss up to which the model has learned nothing by heart.
const ALIKE: f64 = 1.1;

/// What a candidate is trained with, as far as candidates differ.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// Learning rate.
    pub learning_rate: f64,
    /// Most epochs.
    pub epochs: usize,
    /// LoRA's rank.
    pub r: usize,
    /// Weight decay.
    pub weight_decay: f64,
    /// Share of an adapter's inputs that is dropped.
    pub lora_dropout: f64,
}

/// How a training went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Course {
    /// The loss rose from the first number to the second; without numbers there were none that are finite.
    Diverged(Option<(f64, f64)>),
    /// The validation loss rose from its best, at this share of the steps, to its last.
    Overfitted {
        /// Best validation loss.
        best: f64,
        /// Last validation loss.
        last: f64,
        /// Share of the steps after which it was best.
        at: f64,
    },
    /// The best was the last step, and these last losses of training and validation are alike.
    Unfinished {
        /// Training loss.
        train: f64,
        /// Validation loss.
        valid: f64,
    },
    /// Nothing of that.
    Fine,
}

/// What is tried next, and why.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Another candidate.
    Try(Settings, String),
    /// No other one.
    Enough(String),
}

impl Course {
    /// Reads a training's report.
    pub fn of(trained: &train::Output) -> Course {
        let (taken, planned) = trained.steps;
        for signal in &trained.signals {
            match *signal {
                Signal::Diverging { start, last, .. } => return Course::Diverged(Some((start, last))),
                Signal::Overfitting { step, best_step, best, last } => {
                    let at = best_step as f64 / step.max(1) as f64;
                    if at <= EARLY {
                        return Course::Overfitted { best, last, at: at * taken as f64 / planned.max(1) as f64 };
                    }
                }
                Signal::Plateau { .. } => {}
            }
        }
        let tail = trained.curve.len().div_ceil(10).max(1).min(trained.curve.len());
        let train =
            trained.curve[trained.curve.len() - tail..].iter().map(|point| point.1).sum::<f64>() / tail.max(1) as f64;
        match (trained.best_step, trained.valid_loss) {
            (Some(best), Some(valid)) if best == planned && tail > 0 && valid <= train * ALIKE => {
                Course::Unfinished { train, valid }
            }
            _ => Course::Fine,
        }
    }
}

/// What is tried after `history`, of which the last is the newest; `rates` are those of the ladder.
pub fn react(history: &[(Settings, Course)], rates: &[f64]) -> Next {
    let Some((settings, course)) = history.last() else {
        return Next::Enough("nothing was trained".into());
    };
    let before = &history[..history.len() - 1];
    let again = |is: fn(&Course) -> bool| before.iter().any(|(_, course)| is(course));
    match *course {
        Course::Diverged(losses) => {
            let what = match losses {
                Some((start, last)) => format!("the training loss rose from {start:.3} to {last:.3}"),
                None => "the training's numbers were not finite".to_owned(),
            };
            let rate = settings.learning_rate;
            if again(|course| matches!(course, Course::Diverged(_))) {
                return Next::Enough(format!("{what} at learning rate {rate:e} too: another rate is no help"));
            }
            // Rounded: 2e-3 / 10 is written as 2e-4.
            let learning_rate = format!("{:.3e}", rate * CALMER).parse().unwrap_or(rate * CALMER);
            Next::Try(
                Settings { learning_rate, ..*settings },
                format!("{what} at learning rate {rate:e}: a tenth of it is tried"),
            )
        }
        Course::Overfitted { best, last, at } => {
            let what = format!("the validation loss rose from {best:.3} to {last:.3} while the training loss fell");
            if again(|course| matches!(course, Course::Overfitted { .. })) {
                return Next::Enough(format!("{what} again: more rows would help, more steps would not"));
            }
            let epochs = ((settings.epochs as f64 * at * 1.25).ceil() as usize).clamp(1, settings.epochs);
            Next::Try(
                Settings { epochs, weight_decay: DECAY, lora_dropout: DROPOUT, ..*settings },
                format!(
                    "{what}: {epochs} of {} epochs, a weight decay of {DECAY} and a dropout of {DROPOUT} are tried",
                    settings.epochs
                ),
            )
        }
        Course::Unfinished { train, valid } if settings.r == RANK => Next::Try(
            Settings { r: 2 * RANK, epochs: settings.epochs + settings.epochs.div_ceil(2), ..*settings },
            format!(
                "the last step was the best, with a training loss of {train:.3} and a validation loss of {valid:.3}: twice the \
                 rank and half as many epochs more are tried"
            ),
        ),
        Course::Unfinished { .. } | Course::Fine => {
            let tried = |rate: &&f64| history.iter().any(|(settings, _)| settings.learning_rate == **rate);
            let first = history[0].0;
            match rates.iter().find(|rate| !tried(rate)) {
                Some(rate) => Next::Try(
                    Settings { learning_rate: *rate, ..first },
                    format!("another learning rate is tried: {rate:e}"),
                ),
                None => Next::Enough("every learning rate of the ladder was tried".into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: [f64; 2] = [2e-3, 3e-3];

    fn settings(learning_rate: f64) -> Settings {
        Settings { learning_rate, epochs: 10, r: RANK, weight_decay: 0.0, lora_dropout: 0.0 }
    }

    fn next(history: &[(Settings, Course)]) -> (Option<Settings>, String) {
        match react(history, &RATES) {
            Next::Try(settings, why) => (Some(settings), why),
            Next::Enough(why) => (None, why),
        }
    }

    #[test]
    fn a_divergence_is_answered_with_a_tenth_of_the_rate_once() {
        let diverged = (settings(2e-3), Course::Diverged(Some((1.0, 4.5))));
        let (tried, why) = next(&[diverged]);
        assert_eq!(tried, Some(settings(2e-4)));
        assert_eq!(why, "the training loss rose from 1.000 to 4.500 at learning rate 2e-3: a tenth of it is tried");
        let (tried, why) = next(&[diverged, (settings(2e-4), Course::Diverged(None))]);
        assert_eq!(tried, None);
        assert!(why.starts_with("the training's numbers were not finite at learning rate 2e-4 too"), "{why}");
        // One that went well at the calmer rate leads on to the ladder.
        assert_eq!(next(&[diverged, (settings(2e-4), Course::Fine)]).0, Some(settings(3e-3)));
    }

    #[test]
    fn overfitting_is_answered_with_fewer_epochs_weight_decay_and_dropout_once() {
        let course = Course::Overfitted { best: 0.5, last: 0.8, at: 0.4 };
        let (tried, why) = next(&[(settings(2e-3), course)]);
        assert_eq!(tried, Some(Settings { epochs: 5, weight_decay: DECAY, lora_dropout: DROPOUT, ..settings(2e-3) }));
        assert!(why.starts_with("the validation loss rose from 0.500 to 0.800"), "{why}");
        let (tried, why) = next(&[(settings(2e-3), course), (settings(2e-3), course)]);
        assert_eq!(tried, None);
        assert!(why.ends_with("more rows would help, more steps would not"), "{why}");
    }

    #[test]
    fn underfitting_is_answered_with_more_rank_and_epochs_once() {
        let course = Course::Unfinished { train: 1.0, valid: 1.05 };
        let more = Settings { r: 2 * RANK, epochs: 15, ..settings(2e-3) };
        assert_eq!(next(&[(settings(2e-3), course)]).0, Some(more));
        assert_eq!(next(&[(settings(2e-3), course), (more, course)]).0, Some(settings(3e-3)));
    }

    #[test]
    fn what_went_well_leads_down_the_ladder_to_its_end() {
        let fine = |rate| (settings(rate), Course::Fine);
        assert_eq!(next(&[fine(2e-3)]).0, Some(settings(3e-3)));
        assert_eq!(next(&[fine(2e-3), fine(3e-3)]), (None, "every learning rate of the ladder was tried".into()));
    }

    #[test]
    fn reports_are_read_by_their_signals_and_curves() {
        let of = |signals: Vec<Signal>| {
            Course::of(&train::Output {
                steps: (80, 100),
                curve: vec![(1, 2.0), (2, 1.0)],
                best_step: Some(100),
                valid_loss: Some(1.05),
                signals,
                ..train::Output::default()
            })
        };
        assert_eq!(of(vec![]), Course::Unfinished { train: 1.0, valid: 1.05 });
        let diverging = Signal::Diverging { step: 9, start: 1.0, best: 0.5, last: 2.0 };
        assert_eq!(of(vec![diverging]), Course::Diverged(Some((1.0, 2.0))));
        let early = Signal::Overfitting { step: 80, best_step: 20, best: 0.5, last: 0.7 };
        assert_eq!(of(vec![early]), Course::Overfitted { best: 0.5, last: 0.7, at: 0.2 });
        let fine = train::Output { steps: (80, 100), best_step: Some(50), ..train::Output::default() };
        assert_eq!(Course::of(&fine), Course::Fine);
    }
}
