//! Integration tests of the harness, one binary.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod eval_hostile;
mod eval_ports;
mod eval_prompts;
mod eval_python;
mod evaluation;
mod grade;
mod lm_eval_tasks;
mod report;
mod rows;
mod rows_stages;
mod rows_written;
mod scoring;
mod simulations;
mod stats;
