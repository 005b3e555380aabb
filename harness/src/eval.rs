//! Eval tasks: benchmarks of questions for a model, compatible with lm-evaluation-harness (`lm-eval`).
//!
//! | module | answers |
//! |---|---|
//! | [`config`] | what does a task file say |
//! | [`request`] | what is a model asked, and what does it answer |
//! | [`filters`] | which part of an answer counts |
//! | [`process`], [`metrics`] | what is it worth on one row |
//! | [`aggregate`] | what is it worth on all rows, and on all tasks of a group |
//! | [`refusal`] | why not |
//!
//! The conventions are those of lm-eval 0.4; where a comment names a Python function, it is one of that package.

pub mod aggregate;
pub mod config;
pub mod filters;
pub mod metrics;
pub mod process;
pub mod python;
pub mod refusal;
pub mod request;
mod settings;
mod text;
