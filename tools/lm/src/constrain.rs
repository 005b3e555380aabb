//! Keeps what a model writes to a form: JSON that fits a schema, or text with calls of tools.
//!
//! A [`Grammar`] says of every byte whether it may come, so that tokens which split characters, or hold the end of one value and
//! the beginning of the next, are judged exactly. A [`Guide`] turns it into sets of tokens over the [`Vocabulary`]. There is
//! always a way to the end, and its length is known: where tokens run short, only what still ends in time may come.

mod alternatives;
mod calls;
mod grammar;
mod guide;
mod machine;
mod numbers;
mod schema;
mod strings;
mod vocabulary;

pub use calls::CallForm;
pub use grammar::Grammar;
pub use guide::{Guide, Mask};
pub use machine::State;
pub use vocabulary::Vocabulary;
