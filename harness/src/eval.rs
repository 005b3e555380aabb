//! Eval tasks: benchmarks of questions for a model, compatible with lm-evaluation-harness (`lm-eval`).
//!
//! | module | answers |
//! |---|---|
//! | [`yaml`], [`config`] | what does a task file say |
//! | [`registry`] | which tasks are there, and which does a name stand for |
//! | [`dataset`] | which rows does a task have |
//! | [`task`] | which requests does a task with its rows make |
//! | [`functions`] | which of a task's Python functions have native ports |
//! | [`request`] | what is a model asked, and what does it answer |
//! | [`answer`] | in which order is a model asked |
//! | [`journal`] | how do answers outlive a crash |
//! | [`filters`] | which part of an answer counts |
//! | [`metrics`], [`process`] | what is an answer worth on one row |
//! | [`aggregate`] | what is a metric worth on all rows, and on all tasks of a group |
//! | [`scored`], [`results`] | what did a task, and the whole evaluation, come to |
//! | [`refusal`] | why is a filter or metric not applied |
//! | [`figure`], [`render`] | what is a number worth, and how is it shown |
//! | [`evaluation`] | how does all that become files, also after a kill |
//! | [`python`] | what does Python do with numbers, texts, values and patterns |
//!
//! The conventions are those of lm-eval 0.4; where a comment names a Python function, it is one of that package.

pub mod aggregate;
pub mod answer;
pub mod config;
pub mod dataset;
pub mod evaluation;
mod fewshot;
pub mod figure;
pub mod filters;
pub mod functions;
mod generation;
pub mod journal;
pub mod metrics;
mod ports;
pub mod process;
mod prompt;
pub mod python;
pub mod refusal;
pub mod registry;
pub mod render;
pub mod request;
pub mod results;
pub mod scored;
mod settings;
pub mod task;
pub mod yaml;
