//! Notices when a planner gets nowhere: it talks instead of acting, goes in circles, cannot write a call, fails the same way
//! again, or measures candidates none of which is better.
//!
//! A guard looks at the unbroken streak that ends now, so that progress clears it. It is an event of the log; its first two
//! strikes are told to the planner, the third ends the run.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;
use tunesmith_harness::hash::sha256;

use crate::measured::Measurement;

/// The strike that ends a run.
pub const LAST: u32 = 3;

/// Times in a row that something must have happened before it counts as a circle, or as failing the same way.
const ROUNDS: usize = 3;
/// Longest circle of calls that is looked for.
const CYCLE: usize = 5;
/// Measurements in a row without a better one before they count as no progress.
const MEASURED: u32 = 6;

/// Tools whose result depends on their arguments and the run alone, so that calling one again brings nothing, however
/// different the speeds and memory in its output are. What else a planner calls may wait for something that changes.
const SAME_AGAIN: [&str; 7] = ["data_inspect", "plan", "data_prepare", "train", "evaluate", "generate", "convert"];

/// Watches a run.
#[derive(Default)]
pub struct Guards {
    talk: u32,
    malformed: u32,
    /// The last calls with what came of them, as hashes.
    calls: VecDeque<(String, String)>,
    /// Of each tool that fails: how it did last, and how often in a row.
    failing: BTreeMap<String, (String, u32)>,
    /// The best of the measurements that can be compared with the last one.
    best: Option<Measurement>,
    no_better: u32,
    turn: u32,
    /// Of each guard, the turn in which it fired last, and its count then.
    told: BTreeMap<&'static str, (u32, u32)>,
}

/// A guard that fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strike {
    /// The guard.
    pub guard: &'static str,
    /// How often in a row, from 1.
    pub count: u32,
    /// What it saw.
    pub why: String,
    /// What the planner is told.
    pub note: &'static str,
}

/// A call with what came of it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The tool.
    pub tool: &'a str,
    /// The arguments.
    pub args: &'a Value,
    /// Whether they did not fit.
    pub malformed: bool,
    /// The output, or the error in words.
    pub result: Result<&'a Value, &'a str>,
}

impl Guards {
    /// A reply begins. What a planner is told, it hears before the next one, so that a guard fires once in a reply.
    pub fn turn(&mut self) {
        self.turn += 1;
    }

    /// A turn without a call, with work still open.
    pub fn talked(&mut self) -> Strike {
        self.talk += 1;
        Strike {
            guard: "text_only",
            count: self.talk,
            why: format!("{} turns in a row without a call", self.talk),
            note: "That was text without a tool call, and the work is not finished. Call the next tool now, \
                   or call finish if everything asked for is done.",
        }
    }

    /// A call and its result. Of several guards the one that says most speaks.
    pub fn called(&mut self, seen: Seen<'_>) -> Option<Strike> {
        self.talk = 0;
        self.malformed = if seen.malformed { self.malformed + 1 } else { 0 };
        let (circle, failing, measured) = (self.circle(&seen), self.failing(&seen), self.measured(&seen));
        let malformed = (self.malformed >= 2).then(|| Strike {
            guard: "malformed_arguments",
            count: self.malformed - 1,
            why: format!("{} calls in a row with arguments that do not fit", self.malformed),
            note: "The arguments were wrong again. Send fewer of them: only the required ones, as plain JSON.",
        });
        circle.or(malformed).or(failing).or(measured).and_then(|strike| self.once(strike))
    }

    /// The strike, unless its guard has fired in this reply; its count goes up by one at most.
    fn once(&mut self, strike: Strike) -> Option<Strike> {
        let (turn, told) = self.told.get(strike.guard).copied().unwrap_or_default();
        if turn == self.turn && told > 0 {
            return None;
        }
        let count = strike.count.min(told + 1);
        self.told.insert(strike.guard, (self.turn, count));
        Some(Strike { count, ..strike })
    }

    /// The same call again, or the same two to five calls in turn.
    fn circle(&mut self, seen: &Seen<'_>) -> Option<Strike> {
        let result = match seen.result {
            Ok(_) if SAME_AGAIN.contains(&seen.tool) => "done".to_owned(),
            Ok(output) => output.to_string(),
            Err(error) => error.to_owned(),
        };
        let signature = sha256(format!("{}\0{}\0{result}", seen.tool, sorted(seen.args)).as_bytes());
        self.calls.push_back((seen.tool.to_owned(), signature));
        let most = CYCLE * (ROUNDS + LAST as usize - 1);
        self.calls.drain(..self.calls.len().saturating_sub(most));
        let (length, rounds, remainder) = (1..=CYCLE).find_map(|length| {
            let same = |at: &usize| self.calls[*at].1 == self.calls[*at + length].1;
            let matching = (0..self.calls.len().saturating_sub(length)).rev().take_while(same).count();
            let rounds = matching / length + 1;
            (rounds >= ROUNDS).then_some((length, rounds, matching % length))
        })?;
        // Told once a round, where the circle closes.
        if remainder != 0 {
            return None;
        }
        let names: Vec<&str> = self.calls.iter().rev().take(length).rev().map(|(tool, _)| tool.as_str()).collect();
        let what = match length {
            1 => format!("{} called {rounds} times in a row with the same arguments and result", names[0]),
            _ => format!("{} called in this order {rounds} times in a row with the same results", names.join(", ")),
        };
        Some(Strike {
            guard: "repetition",
            count: u32::try_from(rounds - ROUNDS + 1).unwrap_or(LAST),
            why: what,
            note: "You made the same calls with the same results again. Change something, or take another way.",
        })
    }

    /// A tool that fails in the same way, whatever it is given.
    fn failing(&mut self, seen: &Seen<'_>) -> Option<Strike> {
        let Err(error) = seen.result else {
            self.failing.remove(seen.tool);
            return None;
        };
        // Numbers and what is quoted differ from one try to the next.
        let mut way: String = error.chars().filter(|c| !c.is_ascii_digit()).collect();
        if let Some((before, _)) = way.split_once(['"', '`']) {
            way = before.to_owned();
        }
        let (last, times) = self.failing.entry(seen.tool.to_owned()).or_default();
        *times = if *last == way { *times + 1 } else { 1 };
        *last = way;
        let times = *times;
        (times >= ROUNDS as u32).then(|| Strike {
            guard: "failing",
            count: times - ROUNDS as u32 + 1,
            why: format!("{} failed {times} times in the same way", seen.tool),
            note: "It failed in the same way again. Read the error, and reach what you want in another way, or call finish \
                   and say what cannot be done.",
        })
    }

    /// Trained models measured one after the other, none better than the best.
    fn measured(&mut self, seen: &Seen<'_>) -> Option<Strike> {
        let measured = Measurement::of(seen.args, seen.result.ok().filter(|_| seen.tool == "evaluate")?)?;
        if self.best.as_ref().is_none_or(|best| measured.beats(best).unwrap_or(true)) {
            (self.best, self.no_better) = (Some(measured), 0);
            return None;
        }
        self.no_better += 1;
        (self.no_better >= MEASURED).then(|| Strike {
            guard: "no_progress",
            count: self.no_better - MEASURED + 1,
            why: format!("{} measurements in a row were no better than the best", self.no_better),
            note: "The last candidates were no better than the best one. Hand in the best with finish, or change something \
                   that the scores give a reason for.",
        })
    }
}

/// The same value with the keys of every object sorted, so that their order makes no difference.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Object(map) => {
            let sorted_map: BTreeMap<String, Value> =
                map.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            sorted_map.into_iter().collect()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests;
