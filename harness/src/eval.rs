//! Eval tasks: benchmarks of questions for a model, compatible with lm-evaluation-harness (`lm-eval`).
//!
//! | module | answers |
//! |---|---|
//! | [`config`] | what does a task file say |
//! | [`request`] | what is a model asked, and what does it answer |
//!
//! The conventions are those of lm-eval 0.4; where a comment names a Python function, it is one of that package.

pub mod config;
pub mod registry;
pub mod request;
pub mod yaml;

