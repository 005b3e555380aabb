//! The planner, its models and the command line; `main.rs` only starts them.
//!
//! | module | answers |
//! |---|---|
//! | [`model`] | how is a language model asked |
//! | [`prompt`] | what is it told before it starts |
//! | [`planner_loop`] | how does it plan a run |
//! | [`steps`] | how is a tool called, logged and judged, whoever plans |
//! | [`guards`] | does the planner get anywhere |
//! | [`show`] | what does it see of a step |

pub mod guards;
pub mod model;
pub mod planner_loop;
pub mod prompt;
pub mod show;
pub mod steps;
