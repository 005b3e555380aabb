//! Integration tests of the planner's models and its loop.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cli;
mod cli_bench;
mod cli_cheats;
mod cli_compare;
mod cli_eval;
mod cli_eval_kills;
mod cli_files;
mod cli_hand;
mod cli_hub;
mod cli_input;
mod cli_kills;
mod cli_make;
mod cli_overlap;
mod cli_prepare;
mod cli_resume;
mod cli_runs;
mod cli_sandbox;
mod cli_secrets;
mod cli_traces;
mod dialogue;
mod endpoint;
#[path = "../../../tools/tests/fake_hub/mod.rs"]
mod fake_hub;
mod fakes;
mod going_on;
mod intake;
mod lessons;
mod loop_ends;
mod opaque;
mod planned;
mod prompt;
mod scored;
mod server;
mod spec;
