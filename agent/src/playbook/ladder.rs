//! How long to train: fixed rungs, of which the largest that fits the measured speed is taken.

use std::{fmt, time::Duration};

use serde::Serialize;
use serde_json::{Value, json};
use tunesmith_harness::task::JobKind;

use super::react::Settings;

/// Steps of the training that only shows that training works, and how fast.
pub const SMOKE_STEPS: usize = 4;
/// Learning rates for LoRA on small bases, the one that is most often best first.
pub const RATES: [f64; 3] = [2e-3, 3e-3, 1e-3];
/// The rate that is tried first where a training has fewer than [`FEW`] steps, which lower rates do not bring to an end.
const BRISK: f64 = 4e-3;
const FEW: usize = 300;
/// LoRA's rank, with an alpha of twice as much. On held-out training rows of three draws of ten banking77 intents, `nano`
/// reached 91.6 % on average with rank 16 (rate 2e-3), 93.0 % with rank 32 for a sixth more time, and 92.9 % with rank 64.
pub const RANK: usize = 32;
/// Rows per optimizer step.
const BATCH: usize = 16;
/// Raw text is trained in blocks of about so many tokens, in so many steps of an epoch where there are enough.
const BLOCK: usize = 512;
const STEPS: usize = 20;
/// Evaluations without improvement before training stops early.
const PATIENCE: usize = 5;

/// (candidates, epochs), the most thorough first.
const RUNGS: [(usize, usize); 13] =
    [(3, 20), (3, 15), (3, 10), (2, 15), (2, 10), (1, 15), (1, 10), (1, 8), (1, 6), (1, 4), (1, 3), (1, 2), (1, 1)];
/// The same for labels, which are learned sooner.
const RUNGS_OF_LABELS: [(usize, usize); 14] = [
    (2, 20),
    (2, 15),
    (2, 10),
    (2, 8),
    (2, 6),
    (2, 5),
    (1, 10),
    (2, 4),
    (1, 8),
    (1, 6),
    (1, 4),
    (1, 3),
    (1, 2),
    (1, 1),
];
/// Steps after which labels are learned, and epochs that are taken even where they have more. On 400 test rows of banking77 `nano`
/// reached 91.3 % after 5 epochs and 91.0 % after 10 for the ten most frequent intents, 95.3 % and 96.3 % for ten others.
const ENOUGH: (usize, usize) = (480, 4);
/// Steps where not even one epoch fits.
const SHORT: [usize; 8] = [800, 400, 200, 100, 50, 25, 12, 6];

/// Measured speeds, and what there is to do with them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Speed {
    /// Rows of one epoch.
    pub train_rows: usize,
    /// Their tokens, about.
    pub train_tokens: usize,
    /// Tokens that training works through in a second.
    pub tokens_per_second: f64,
    /// Seconds to score one row.
    pub row_seconds: f64,
    /// Validation rows.
    pub valid_rows: usize,
    /// Sealed rows.
    pub sealed_rows: usize,
}

impl Speed {
    /// Time to grade `models` models on the sealed rows, with a fifth to spare.
    pub fn grading(&self, models: usize) -> Duration {
        Duration::from_secs_f64(1.2 * self.row_seconds * (self.sealed_rows * models) as f64 + 2.0)
    }

    /// Time for candidates of so many epochs each: training, evaluating the loss after each epoch, and the score.
    pub fn training(&self, candidates: usize, epochs: f64) -> Duration {
        let tokens = self.train_tokens as f64 * epochs;
        let seconds = 1.25 * tokens / self.tokens_per_second.max(1.0) + self.valid_rows as f64 * self.row_seconds + 1.0;
        Duration::from_secs_f64(seconds * candidates as f64)
    }
}

/// What is trained.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recipe {
    /// One candidate for each learning rate.
    pub rates: Vec<f64>,
    /// Most epochs of each.
    pub epochs: usize,
    /// Most optimizer steps of each, where less than an epoch fits.
    pub max_steps: Option<usize>,
    /// Rows, or blocks of raw text, of a step.
    pub batch_size: usize,
    /// Expected seconds of all of it.
    pub seconds: f64,
}

/// The largest rung that fits `time`; `None` when none does.
pub fn choose(kind: JobKind, speed: &Speed, time: Option<Duration>) -> Option<Recipe> {
    let fits = |needed: Duration| time.is_none_or(|time| needed <= time);
    // Long free texts are dear and gain little from a second learning rate.
    let free = matches!(kind, JobKind::Generation | JobKind::Pretraining);
    let most = if free && speed.train_tokens > 1_000_000 { 1 } else { RATES.len() };
    let (batch_size, steps) = batches(kind, speed);
    let recipe = |candidates: usize, epochs: usize, max_steps: Option<usize>, needed: Duration| Recipe {
        rates: rates(candidates, max_steps.unwrap_or(epochs * steps)),
        epochs,
        max_steps,
        batch_size,
        seconds: needed.as_secs_f64(),
    };
    let (rungs, enough) = match kind {
        JobKind::Classification => (&RUNGS_OF_LABELS[..], (ENOUGH.0 / steps.max(1)).max(ENOUGH.1)),
        _ => (&RUNGS[..], usize::MAX),
    };
    for (candidates, epochs) in rungs.iter().copied().filter(|rung| rung.0 <= most && rung.1 <= enough) {
        let needed = speed.training(candidates, epochs as f64);
        if fits(needed) {
            return Some(recipe(candidates, epochs, None, needed));
        }
    }
    SHORT.into_iter().find_map(|short| {
        let epochs = match kind {
            JobKind::Pretraining => short as f64 / steps.max(1) as f64,
            _ => (short * BATCH) as f64 / speed.train_rows.max(1) as f64,
        };
        let needed = speed.training(1, epochs);
        (epochs <= 1.0 && fits(needed)).then(|| recipe(1, 1, Some(short), needed))
    })
}

/// Rows of a step, and steps of an epoch. Raw text comes in few long blocks: a step of as many as there are rows in others
/// would leave a short text with hardly a step.
fn batches(kind: JobKind, speed: &Speed) -> (usize, usize) {
    match kind {
        JobKind::Pretraining => {
            let blocks = speed.train_tokens.div_ceil(BLOCK);
            let batch_size = (blocks / STEPS).clamp(1, BATCH);
            (batch_size, blocks.div_ceil(batch_size))
        }
        _ => (BATCH, speed.train_rows.div_ceil(BATCH)),
    }
}

/// The learning rates of so many candidates that train for at most `steps` steps each.
fn rates(candidates: usize, steps: usize) -> Vec<f64> {
    let first = (steps < FEW).then_some(BRISK);
    first.into_iter().chain(RATES).take(candidates).collect()
}

impl Recipe {
    /// The first candidate.
    pub fn first(&self) -> Settings {
        let learning_rate = self.rates.first().copied().unwrap_or(RATES[0]);
        Settings { learning_rate, epochs: self.epochs, r: RANK, weight_decay: 0.0, lora_dropout: 0.0 }
    }

    /// The arguments of `train` for one candidate.
    pub fn args(&self, kind: JobKind, settings: &Settings) -> Value {
        let mut args = json!({
            "learning_rate": settings.learning_rate,
            "epochs": settings.epochs,
            "batch_size": self.batch_size,
            "r": settings.r,
            "lora_alpha": 2 * settings.r,
            "weight_decay": settings.weight_decay,
            "lora_dropout": settings.lora_dropout,
            "warmup": 0.06,
            "patience": PATIENCE,
            "select": if kind == JobKind::Pretraining { "loss" } else { "exact" },
            "weighting": if kind == JobKind::Classification { "row" } else { "token" },
        });
        if let Some(steps) = self.max_steps {
            args["max_steps"] = json!(steps);
        }
        args
    }
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rates: Vec<String> = self.rates.iter().map(|rate| format!("{rate:e}")).collect();
        write!(f, "LoRA r {RANK} on all linear layers, learning rate {}", rates.join(", "))?;
        match self.max_steps {
            Some(steps) => write!(f, ", {steps} steps")?,
            None => write!(f, ", up to {} epochs with early stopping", self.epochs)?,
        }
        write!(f, ", about {:.0} s", self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speed(train_rows: usize, tokens_per_second: f64) -> Speed {
        let train_tokens = train_rows * 25;
        Speed {
            train_rows,
            train_tokens,
            tokens_per_second,
            row_seconds: 0.01,
            valid_rows: train_rows / 10,
            sealed_rows: 300,
        }
    }

    fn chosen(kind: JobKind, speed: &Speed, seconds: u64) -> Option<(usize, usize, Option<usize>)> {
        let recipe = choose(kind, speed, Some(Duration::from_secs(seconds)))?;
        Some((recipe.rates.len(), recipe.epochs, recipe.max_steps))
    }

    #[test]
    fn less_time_means_a_lower_rung_and_too_little_means_none() {
        let speed = speed(1_000, 5_000.0);
        rungs_fit(JobKind::Extraction, &speed, (3, 20, None));
        rungs_fit(JobKind::Classification, &speed, (2, 6, None));
    }

    /// The first of these times is enough for `most`, the last for nothing.
    fn rungs_fit(kind: JobKind, speed: &Speed, most: (usize, usize, Option<usize>)) {
        let rungs: Vec<_> = [600, 300, 100, 40, 8, 4, 1].map(|s| chosen(kind, speed, s)).into();
        assert_eq!((rungs[0], rungs[6]), (Some(most), None));
        let size =
            |rung: &Option<(usize, usize, Option<usize>)>| rung.map_or(0, |(n, e, s)| s.unwrap_or(1_000 * n * e));
        assert!(rungs.windows(2).all(|pair| size(&pair[0]) >= size(&pair[1])), "{rungs:?}");
        for (rung, seconds) in rungs.iter().zip([600.0, 300.0, 100.0, 40.0, 8.0, 4.0, 1.0]) {
            let needed = rung.map(|(n, e, s)| speed.training(n, s.map_or(e as f64, |s| (s * BATCH) as f64 / 1_000.0)));
            assert!(needed.is_none_or(|needed| needed.as_secs_f64() <= seconds));
        }
    }

    #[test]
    fn labels_are_trained_until_they_are_learned() {
        let of = |rows| chosen(JobKind::Classification, &speed(rows, 5_000.0), 100_000);
        assert_eq!([of(200), of(1_268), of(10_000)], [Some((2, 20, None)), Some((2, 6, None)), Some((2, 4, None))]);
    }

    #[test]
    fn few_steps_are_taken_at_a_higher_rate() {
        let rates = |rows, seconds| {
            let recipe = choose(JobKind::Extraction, &speed(rows, 5_000.0), Some(Duration::from_secs(seconds)));
            recipe.map(|recipe| (recipe.epochs, recipe.rates))
        };
        assert_eq!(rates(240, 34), Some((10, vec![4e-3, 2e-3])));
        assert_eq!(rates(1_000, 70), Some((10, vec![2e-3])));
    }

    #[test]
    fn short_texts_have_steps_enough() {
        let of = |rows| choose(JobKind::Pretraining, &speed(rows, 5_000.0), None).map(|recipe| recipe.batch_size);
        assert_eq!((of(200), of(2_000), of(20_000)), (Some(1), Some(4), Some(16)));
    }

    #[test]
    fn without_a_limit_the_most_thorough_rung_is_taken() {
        let recipe = choose(JobKind::Extraction, &speed(1_000, 5_000.0), None).unwrap();
        assert_eq!((recipe.rates.len(), recipe.epochs, recipe.max_steps), (3, 20, None));
    }
}
