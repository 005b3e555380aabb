//! Eval tasks: benchmarks of questions for a model, compatible with lm-evaluation-harness (`lm-eval`).
//!
//! | module | answers |
//! |---|---|
//! | [`aggregate`] | what is a metric worth on all rows, and on all tasks of a group |
//! | [`answer`] | in which order is a model asked |
//! | [`config`] | what does a task file say |
//! | [`filters`] | which part of an answer counts |
//! | [`journal`] | how do answers outlive a crash |
//! | [`metrics`], [`process`] | what is an answer worth on one row |
//! | [`refusal`] | why is a filter or metric not applied |
//! | [`request`] | what is a model asked, and what does it answer |
//! | [`task`] | which requests does a task with its rows make |
//! | [`functions`] | which of a task's Python functions have native ports |
//! | [`python`] | what does Python do with numbers, texts, values and patterns |
//!
//! The conventions are those of lm-eval 0.4; where a comment names a Python function, it is one of that package.

pub mod aggregate;
pub mod answer;
pub mod config;
mod fewshot;
pub mod filters;
pub mod functions;
mod generation;
pub mod journal;
pub mod metrics;
pub mod process;
mod prompt;
pub mod python;
pub mod refusal;
pub mod request;
mod settings;
pub mod task;
