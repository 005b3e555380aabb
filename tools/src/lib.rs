//! The typed tools that a planner may call, and the worker that does their heavy part.
//!
//! | module | answers |
//! |---|---|
//! | [`tool`], [`registry`] | what is a tool, and which are there |
//! | [`plan`] … [`finish`] | one tool each, with the job that its worker does and the scores of its step |
//! | [`external`], [`foreign`] | a program of the user's as a tool, and what holds for every tool that is not ours |
//! | [`worker`] | how does heavy work run in a process of its own |
//! | [`pretraining`], [`grading`], [`data_overlap`], [`chat`] | the work that is no tool's |
//! | [`models`], [`encode`] | a model as the grader sees it, and texts as the model sees them |
//! | [`inputs`] | which files of rows are meant by a path |
//! | [`files`] | files that a job may have made, read with care |
//! | `claims` | what a step says of its files, held against the files |
//! | `memory` | how much is held, and how much reading hostile input may take |
//! | [`bases`] | which model is meant by a name |
//! | [`confined`] | did a job run under all that was declared |
//! | [`hub`] | what is on the Hub |

pub mod bases;
pub mod chat;
mod claims;
pub mod confined;
pub mod convert;
pub mod data_inspect;
pub mod data_make;
pub mod data_overlap;
pub mod data_prepare;
pub mod encode;
pub mod eval_tasks;
pub mod evaluate;
pub mod external;
pub mod files;
pub mod finish;
pub mod foreign;
pub mod generate;
pub mod grading;
pub mod hub;
pub mod hub_search;
pub mod inputs;
mod memory;
mod model_files;
pub mod models;
pub mod nano;
pub mod plan;
pub mod pretraining;
pub mod read_file;
pub mod registry;
pub mod shell;
pub mod tool;
pub mod train;
pub mod worker;

pub use registry::{Registry, all};
pub use worker::{Work, run_work, worker_main};
