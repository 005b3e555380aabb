//! Candidates: trained one after the other, each in answer to how the last one went.

use std::time::Instant;

use serde_json::json;
use tunesmith_harness::{
    grade::{less_is_better, shown},
    task::{Bound, Goal},
};
use tunesmith_tools::{evaluate, train};

use super::{
    Again, BASE_ROWS, CANDIDATE_ROWS, Playbook, Scouted, Stop,
    ladder::Recipe,
    react::{self, Course, Next, Settings},
};
use crate::planner_loop::End;

/// One trained candidate.
pub(super) struct Candidate {
    pub settings: Settings,
    pub trained: train::Output,
    pub measured: evaluate::Output,
}

impl Playbook<'_> {
    /// Trains candidates, each in answer to how the last one went, and keeps the best on validation rows.
    pub(super) async fn train_candidates(&mut self, scouted: &Scouted, recipe: &Recipe) -> Result<Candidate, Stop> {
        let mut best: Option<Candidate> = None;
        let limit = if recipe.rates.len() > 1 { CANDIDATE_ROWS } else { BASE_ROWS };
        let (mut history, mut settings) = (Vec::new(), recipe.first());
        let each = recipe.seconds / recipe.rates.len().max(1) as f64;
        loop {
            let course = match self.call("train", recipe.args(scouted.kind, &settings)).await {
                Ok(trained) => {
                    let candidate = self.measured(settings, trained, limit).await?;
                    let course = Course::of(&candidate.trained);
                    let enough = candidate.is_perfect() || self.meets_goals(&candidate);
                    if best.as_ref().is_none_or(|best| candidate.better_than(best)) {
                        best = Some(candidate);
                    }
                    if enough {
                        break;
                    }
                    course
                }
                // One bad learning rate does not spoil the others; the error is in the log.
                Err(Stop::End(End::Failed, why)) if why.contains("not finite") => Course::Diverged(None),
                Err(stop) => return Err(stop),
            };
            history.push((settings, course));
            // What did not work costs no place among the candidates that there is time for.
            let diverged = |(_, course): &&(Settings, Course)| matches!(course, Course::Diverged(_));
            let tried = history.len() - history.iter().filter(diverged).count().min(1);
            let (next, why) = match react::react(&history, &recipe.rates) {
                Next::Try(next, why) => (next, why),
                Next::Enough(why) => {
                    self.say(why)?;
                    break;
                }
            };
            if tried >= recipe.rates.len() || !self.observe("another candidate", |p| p.may_train_again(each))?.possible
            {
                break;
            }
            self.say(why)?;
            settings = next;
        }
        let Some(best) = best else {
            return Err(Stop::End(End::Failed, "training diverged at every learning rate that was tried".into()));
        };
        self.say(format!(
            "learning rate {:e} is kept: {} on {} validation rows",
            best.settings.learning_rate,
            shown(&best.measured.metric, best.measured.measured.value),
            best.measured.measured.n
        ))?;
        Ok(best)
    }

    /// A trained candidate with its score.
    async fn measured(&mut self, settings: Settings, trained: train::Output, limit: usize) -> Result<Candidate, Stop> {
        let args = json!({ "adapter": trained.adapter, "limit": limit });
        let measured: evaluate::Output = self.call("evaluate", args).await?;
        Ok(Candidate { settings, trained, measured })
    }

    /// Whether time is left for a candidate of so many seconds, and steps to train, measure, export and hand in.
    fn may_train_again(&self, seconds: f64) -> Again {
        const STEPS: u32 = 4;
        let used = self.budget.spent().steps;
        let steps_left = self.budget.caps().steps.is_none_or(|cap| cap.saturating_sub(used) >= STEPS);
        let now = Instant::now();
        let time_left = self.budget.left_for_steps(now).is_none_or(|left| left.as_secs_f64() >= seconds);
        Again { possible: steps_left && time_left && self.budget.exceeded(now).is_none() }
    }
}

impl Playbook<'_> {
    /// Whether every goal is one on the headline metric and holds on validation rows with its interval to spare: then
    /// another candidate would only cost time. Without goals more is always better.
    fn meets_goals(&self, candidate: &Candidate) -> bool {
        let metric = &candidate.measured.metric;
        let (low, high) = candidate.measured.measured.interval;
        let met = |goal: &Goal| {
            let met = match goal.bound {
                Bound::AtLeast(least) => low >= least,
                Bound::AtMost(most) => high <= most,
            };
            (goal.metric == *metric || goal.metric == "accuracy") && met
        };
        !self.task.goals.is_empty() && self.task.goals.iter().all(met)
    }
}

impl Candidate {
    /// Better score on validation rows; the lower validation loss breaks ties.
    fn better_than(&self, other: &Candidate) -> bool {
        let loss = |c: &Candidate| c.trained.valid_loss.unwrap_or(f64::INFINITY);
        let score = |c: &Candidate| match less_is_better(&c.measured.metric) {
            true => -c.measured.measured.value,
            false => c.measured.measured.value,
        };
        (score(self), -loss(self)) > (score(other), -loss(other))
    }

    /// Whether no score can be better.
    fn is_perfect(&self) -> bool {
        !less_is_better(&self.measured.metric) && self.measured.measured.value >= 1.0
    }
}
