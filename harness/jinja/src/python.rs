//! What Python does with texts, values and patterns, where Rust differs.

pub mod regex;
pub mod repr;
pub mod strings;
