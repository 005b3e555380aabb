//! What `tunesmith bench` is asked for, and the files that its results go to.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    path::{Path, PathBuf},
};

use tunesmith_harness::{redact::redacted, rows};

use crate::{
    commands::{
        numbers::positive,
        require::Require,
        run::{Sandboxes, capability},
        usage,
    },
    run::{self, Failure},
};

const EXAMPLE: &str = "\
Examples:
  tunesmith bench smoke --planner playbook --junit smoke.xml
  tunesmith bench quick --json > main.json
  tunesmith bench quick --sealed-seed 7 --baseline main.json --markdown quick.md --html quick.html

Rows are drawn anew for each call, so that no planner can know them; the seed that is printed draws the same rows again.
A baseline on the same rows (--sealed-seed of its file) is compared row by row, one on other rows by its shares alone,
which takes larger differences to tell apart. Exit code 3: a task is below its threshold, or worse than the baseline.
Planners: as for run, and three that check the tasks themselves: oracle must pass each, null and cheat must get nothing.
Score: how far a run came from the base (0) towards the goal (1).";

/// Run a suite of tasks; exit code 0 only if every task reaches its threshold
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// The suite, for example smoke
    pub(super) suite: String,
    /// Who plans: as for run, or oracle, null or cheat [default: playbook]
    #[arg(long, value_name = "SPEC")]
    pub(super) planner: Option<String>,
    /// Only this task; may be repeated [default: all]
    #[arg(long, value_name = "ID")]
    pub(super) only: Vec<String>,
    /// Model to start from: nano, a directory, a .gguf file or a Hub id [default: nano]
    #[arg(long, value_name = "MODEL")]
    pub(super) base: Option<String>,
    /// Allow network:HOST, for a base on the Hub; may be repeated
    #[arg(long = "allow", value_name = "CAPABILITY", value_parser = host)]
    pub(super) allow: Vec<String>,
    /// Seed of everything random in the runs
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) seed: u64,
    /// Runs of each task, with this seed and those that follow, on the same rows
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(super) seeds: u64,
    /// Seed of the rows [default: drawn, and printed]
    #[arg(long, value_name = "N")]
    pub(super) sealed_seed: Option<u64>,
    /// Wall-clock limit of each run [default: the task's]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(super) minutes: Option<f64>,
    /// Where the runs are kept
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub(super) out: PathBuf,
    /// Results of an earlier call, as --json printed them; exit code 3 if this one is clearly worse
    #[arg(long, value_name = "FILE")]
    pub(super) baseline: Option<PathBuf>,
    /// Write a JUnit XML report
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the scoreboard as Markdown, for a pull request
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write the scoreboard as one page with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Confinement of jobs
    #[arg(long, value_enum, default_value_t = Sandboxes::On)]
    pub(super) sandbox: Sandboxes,
    #[command(flatten)]
    pub(super) require: Require,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

fn host(text: &str) -> Result<String, String> {
    let allowed = text.starts_with("network:").then(|| capability(text).ok()).flatten();
    allowed.ok_or_else(|| "use network:HOST: a suite's runs do nothing else that needs your consent".into())
}

/// Where results are written, as absolute paths that were found writable before the suite is run.
pub(super) struct Outputs {
    pub junit: Option<PathBuf>,
    pub markdown: Option<PathBuf>,
    pub html: Option<PathBuf>,
}

impl Outputs {
    pub(super) fn of(args: &Args) -> Result<Self, Failure> {
        let place = |option, path: &Option<PathBuf>| path.as_deref().map(|path| writable(option, path)).transpose();
        Ok(Outputs {
            junit: place("--junit", &args.junit)?,
            markdown: place("--markdown", &args.markdown)?,
            html: place("--html", &args.html)?,
        })
    }
}

/// Writes what `text` says to `path`, where there is one, without secrets.
pub(crate) fn write(path: &Option<PathBuf>, text: impl FnOnce() -> String) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    tunesmith_harness::run::write_atomically(path, redacted(&text()).as_bytes()).map_err(|error| Failure::new(5, error))
}

/// Where a report goes, as an absolute path, found out before the work is done by making its directory and a file in it.
pub(crate) fn writable(option: &str, report: &Path) -> Result<PathBuf, Failure> {
    let wrong = |why: &str| usage(format!("{option} {}: {why}; name another file", report.display()));
    if let Some(what) = rows::not_a_file(report) {
        return Err(wrong(&format!("{what}, not a file")));
    }
    let path = std::path::absolute(report).map_err(|error| wrong(&error.to_string()))?;
    let dir = path.parent().unwrap_or(&path);
    let beside = std::fs::create_dir_all(dir).and_then(|()| tempfile::tempfile_in(dir));
    beside.map_err(|error| wrong(&format!("cannot be written: {}", run::plain(&error))))?;
    Ok(path)
}

/// A seed that nobody can know beforehand, small enough for every reader of JSON. The standard library's hash maps are
/// keyed by the system's randomness, which is all that is needed here.
pub(super) fn drawn() -> u64 {
    RandomState::new().build_hasher().finish() >> 11
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_seeds_differ_and_fit_in_json() {
        let seeds: Vec<u64> = (0..8).map(|_| drawn()).collect();
        assert!(seeds.iter().all(|seed| *seed < 1 << 53));
        assert!(seeds.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
