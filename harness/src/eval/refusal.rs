//! Why a filter, a metric or an aggregation of a task is not applied.

use super::python::regex;

/// Scores that lm-eval would compute with means we do not have, or would not compute either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A name that is not among those ported.
    #[error("{what} `{name}` is not supported; leave it out of the task file or use one that is")]
    Unknown {
        /// A filter, a metric or an aggregation.
        what: &'static str,
        /// Its name in the task file.
        name: String,
    },
    /// A Python function where a name is needed.
    #[error("{what} `{name}` is a Python function that has no native port; use a built-in one")]
    Function {
        /// A filter, a metric or an aggregation.
        what: &'static str,
        /// The function.
        name: String,
    },
    /// A setting that is missing, of another type, or unknown.
    #[error("{what}: {problem}")]
    Setting {
        /// Where it stands: a filter or metric by name.
        what: String,
        /// What is wrong, and what it should be.
        problem: String,
    },
    /// Values that the filter or metric does not take; lm-eval fails on them, too.
    #[error("{0}")]
    Values(String),
}

impl From<regex::Error> for Refusal {
    fn from(why: regex::Error) -> Self {
        Self::Values(why.to_string())
    }
}

impl Refusal {
    pub(crate) fn setting(what: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Setting { what: what.into(), problem: problem.into() }
    }

    pub(crate) fn values(problem: impl Into<String>) -> Self {
        Self::Values(problem.into())
    }
}
