//! Overlap: which rows that a model is judged by stand in what it is trained on.
//!
//! | | [`Evals`] | [`Search`] |
//! |---|---|---|
//! | asks | which eval rows stand in this training row, and how much of them | which sealed rows were brought in at all |
//! | for | users, who clean their data | the grader, who may be deceived |
//! | by | word n-grams | runs of characters, gathered over all rows |
//! | known by right | nothing | the rows that the run was given |

mod evals;
mod runs;
mod sealed;
mod tally;
mod words;

pub use evals::{Evals, Kind, Match};
pub use runs::texts;
pub use sealed::{Overlap, Search};
pub use tally::{Found, Place, Tally};
