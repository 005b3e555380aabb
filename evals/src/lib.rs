//! Benchmark suites as data: task files, the makers of their rows, and scripted agents that check the tasks themselves.
//!
//! | module | answers |
//! |---|---|
//! | [`suite`] | which tasks does a suite hold |
//! | [`data`] | where do a task's rows come from |
//! | [`agents`] | what must pass a task, and what must not |
//! | [`cheats`] | who must gain nothing |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod agents;
pub mod cheats;
pub mod data;
pub mod suite;

pub use suite::{Suite, SuiteError, Task, suite};
