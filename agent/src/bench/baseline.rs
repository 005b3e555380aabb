//! Whether a suite went worse than a stored result, beyond noise.

use std::path::Path;

use serde::Serialize;
use tunesmith_harness::{
    figures::{p_value, percent},
    stats::{benjamini_hochberg, mcnemar},
};

use super::results::{ALPHA, Results};
use crate::{
    commands::{text, usage},
    run::Failure,
};

/// The stored results of this suite.
pub(super) fn read(file: &Path, suite: &str) -> Result<Results, Failure> {
    let wrong = |why: String| {
        let advice = format!("name a file that `tunesmith bench {suite} --json` printed");
        usage(format!("--baseline {}: {why}; {advice}", file.display()))
    };
    let results: Results = serde_json::from_str(&text(file)?).map_err(|error| wrong(error.to_string()))?;
    if results.suite != suite {
        return Err(wrong(format!("it holds results of the suite {:?}", results.suite)));
    }
    Ok(results)
}

/// The tasks beside their stored results.
pub(super) struct Compared {
    pub tasks: Vec<Row>,
}

/// One task beside its stored result: shares of sealed rows that the tuned model got right.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    pub id: String,
    pub stored: Option<f64>,
    pub now: Option<f64>,
    /// Whether both were scored on the same rows.
    pub same_rows: bool,
    /// Two-sided, adjusted for all tasks (Benjamini-Hochberg).
    pub p_value: Option<f64>,
    pub verdict: Verdict,
}

/// What a comparison says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Better,
    Worse,
    /// The difference is within noise.
    CannotTell,
    /// There was a model, and now there is none.
    Missing,
    /// Nothing is stored to compare with.
    New,
}

impl Compared {
    pub(super) fn of(now: &Results, stored: &Results) -> Self {
        let same_seed = now.sealed_seed == stored.sealed_seed;
        let mut ids: Vec<&str> = now.tasks.iter().map(|task| task.id.as_str()).collect();
        ids.dedup();
        let mut tasks: Vec<Row> = ids.into_iter().map(|id| beside(id, (now, stored), same_seed)).collect();
        let adjusted = benjamini_hochberg(&tasks.iter().map(|row| row.p_value).collect::<Vec<_>>());
        for (row, p) in tasks.iter_mut().zip(adjusted) {
            row.p_value = p;
            if let (Some(stored), Some(now), Some(p)) = (row.stored, row.now, p) {
                row.verdict = match () {
                    () if p >= ALPHA => Verdict::CannotTell,
                    () if now < stored => Verdict::Worse,
                    () => Verdict::Better,
                };
            }
        }
        Compared { tasks }
    }

    /// Whether any task is worse.
    pub(super) fn worse(&self) -> bool {
        self.tasks.iter().any(|row| matches!(row.verdict, Verdict::Worse | Verdict::Missing))
    }

    /// A line per task that there is something to say of.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.tasks.iter().filter_map(Row::line).collect();
        let told = self.tasks.iter().filter(|row| row.verdict == Verdict::CannotTell).count();
        if told > 0 {
            lines.push(format!("within noise of the baseline: {told} of {} tasks", self.tasks.len()));
        }
        lines
    }
}

impl Row {
    /// The verdict in words; a difference within noise is only counted.
    pub(super) fn line(&self) -> Option<String> {
        let share = |value: Option<f64>| value.map_or_else(|| "no result".to_owned(), percent);
        let (stored, now) = (share(self.stored), share(self.now));
        let word = match self.verdict {
            Verdict::CannotTell => return None,
            Verdict::New => return Some(format!("{}: the baseline has no result to compare with", self.id)),
            Verdict::Missing => {
                return Some(format!("{}: worse than the baseline, {stored} then and no result now", self.id));
            }
            Verdict::Worse => "worse",
            Verdict::Better => "better",
        };
        let rows = if self.same_rows { "the same rows" } else { "other rows" };
        let p = self.p_value.map_or_else(String::new, |p| format!(", {}", p_value(p)));
        Some(format!("{}: {word} than the baseline, {stored} then and {now} now ({rows}{p})", self.id))
    }
}

/// How often each row was answered rightly, over all runs of a task; `None` where no run has rows, or they differ.
fn shares(results: &Results, id: &str) -> Option<Vec<f64>> {
    let runs: Vec<&str> = results.tasks.iter().filter(|t| t.id == id).filter_map(|t| t.right.as_deref()).collect();
    let rows = runs.first()?.len();
    if rows == 0 || runs.iter().any(|run| run.len() != rows) {
        return None;
    }
    let share = |at: usize| runs.iter().filter(|run| run.as_bytes()[at] == b'1').count() as f64 / runs.len() as f64;
    Some((0..rows).map(share).collect())
}

fn beside(id: &str, (now, stored): (&Results, &Results), same_seed: bool) -> Row {
    let mean = |shares: &Vec<f64>| shares.iter().sum::<f64>() / shares.len() as f64;
    let (new, old) = (shares(now, id), shares(stored, id));
    let (now, stored) = (new.as_ref().map(mean), old.as_ref().map(mean));
    let row = Row { id: id.to_owned(), stored, now, same_rows: false, p_value: None, verdict: Verdict::New };
    match (old, new) {
        (Some(old), Some(new)) => {
            let same_rows = same_seed && old.len() == new.len();
            let p = if same_rows { paired(&old, &new) } else { unpaired(&old, &new) };
            Row { same_rows, p_value: Some(p), verdict: Verdict::CannotTell, ..row }
        }
        (Some(_), None) => Row { verdict: Verdict::Missing, ..row },
        (None, _) => row,
    }
}

/// The exact sign test over rows, which is McNemar's where each side was run once.
fn paired(old: &[f64], new: &[f64]) -> f64 {
    let count = |more: fn(f64, f64) -> bool| old.iter().zip(new).filter(|(old, new)| more(**old, **new)).count();
    mcnemar(count(|old, new| old > new), count(|old, new| old < new))
}

/// Fisher's exact test of two shares of different rows, two-sided: the probability of all tables with the same sums that
/// are no more probable than this one. A row counts once, however often it was run.
///
/// R. A. Fisher, "Statistical methods for research workers" (1934), section 21.02.
fn unpaired(old: &[f64], new: &[f64]) -> f64 {
    let right = |rows: &[f64]| rows.iter().sum::<f64>().round() as usize;
    let (n, m, seen) = (old.len(), new.len(), right(old));
    let total = seen + right(new);
    let probability = |k: usize| (ln_choose(n, k) + ln_choose(m, total - k) - ln_choose(n + m, total)).exp();
    // Tables that are as probable as this one may differ from it by rounding.
    let most = probability(seen) * (1.0 + 1e-9);
    let tables = total.saturating_sub(m)..=total.min(n);
    tables.map(probability).filter(|p| *p <= most).sum::<f64>().min(1.0)
}

fn ln_choose(n: usize, k: usize) -> f64 {
    (1..=k).map(|i| ((n - k + i) as f64 / i as f64).ln()).sum()
}
