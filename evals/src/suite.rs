//! Suites and their tasks, read from the TOML files that the program carries.

use std::collections::BTreeSet;

use serde::Deserialize;
use tunesmith_harness::{grade, recipe::Row, task::Goal};

use crate::data::{self, Generator};

// `TASKS` and `ORACLES`: suite, name of the file without its ending, text. `build.rs` lists what is in `suites/`.
include!(concat!(env!("OUT_DIR"), "/suites.rs"));

/// A named list of tasks.
#[derive(Clone, Debug)]
pub struct Suite {
    /// The name.
    pub name: String,
    /// The tasks, in the order in which they run.
    pub tasks: Vec<Task>,
}

/// One task: a request in plain words, data, and what must be reached on rows that nobody has seen.
#[derive(Clone, Debug)]
pub struct Task {
    /// Short name, unique in its suite.
    pub id: String,
    /// What is asked for, as a user would type it.
    pub request: String,
    /// Where the rows come from.
    pub data: &'static Generator,
    /// How many rows the user's file has.
    pub count: usize,
    /// The least that counts as solved.
    pub goal: Goal,
    /// Wall-clock limit of one run, in minutes.
    pub minutes: f64,
    /// For people: why the task is there and how its threshold was set.
    pub notes: String,
}

impl Task {
    /// The rows of the user's file, distinct in their input. The same seed gives the same rows.
    pub fn rows(&self, seed: u64) -> Vec<Row> {
        self.data.rows(data::mix(seed, &self.id), self.count)
    }
}

/// Why there is no such suite.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SuiteError {
    /// No suite of that name.
    #[error("there is no suite {name:?}; the suites are: {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A task file that is not understood: not TOML, a missing field, a field that does not exist.
    #[error("{file}: {why}")]
    Malformed {
        /// The task file.
        file: String,
        /// What the reader says, on one line.
        why: String,
    },
    /// A generator that does not exist.
    #[error("{file}: there is no generator {name:?}; the generators are: {known}")]
    UnknownGenerator {
        /// The task file.
        file: String,
        /// What it asks for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A metric that the grader does not have.
    #[error("{file}: there is no metric {name:?}; the metrics are: {known}")]
    UnknownMetric {
        /// The task file.
        file: String,
        /// What it asks for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A number out of its range.
    #[error("{file}: {field} is {value}, but must be {range}")]
    OutOfRange {
        /// The task file.
        file: String,
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        range: String,
    },
    /// A task that is not called what its file is, by which its oracle is found.
    #[error("{file}: the id is {id:?}; it must be the file's name without its ending")]
    OtherId {
        /// The task file.
        file: String,
        /// The id.
        id: String,
    },
}

/// The names of all suites.
pub fn names() -> Vec<&'static str> {
    let names: BTreeSet<&str> = TASKS.iter().map(|(suite, ..)| *suite).collect();
    names.into_iter().collect()
}

/// The script of `suites/<suite>/oracle/<task>.jsonl`.
pub(crate) fn oracle(suite: &str, task: &str) -> Option<&'static str> {
    ORACLES.iter().find(|(s, t, _)| (*s, *t) == (suite, task)).map(|(.., script)| *script)
}

/// Reads a suite, with every task checked.
pub fn suite(name: &str) -> Result<Suite, SuiteError> {
    let mut tasks: Vec<Task> = Vec::new();
    for (_, stem, text) in TASKS.iter().filter(|(suite, ..)| *suite == name) {
        let file = format!("{stem}.toml");
        let task = read(&file, text)?;
        if task.id != *stem {
            return Err(SuiteError::OtherId { file, id: task.id });
        }
        tasks.push(task);
    }
    if tasks.is_empty() {
        return Err(SuiteError::Unknown { name: name.to_owned(), known: names().join(", ") });
    }
    Ok(Suite { name: name.to_owned(), tasks })
}

/// A task file as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: String,
    request: String,
    minutes: f64,
    #[serde(default)]
    notes: String,
    data: WrittenData,
    goal: WrittenGoal,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenData {
    generator: String,
    rows: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenGoal {
    metric: String,
    at_least: f64,
}

fn read(file: &str, text: &str) -> Result<Task, SuiteError> {
    let written: Written = toml::from_str(text).map_err(|error| SuiteError::Malformed {
        file: file.to_owned(),
        why: error.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
    })?;
    let data = data::generator(&written.data.generator).ok_or_else(|| SuiteError::UnknownGenerator {
        file: file.to_owned(),
        name: written.data.generator.clone(),
        known: data::names().join(", "),
    })?;
    let goal = Goal::at_least(written.goal.metric, written.goal.at_least);
    let shares = grade::METRICS.iter().map(|(name, _)| *name).filter(|name| !grade::less_is_better(name));
    let metrics: Vec<&str> = shares.collect();
    if !metrics.contains(&goal.metric.as_str()) {
        let known = metrics.join(", ");
        return Err(SuiteError::UnknownMetric { file: file.to_owned(), name: goal.metric, known });
    }
    let within = |field, value: f64, low: f64, high: f64| {
        if (low..=high).contains(&value) {
            return Ok(());
        }
        let range = format!("from {low} to {high}");
        Err(SuiteError::OutOfRange { file: file.to_owned(), field, value: value.to_string(), range })
    };
    within("data.rows", written.data.rows as f64, 1.0, data.most as f64)?;
    within("goal.at_least", goal.bound.value(), 0.0, 1.0)?;
    within("minutes", written.minutes, 0.1, 24.0 * 60.0)?;
    Ok(Task {
        id: written.id,
        request: written.request,
        data,
        count: written.data.rows,
        goal,
        minutes: written.minutes,
        notes: written.notes.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const GOOD: &str = r#"
id = "a"
request = "do it"
minutes = 1.0
data = { generator = "tickets", rows = 40 }
goal = { metric = "accuracy", at_least = 0.5 }
"#;

    fn message(text: &str) -> String {
        read("a.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn every_task_of_every_suite_gives_the_rows_it_promises() {
        for name in names() {
            for task in suite(name).unwrap().tasks {
                let rows = task.rows(11);
                assert_eq!(rows.len(), task.count, "{name}/{}", task.id);
                let inputs: BTreeSet<String> =
                    rows.iter().filter_map(|r| r.values().next().map(|v| v.to_string())).collect();
                assert_eq!(inputs.len(), task.count, "{name}/{}", task.id);
                assert_eq!(rows, task.rows(11));
                assert_ne!(rows, task.rows(12));
            }
        }
    }

    #[test]
    fn the_limits_of_the_quick_suite_add_up_to_less_than_five_minutes() {
        let minutes: f64 = suite("quick").unwrap().tasks.iter().map(|task| task.minutes).sum();
        assert!(minutes <= 4.9, "{minutes}");
    }

    #[test]
    fn an_unknown_suite_names_the_known_ones() {
        assert_eq!(suite("smok").unwrap_err().to_string(), r#"there is no suite "smok"; the suites are: quick, smoke"#);
    }

    #[test]
    fn a_wrong_task_file_says_what_is_wrong() {
        assert!(read("a.toml", GOOD).is_ok());
        let known = data::names().join(", ");
        assert_eq!(
            message(&GOOD.replace("tickets", "tickts")),
            format!(r#"a.toml: there is no generator "tickts"; the generators are: {known}"#)
        );
        assert!(message(&GOOD.replace("minutes", "minuts")).contains("unknown field `minuts`"));
        assert!(message(&GOOD.replace("rows", "row")).contains("unknown field `row`"));
        assert!(message(&GOOD.replace("request = \"do it\"", "")).contains("missing field `request`"));
        assert!(
            message(&GOOD.replace("\"accuracy\"", "\"beauty\"")).starts_with(r#"a.toml: there is no metric "beauty""#)
        );
        assert_eq!(message(&GOOD.replace("0.5", "50.0")), "a.toml: goal.at_least is 50, but must be from 0 to 1");
        assert!(message(&GOOD.replace("40", "0")).starts_with("a.toml: data.rows is 0, but must be from 1 to "));
        assert!(!message("id = [").contains('\n'));
    }
}
