//! The planner, its models and the command line; `main.rs` only starts them.
//!
//! | module | answers |
//! |---|---|
//! | [`cli`], [`commands`] | what can be asked for on the command line |
//! | [`config`] | what has the user set for all runs |
//! | [`bench`] | how is a suite of tasks run |
//! | [`run`] | how does a run go from request to report |
//! | [`playbook`] | how does the embedded planner plan |
//! | [`model`] | how is a language model asked |
//! | [`prompt`] | what is it told before it starts |
//! | [`planner_loop`] | how does it plan a run |
//! | [`steps`] | how is a tool called, logged and judged, whoever plans |
//! | [`context`] | how much is it sent, and what leaves the conversation |
//! | [`ledger`] | where does the run stand |
//! | [`measured`] | which trained model is the best so far |
//! | [`approvals`] | who allows what |
//! | [`guards`] | does the planner get anywhere |
//! | [`show`] | what does it see of a step |
//! | [`read_output`] | how does it read what is too long to be shown whole |
//! | [`grading`] | who judges the result |
//! | [`hub`] | which Hub is meant |
//! | [`extensions`] | which tools has the user added |
//! | [`mcp`] | how do other agents call our tools, and planners those of others |
//! | [`secrets`] | what must nobody see |
//! | [`session`] | how does a person work with it in a dialogue |
//! | [`terminal`] | what does a person see |
//! | [`trace`] | how does a run become training data for a planner |

pub mod approvals;
pub mod bench;
pub mod cli;
pub mod commands;
pub mod config;
pub mod context;
pub mod extensions;
pub mod grading;
pub mod guards;
pub mod hub;
pub mod ledger;
pub mod mcp;
pub mod measured;
pub mod model;
pub mod planner_loop;
pub mod playbook;
pub mod prompt;
pub mod read_output;
pub mod run;
pub mod secrets;
pub mod session;
pub mod show;
pub mod steps;
pub mod terminal;
pub mod trace;
