//! Which of the environment's variables are secrets, and the way out for what libraries log.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, Write},
    panic::{self, PanicHookInfo},
    path::Path,
};

use tracing_subscriber::fmt::MakeWriter;
use tunesmith_harness::redact::{hide, redacted, redacted_at_once};

use crate::model::spec;

/// Variables that hold secrets whatever their value looks like, beside those of planners.
const NAMES: [&str; 7] = [
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HUGGINGFACE_HUB_TOKEN",
    "GH_TOKEN",
    "GITHUB_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
];

/// What the names of other variables that hold secrets end in.
const ENDINGS: [&str; 4] = ["_TOKEN", "_SECRET", "_PASSWORD", "_KEY"];

/// Hides the values of all variables that hold secrets; what else is read as a secret is hidden where it is read.
pub fn hide_environment() {
    for (name, value) in std::env::vars_os() {
        let value = value.to_string_lossy();
        if name.to_str().is_some_and(|name| is_secret(name, &value)) {
            hide(&value);
        }
    }
}

fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let sure = name.ends_with("_API_KEY") || NAMES.contains(&name.as_str()) || spec::keys().contains(&name.as_str());
    let likely = ENDINGS.iter().any(|ending| name.ends_with(ending)) && !name.ends_with("_PUBLIC_KEY");
    sure || likely && !is_public(value)
}

/// Whether this is where a secret is kept, or one of a model's special tokens, as `<|endoftext|>`.
fn is_public(value: &str) -> bool {
    let value = value.trim();
    let relative = ["./", "../", "~/"].iter().any(|start| value.starts_with(start));
    // Base64 may begin with a slash, but names no file.
    let path = relative || value.starts_with('/') && value.split(':').all(|path| Path::new(path).exists());
    path || value.starts_with('<') && value.ends_with('>') || value.starts_with('[') && value.ends_with(']')
}

/// From now on panics are told on standard error without secrets.
pub fn redact_panics() {
    panic::set_hook(Box::new(|panic| {
        let trace = Backtrace::capture();
        let trace = match trace.status() {
            BacktraceStatus::Captured => format!("\n{trace}"),
            _ => String::new(),
        };
        // There is nobody left to hear that this cannot be written.
        let _ = writeln!(io::stderr(), "{}{trace}", told(panic));
    }));
}

fn told(panic: &PanicHookInfo<'_>) -> String {
    let message = panic.to_string();
    redacted_at_once(&message)
        .map_or_else(|| "panicked while a secret was noted".to_owned(), |clean| clean.into_owned())
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
        let value = "of-any-kind-12";
        for name in [
            "HF_TOKEN",
            "OPENAI_API_KEY",
            "openai_api_key",
            "WANDB_API_KEY",
            "GITHUB_TOKEN",
            "CI_JOB_TOKEN",
            "OAUTH_CLIENT_SECRET",
            "DB_PASSWORD",
            "db_password",
            "SIGNING_KEY",
        ] {
            assert!(is_secret(name, value), "{name}");
        }
        for name in [
            "PATH",
            "HOME",
            "HF_TOKEN_PATH",
            "API_KEY_FILE",
            "TOKENIZERS_PARALLELISM",
            "SIGNING_PUBLIC_KEY",
            "MONKEY",
            "SECRET_SANTA",
            "TOKEN_LIMIT",
        ] {
            assert!(!is_secret(name, value), "{name}");
        }
    }

    #[test]
    fn a_path_and_a_special_token_are_no_secrets_and_all_else_is() {
        for value in
            ["/usr/bin", "/usr/bin:/bin", "~/.ssh/id", "./key.pem", "../key.pem", "<|endoftext|>", "[PAD_OF_IT]"]
        {
            assert!(!is_secret("SOME_KEY", value) && is_secret("SOME_API_KEY", value), "{value}");
        }
        for value in ["/no/such+file/of8base64==", "correct horse battery", "<begins-only", "a/b/c/d/e/f"] {
            assert!(is_secret("SOME_KEY", value), "{value}");
        }
    }

    /// Set where this test is a process of its own, whose panic is looked at.
    const PANICS: &str = "TUNESMITH_TEST_SIGNING_KEY";

    #[test]
    fn a_panic_is_told_without_secrets() {
        let canary = "canary-of-a-panic-17";
        if std::env::var_os(PANICS).is_some() {
            hide_environment();
            redact_panics();
            panic!("opened with {canary}");
        }
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "secrets::tests::a_panic_is_told_without_secrets", "--nocapture"]);
        let output = again.env(PANICS, canary).env("RUST_BACKTRACE", "0").output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains("opened with [redacted]\n"), "{said}");
        assert!(said.contains("panicked at ") && !said.contains(canary), "{said}");
    }
}
