//! The event log, sealing, scoring, statistics and reports of a run.
//!
//! | module | answers |
//! |---|---|
//! | [`task`] | what is to be reached, and what did it end as |
//! | [`event`] | what happened |
//! | [`recipe`] | how does a row become a prompt and an answer |
//! | [`model`] | what must a model offer to be scored |
//! | [`score`] | how is a step judged |
//! | [`grade`] | how good is the result on rows nobody has seen |

pub mod event;
pub mod grade;
pub mod model;
pub mod recipe;
pub mod score;
pub mod task;
