//! Behaviour of the crate against golden files from real peers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod chat;
mod composed;
mod constrain;
mod engine;
mod events;
mod families;
mod faults;
mod formats;
mod generate;
mod gguf;
mod hostile;
mod memory;
mod methods;
mod peers;
mod quants;
mod resume;
mod rows;
mod steps;
mod text;
mod train;

/// Models with an adapter and what transformers and PEFT compute with them.
const MODELS: [&str; 8] = [
    "llama/tied",
    "llama/wide",
    "llama/shards",
    "families/llama3",
    "families/mistral",
    "families/qwen2",
    "families/qwen3",
    "families/gemma3",
];

/// A file beside the tests that real peers made.
fn golden(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Copies the files of a directory, not those of its directories.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
