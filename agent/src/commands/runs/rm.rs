//! `tunesmith runs rm`: removes runs, after showing them.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp};
use tunesmith_harness::{
    figures::{bytes, counted},
    log,
    run::Run,
    text::visible,
};

use super::{Kept, open, place, state};
use crate::{
    commands::{
        print,
        table::{NONE, short, table},
        usage,
    },
    run::Failure,
};

const EXAMPLE: &str = "\
Example:
  tunesmith runs rm --older-than 30

What goes is shown first and asked about. Only what Tunesmith itself laid out is removed: a directory that holds
anything else, a link, and a run that a process is working on stay.

Exit codes: 0 removed, or nothing to remove · 2 no such run · 5 in use, not confirmed, or cannot be removed";

/// `runs rm`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// The runs: their directories, or their names in --dir
    #[arg(value_name = "RUN", required_unless_present = "older_than")]
    runs: Vec<PathBuf>,
    /// All runs in --dir that began more than this many days ago
    #[arg(long, value_name = "DAYS", conflicts_with = "runs", value_parser = days)]
    older_than: Option<f64>,
    #[command(flatten)]
    kept: Kept,
    /// Remove without asking
    #[arg(long)]
    yes: bool,
}

pub fn main(args: &Args) -> Result<u8, Failure> {
    let dir = args.kept.dir()?;
    let runs = match args.older_than {
        Some(days) => older(&dir, days)?,
        None => named(&args.runs, &dir)?,
    };
    if runs.is_empty() {
        print("no run to remove");
        return Ok(0);
    }
    let mut total = 0;
    let mut rows = vec![["run", "outcome", "size", "request"].map(str::to_owned).to_vec()];
    for run in &runs {
        let size = run.bytes();
        total += size;
        let summary = run.summary();
        let request = summary.request.as_deref().map_or_else(|| NONE.to_owned(), |request| short(request, 50));
        rows.push(vec![name(run), state(&summary), bytes(size), request]);
    }
    table(&rows).iter().for_each(|line| print(line));
    let what = format!("remove {}, {}", counted(runs.len(), "run"), bytes(total));
    if !args.yes && !asked(&what) {
        return Err(Failure::new(5, "nothing was removed; confirm it at a terminal, or give --yes"));
    }
    runs.iter().try_for_each(remove)?;
    print(&format!("removed {}, {}", counted(runs.len(), "run"), bytes(total)));
    Ok(0)
}

/// Asks whether something is to be done; nobody says so where nobody is at the terminal.
fn asked(what: &str) -> bool {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return false;
    }
    eprint!("{what}? [y/N] ");
    let mut answer = String::new();
    let heard = io::stderr().flush().and_then(|()| io::stdin().read_line(&mut answer));
    heard.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

/// The runs that were named, each once. One that may not be removed stops all.
fn named(names: &[PathBuf], dir: &Path) -> Result<Vec<Run>, Failure> {
    let mut runs: Vec<Run> = Vec::new();
    for run in names {
        // A slash at the end would make a link look like what it leads to.
        let path: PathBuf = place(run, dir).components().collect();
        if fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
            let path = visible(&path.display().to_string()).into_owned();
            return Err(usage(format!("{path}: a link, not a run; remove the link itself, or name what it leads to")));
        }
        let run = open(&path, dir)?;
        removable(&run)?;
        if !runs.contains(&run) {
            runs.push(run);
        }
    }
    Ok(runs)
}

/// The runs that began more than so many days ago. What is not clearly such a run stays, with a note.
fn older(dir: &Path, days: f64) -> Result<Vec<Run>, Failure> {
    let age = SignedDuration::try_from_secs_f64(days * 86_400.0).map_err(|_| usage("--older-than: too many days"))?;
    let before = Timestamp::now().checked_sub(age).unwrap_or(Timestamp::MIN);
    let mut runs = Vec::new();
    for summary in Run::list(dir).map_err(|error| usage(error.to_string()))? {
        let linked = fs::symlink_metadata(&summary.dir).map_or(true, |found| found.is_symlink());
        let began = summary.started.or_else(|| Some(Run::open(&summary.dir).ok()?.manifest().ok()?.created));
        if linked || began.is_none_or(|began| began >= before) {
            continue;
        }
        let run = Run::open(&summary.dir).map_err(|error| usage(error.to_string()))?;
        match removable(&run) {
            Ok(()) => runs.push(run),
            Err(failure) => eprintln!("note: {}", visible(&failure.message)),
        }
    }
    Ok(runs)
}

/// Refuses what is in use, and what holds anything that no run lays out.
fn removable(run: &Run) -> Result<(), Failure> {
    let shown = visible(&run.dir().display().to_string()).into_owned();
    if log::in_use(&run.log()) {
        return Err(Failure::new(5, format!("{shown}: a process is working on this run; stop it first")));
    }
    let foreign = run.foreign().map_err(|error| failed(run.dir(), &error))?;
    match foreign.first() {
        None => Ok(()),
        Some(name) => {
            let name = visible(name);
            Err(usage(format!(
                "{shown}: holds {name:?}, which is no part of a run; move it away, or remove all by hand"
            )))
        }
    }
}

/// Removes a run. Its log and manifest go last, so that what an interruption leaves is a run that can be removed.
fn remove(run: &Run) -> Result<(), Failure> {
    removable(run)?;
    let parts = [run.base(), run.work(), run.sealed()];
    let gone = |path: &PathBuf| match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path, &error)),
        _ => Ok(()),
    };
    parts.iter().try_for_each(gone)?;
    fs::remove_dir_all(run.dir()).map_err(|error| failed(run.dir(), &error))
}

fn name(run: &Run) -> String {
    run.dir().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::new(5, format!("{}: {error}", path.display()))
}

fn days(text: &str) -> Result<f64, String> {
    let days: f64 = text.parse().map_err(|_| format!("{text:?} is no number of days"))?;
    if days.is_finite() && days >= 0.0 { Ok(days) } else { Err("give 0 or more days".to_owned()) }
}
