//! Eval tasks: benchmarks of questions for a model, compatible with lm-evaluation-harness (`lm-eval`).
//!
//! | module | answers |
//! |---|---|
//! | [`answer`] | in which order is a model asked |
//! | [`config`] | what does a task file say |
//! | [`figure`], [`render`] | what is a number worth, and how is it shown |
//! | [`journal`] | how do answers outlive a crash |
//! | [`request`] | what is a model asked, and what does it answer |
//! | [`task`] | which requests does a task with its rows make |
//! | [`functions`] | which of a task's Python functions have native ports |
//! | [`python`] | what does Python do with numbers, texts, values and patterns |
//!
//! The conventions are those of lm-eval 0.4; where a comment names a Python function, it is one of that package.

pub mod answer;
pub mod config;
mod fewshot;
pub mod figure;
pub mod functions;
mod generation;
pub mod journal;
mod prompt;
pub mod python;
pub mod render;
pub mod request;
pub mod task;
