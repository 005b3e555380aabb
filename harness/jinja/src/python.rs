//! What Python does with texts, values and patterns, where Rust differs.

pub mod repr;
pub mod strings;
