//! Integration tests of the harness, one binary.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod grade;
mod report;
mod simulations;
mod stats;
