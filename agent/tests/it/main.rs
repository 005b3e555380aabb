//! Integration tests of the planner's models and its loop.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod dialogue;
mod endpoint;
mod fakes;
mod intake;
mod loop_ends;
mod prompt;
mod server;
mod spec;
