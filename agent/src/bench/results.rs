//! What a suite and its tasks came to.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tunesmith_evals::Task;
use tunesmith_harness::{
    event::{Event, JobRecord, Kind},
    grade::{Grade, metric_value},
    log,
    report::Cost,
    stats::{self, Tries},
    task::Outcome,
};

use crate::{
    commands::stop::CANCELLED,
    run::{Failure, Finished},
};

/// Share of cases in which an interval may miss.
pub(super) const ALPHA: f64 = 0.05;

/// What a suite came to, as `--json` prints it and `--baseline` reads it. What is not known is null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Results {
    pub suite: String,
    pub planner: String,
    /// Seed of the first run of each task.
    pub seed: u64,
    /// Seed of the rows.
    pub sealed_seed: u64,
    /// Whether every run of every task reached its threshold.
    pub met: bool,
    /// One entry per run: tasks in the suite's order, seeds rising.
    pub tasks: Vec<TaskResult>,
    pub total: Total,
    /// What several tries are worth; empty where each task was run once.
    pub pass: Vec<Pass>,
}

/// What one run of a task came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TaskResult {
    pub id: String,
    pub seed: u64,
    /// Null where there was no run.
    pub outcome: Option<Outcome>,
    pub why: String,
    pub metric: String,
    /// The least value of the metric that counts.
    pub goal: f64,
    pub base: Option<f64>,
    pub tuned: Option<f64>,
    /// 95 % interval of the tuned value.
    pub interval: Option<(f64, f64)>,
    /// Sealed rows.
    pub rows: Option<usize>,
    /// What a guess reaches: one over the number of labels, else always giving the most frequent answer.
    pub chance: Option<f64>,
    /// How far the run came from the base towards the goal: 0 at the base's value or below, 1 at the goal or above. Nothing
    /// handed in is 0; null where there was no run, or something else than its planner ended it.
    pub score: Option<f64>,
    /// 95 % interval of the score: that of the tuned value, with the base's value, on the same rows, taken as it is.
    pub score_interval: Option<(f64, f64)>,
    /// Tokens of the planner.
    pub tokens: Option<u64>,
    /// Dollars of the planner.
    pub usd: Option<f64>,
    /// What was wrong with calls of the planner and was mended, and how often.
    #[serde(default)]
    pub repairs: BTreeMap<String, u32>,
    pub seconds: f64,
    /// Processor seconds of all jobs.
    pub cpu_seconds: Option<f64>,
    pub run: Option<PathBuf>,
    /// A digit per sealed row: 1 where the tuned model is right on the headline metric.
    pub right: Option<String>,
    #[serde(skip)]
    pub exit: u8,
}

/// All runs together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Total {
    /// Runs at their threshold.
    pub met: usize,
    pub runs: usize,
    /// Their share.
    pub share: Option<f64>,
    /// Its 95 % Wilson interval.
    pub interval: Option<(f64, f64)>,
    /// Mean of the scores.
    pub score: Option<f64>,
    /// Its 95 % interval.
    pub score_interval: Option<(f64, f64)>,
    pub seconds: f64,
    pub tokens: Option<u64>,
    pub usd: Option<f64>,
}

/// The chance that a task is solved by at least one, and by each, of `k` tries, as a mean over tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Pass {
    pub k: usize,
    /// pass@k.
    pub any: Option<f64>,
    pub any_interval: Option<(f64, f64)>,
    /// pass^k.
    pub all: Option<f64>,
    pub all_interval: Option<(f64, f64)>,
}

impl TaskResult {
    pub(super) fn of(task: &Task, seed: u64, done: Result<Finished, Failure>, seconds: f64) -> Self {
        let none = TaskResult {
            id: task.id.clone(),
            seed,
            outcome: None,
            why: String::new(),
            metric: task.goal.metric.clone(),
            goal: task.goal.bound.value(),
            base: None,
            tuned: None,
            interval: None,
            rows: None,
            chance: None,
            score: None,
            score_interval: None,
            tokens: None,
            usd: None,
            repairs: BTreeMap::new(),
            seconds,
            cpu_seconds: None,
            run: None,
            right: None,
            exit: 0,
        };
        match done {
            Err(failure) => TaskResult { why: failure.message, exit: failure.exit, ..none },
            Ok(done) => {
                let (grade, cpu_seconds) = logged(&done.dir);
                let Cost { tokens, usd, .. } = done.report.cost;
                let repairs = done.report.repairs;
                let (outcome, exit) = (Some(done.outcome), done.outcome.exit_code());
                let (why, run) = (done.why, Some(done.dir));
                let ran = TaskResult { outcome, why, tokens, usd, repairs, cpu_seconds, run, exit, ..none };
                match grade {
                    Some(grade) => ran.graded(&grade),
                    None if done.outcome.is_of_planner() => {
                        TaskResult { score: Some(0.0), score_interval: Some((0.0, 0.0)), ..ran }
                    }
                    None => ran,
                }
            }
        }
    }

    fn graded(self, grade: &Grade) -> Self {
        // The base as if it had been handed in; nothing is gained on itself.
        let base = Grade { tuned: Some(grade.base.clone()), gain: None, ..grade.clone() };
        let tuned = metric_value(grade, &self.metric);
        let right = grade.items.iter().map(|(_, tuned)| tuned.map(|right| if right { '1' } else { '0' })).collect();
        // A gain is counted from the base, so the base's own is nothing.
        let start = metric_value(&base, &self.metric).or((self.metric == "gain").then_some(0.0));
        let interval = interval(grade, &self.metric);
        let of = |value: f64| start.map(|start| score(value, start, self.goal));
        TaskResult {
            base: metric_value(&base, &self.metric),
            tuned,
            interval,
            rows: Some(grade.base.n),
            chance: grade.baselines.chance.or(grade.baselines.majority),
            score: tuned.map_or(Some(0.0), of),
            score_interval: match tuned {
                Some(_) => interval.and_then(|(low, high)| Some((of(low)?, of(high)?))),
                None => Some((0.0, 0.0)),
            },
            right,
            ..self
        }
    }

    /// How it ended, in words.
    pub(super) fn ended(&self) -> String {
        self.outcome.map_or_else(|| "no run".to_owned(), |outcome| outcome.to_string())
    }
}

/// The share of the way from the base's value to the goal, as PostTrainBench counts it, but for the goal in the place of a
/// reference model. A base that is at the goal leaves no way: what is handed in is there or not.
pub(super) fn score(value: f64, start: f64, goal: f64) -> f64 {
    // The goal is held as the grader holds it.
    match goal - start {
        _ if value >= goal - 1e-12 => 1.0,
        way if way <= 0.0 => 0.0,
        way => ((value - start) / way).clamp(0.0, 1.0),
    }
}

/// The mean of the scores with its 95 % interval, which is built from theirs: G. Y. Zou and A. Donner, "Construction of
/// confidence limits about effect measures" (2008). No mean where a score is unknown, no interval where one of theirs is.
fn mean(tasks: &[TaskResult]) -> (Option<f64>, Option<(f64, f64)>) {
    let n = tasks.len() as f64;
    let Some(scores) = tasks.iter().map(|task| task.score).collect::<Option<Vec<f64>>>() else { return (None, None) };
    let mean = scores.iter().sum::<f64>() / n;
    let intervals = tasks.iter().map(|task| task.score_interval).collect::<Option<Vec<_>>>();
    let half = |distances: Vec<f64>| distances.iter().map(|d| d * d).sum::<f64>().sqrt() / n;
    let interval = intervals.map(|intervals| {
        let low = scores.iter().zip(&intervals).map(|(score, interval)| score - interval.0).collect();
        let high = scores.iter().zip(&intervals).map(|(score, interval)| interval.1 - score).collect();
        ((mean - half(low)).max(0.0), (mean + half(high)).min(1.0))
    });
    if tasks.is_empty() { (None, None) } else { (Some(mean), interval) }
}

/// The 95 % interval of a metric of the tuned model, where it has one.
fn interval(grade: &Grade, metric: &str) -> Option<(f64, f64)> {
    let tuned = grade.tuned.as_ref()?;
    let of_share = |share: f64| stats::wilson((share * tuned.n as f64).round() as usize, tuned.n);
    match metric {
        "accuracy" => Some(tuned.interval),
        "exact_match" => tuned.exact_match.map(of_share),
        // Judged are only the rows that gave an example.
        "well_formed" if grade.unusable.is_empty() => tuned.format_failures.map(|share| of_share(1.0 - share)),
        "gain" => grade.gain.as_ref().map(|gain| gain.interval),
        _ => None,
    }
}

/// The grade in a run's log, and the processor seconds of all jobs; a log that cannot be read tells neither.
fn logged(run: &Path) -> (Option<Grade>, Option<f64>) {
    let Ok(events) = log::read(&run.join("events.jsonl")) else { return (None, None) };
    let mut grade = None;
    let mut seconds = Some(0.0);
    let mut add = |jobs: &[JobRecord]| {
        jobs.iter().for_each(|job| seconds = seconds.zip(job.cpu_seconds).map(|(sum, more)| sum + more));
    };
    for Event { kind, .. } in events {
        match kind {
            Kind::Graded { grade: found, jobs } => {
                add(&jobs);
                grade = Some(*found);
            }
            Kind::Returned { jobs, .. } => add(&jobs),
            _ => {}
        }
    }
    (grade, seconds)
}

impl Results {
    /// The results of `tasks`, of which `asked` were to be run.
    pub(super) fn of(
        (suite, planner): (&str, &str),
        (seed, sealed_seed): (u64, u64),
        tasks: Vec<TaskResult>,
        asked: usize,
    ) -> Self {
        let met = tasks.iter().filter(|task| task.outcome == Some(Outcome::Met)).count();
        let runs = tasks.len();
        let (score, score_interval) = mean(&tasks);
        let total = Total {
            score,
            score_interval,
            met,
            runs,
            share: (runs > 0).then(|| met as f64 / runs as f64),
            interval: (runs > 0).then(|| stats::wilson(met, runs)),
            seconds: tasks.iter().map(|task| task.seconds).sum(),
            tokens: tasks.iter().map(|task| task.tokens).sum(),
            usd: tasks.iter().map(|task| task.usd).sum(),
        };
        let pass = passes(&tasks);
        let (suite, planner) = (suite.to_owned(), planner.to_owned());
        Results { suite, planner, seed, sealed_seed, met: met == asked, tasks, total, pass }
    }

    /// 0 if every task is at its threshold; else what the first one that is not ended as.
    pub(super) fn exit(&self, cancelled: bool) -> u8 {
        match self.tasks.iter().find(|task| task.exit != 0) {
            _ if cancelled => CANCELLED,
            _ if self.met => 0,
            Some(task) => task.exit,
            None => Outcome::NotMet.exit_code(),
        }
    }

    /// What was wrong with calls of the planner in all runs, and how often.
    pub(super) fn repairs(&self) -> BTreeMap<String, u32> {
        let mut all = BTreeMap::new();
        for (what, times) in self.tasks.iter().flat_map(|task| &task.repairs) {
            *all.entry(what.clone()).or_default() += times;
        }
        all
    }

    /// Whether tasks were run with more than one seed.
    pub(super) fn repeated(&self) -> bool {
        self.tasks.iter().any(|task| task.seed != self.seed)
    }
}

/// pass@k and pass^k for 1, 2, 4, ... tries up to all of them.
fn passes(tasks: &[TaskResult]) -> Vec<Pass> {
    let mut tries: Vec<(&str, usize, usize)> = Vec::new();
    for task in tasks {
        let right = usize::from(task.outcome == Some(Outcome::Met));
        match tries.last_mut().filter(|last| last.0 == task.id) {
            Some((_, n, sum)) => (*n, *sum) = (*n + 1, *sum + right),
            None => tries.push((&task.id, 1, right)),
        }
    }
    let tries: Vec<(usize, usize)> = tries.into_iter().map(|(_, n, right)| (n, right)).collect();
    // Where the suite was cut off, what all tasks have.
    let most = tries.iter().map(|(n, _)| *n).min().unwrap_or(0);
    if most < 2 {
        return Vec::new();
    }
    let mut all: Vec<usize> = std::iter::successors(Some(1), |k| Some(k * 2)).take_while(|k| *k < most).collect();
    all.push(most);
    let pass = |k| {
        let (any, every) = (Tries::Any(k).over(&tries, ALPHA), Tries::All(k).over(&tries, ALPHA));
        Pass {
            k,
            any: any.map(|(value, _)| value),
            any_interval: any.and_then(|(_, interval)| interval),
            all: every.map(|(value, _)| value),
            all_interval: every.and_then(|(_, interval)| interval),
        }
    };
    all.into_iter().map(pass).collect()
}
