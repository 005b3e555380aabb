//! Runs real jobs: tries to escape, to pass limits, and to leave something behind.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod attacks;
mod escape;
mod hosts;
mod kills;
mod life;
mod limits;
mod refusals;
mod support;
mod tree;
mod workdir;
mod works;
