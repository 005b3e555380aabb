//! Which of the environment's variables are secrets, and the way out for what libraries log.

use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;
use tunesmith_harness::redact::{hide, redacted};

use crate::model::spec;

/// Variables that hold secrets, beside those of planners and those that end in `_API_KEY`.
const NAMES: [&str; 7] = [
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HUGGINGFACE_HUB_TOKEN",
    "GH_TOKEN",
    "GITHUB_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
];

/// Hides the values of all variables that hold secrets; what else is read as a secret is hidden where it is read.
pub fn hide_environment() {
    for (name, value) in std::env::vars_os() {
        if name.to_str().is_some_and(is_secret) {
            hide(&value.to_string_lossy());
        }
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    name.ends_with("_API_KEY") || NAMES.contains(&name.as_str()) || spec::keys().contains(&name.as_str())
}

/// Standard error for log lines, without secrets. A line arrives in one piece.
pub struct Quiet;

impl Write for Quiet {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(redacted(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl MakeWriter<'_> for Quiet {
    type Writer = Quiet;

    fn make_writer(&self) -> Quiet {
        Quiet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_hold_keys_are_known_by_their_names() {
        for name in ["HF_TOKEN", "OPENAI_API_KEY", "openai_api_key", "WANDB_API_KEY", "GITHUB_TOKEN"] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["PATH", "HOME", "PAD_TOKEN", "HF_TOKEN_PATH", "API_KEY_FILE", "TOKENIZERS_PARALLELISM"] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
