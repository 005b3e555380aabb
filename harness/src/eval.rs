//! Eval tasks: benchmarks of questions for a model, compatible with lm-evaluation-harness (`lm-eval`).
//!
//! | module | answers |
//! |---|---|
//! | [`config`] | what does a task file say |
//! | [`task`] | which requests does a task with its rows make |
//! | [`functions`] | which of a task's Python functions have native ports |
//! | [`request`] | what is a model asked, and what does it answer |
//! | [`answer`] | in which order is a model asked |
//! | [`journal`] | how do answers outlive a crash |
//! | [`filters`] | which part of an answer counts |
//! | [`metrics`], [`process`] | what is an answer worth on one row |
//! | [`aggregate`] | what is a metric worth on all rows, and on all tasks of a group |
//! | [`refusal`] | why is a filter or metric not applied |
//! | [`figure`], [`render`] | what is a number worth, and how is it shown |
//! | [`python`] | what does Python do with numbers, texts, values and patterns |
//!
//! The conventions are those of lm-eval 0.4; where a comment names a Python function, it is one of that package.

pub mod aggregate;
pub mod answer;
pub mod config;
mod fewshot;
pub mod figure;
pub mod filters;
pub mod functions;
mod generation;
pub mod journal;
pub mod metrics;
pub mod process;
mod prompt;
pub mod python;
pub mod refusal;
pub mod render;
pub mod request;
mod settings;
pub mod task;
mod text;
