//! The event log, sealing, scoring, statistics and reports of a run.
//!
//! | module | answers |
//! |---|---|
//! | [`task`] | what is to be reached, and what did it end as |
//! | [`event`] | what happened |
//! | [`recipe`] | how does a row become a prompt and an answer |
//! | [`eval`] | which questions does a benchmark ask, and how are the answers scored |
//! | [`model`] | what must a model offer to be scored |
//! | [`ask`] | how is a question put to some model |
//! | [`score`] | how is a step judged |
//! | [`grade`] | how good is the result on rows nobody has seen |
//! | [`baselines`], [`metrics`], [`stats`] | what is a number worth |
//! | [`compare`] | which of two results is better, or can nobody tell |
//! | [`diff`] | what differs between two runs |
//! | [`report`] | what does a run's log amount to, for people and programs |
//! | [`log`], [`run`] | where is that kept |
//! | [`rows`] | what is in the user's files, and how are rows changed and written |
//! | [`near`] | which rows repeat, or nearly repeat, another |
//! | [`seal`] | which rows nobody may see before the end |
//! | [`overlap`] | which of them, or of an eval set, stand in what was trained on |
//! | [`budget`] | how much may a run use |
//! | [`redact`] | which words are secrets, and are shown nowhere |
//! | [`hash`], [`text`], [`figures`] | how are bytes named, and texts and numbers shown |

pub mod ask;
pub mod baselines;
pub mod budget;
pub mod compare;
pub mod diff;
pub mod eval;
pub mod event;
pub mod figures;
pub mod grade;
pub mod hash;
pub mod log;
pub mod metrics;
pub mod model;
pub mod near;
pub mod overlap;
pub mod recipe;
pub mod redact;
pub mod report;
pub mod rows;
pub mod run;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod samples;
pub mod score;
pub mod seal;
pub mod stats;
mod svg;
pub mod task;
pub mod text;
