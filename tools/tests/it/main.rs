//! The tools on a small real base, with real workers in the real sandbox.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod count_lines;
mod data;
mod data_inspect;
mod external;
#[path = "../fake_hub/mod.rs"]
mod fake_hub;
mod fake_hub_python;
mod hub;
mod hub_publish;
mod make;
mod pipeline;
mod refusals;
mod support;
mod worker;
