//! `tunesmith config`: what is set, where it came from, and trust in a project's file.

use std::io::{self, BufRead, IsTerminal};

use serde_json::{Value, json};
use tunesmith_harness::text::{visible, visible_lines};

use super::{
    print, print_json,
    table::{NONE, table},
    usage,
};
use crate::{
    config::{Config, Entry, Places, Project, Source, trust},
    run::Failure,
};

const EXAMPLE: &str = "\
Order, later wins: defaults, ~/.config/tunesmith/config.toml, the project's tunesmith.toml (in the current directory, or
above it up to the repository's root), variables TUNESMITH_*, flags. A project's file sets base, dir, goals and lower
limits; everything else in it has no effect until you trust the file as it is.

Example:
  planner = \"ollama:qwen3:4b\"
  minutes = 30
  sandbox.require = [\"files\", \"network\"]

  [mcp.search]
  command = [\"npx\", \"some-server\"]
  net = [\"api.example.org\"]
  env = { SEARCH_KEY = \"SEARCH_KEY\" }";

/// Show what is set, and where it came from
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    /// Print where the files are
    Path,
    /// Let all of the project's file take effect, as it is now
    Trust {
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Shows or trusts.
pub fn main(args: &Args) -> Result<u8, Failure> {
    let config = Config::here()?;
    match &args.what {
        None if args.json => print_json(&shown(&config)?)?,
        None => show(&config),
        Some(What::Path) => {
            let project = config.project.as_ref().map(|project| &project.path);
            config.user.iter().chain(project).for_each(|path| print(&visible(&path.display().to_string())));
        }
        Some(What::Trust { yes }) => return trusted(&config, *yes),
    }
    Ok(0)
}

fn show(config: &Config) {
    let row = |entry: &Entry| {
        let value = entry.value.as_ref().map_or_else(|| NONE.to_owned(), ToString::to_string);
        [entry.key.clone(), value, entry.source.to_string()].map(|text| visible(&text).into_owned()).to_vec()
    };
    let head = ["key", "value", "source"].map(str::to_owned).to_vec();
    let rows: Vec<Vec<String>> = [head].into_iter().chain(config.entries.iter().map(row)).collect();
    table(&rows).iter().for_each(|line| print(line));
    if let Some(note) = config.note() {
        print(&visible(&note));
    }
}

fn shown(config: &Config) -> Result<Value, Failure> {
    let failed = |error: serde_json::Error| Failure::new(70, error);
    let entry = |entry: &Entry| {
        let kind = match entry.source {
            Source::Default => "default",
            Source::User(_) => "user",
            Source::Project(_) => "project",
            Source::Environment(_) => "environment",
        };
        let value = serde_json::to_value(&entry.value).map_err(failed)?;
        Ok(json!({"key": entry.key, "value": value, "source": kind, "from": entry.source.to_string()}))
    };
    let entries = config.entries.iter().map(entry).collect::<Result<Vec<_>, Failure>>()?;
    let project = config.project.as_ref().map(|project| {
        let ineffective: &[String] = if project.trusted { &[] } else { &project.restricted };
        json!({"path": project.path, "sha256": project.hash, "trusted": project.trusted, "without_effect": ineffective})
    });
    Ok(json!({"settings": entries, "user": config.user, "project": project}))
}

/// Shows what trust would give, asks, and remembers the answer.
fn trusted(config: &Config, yes: bool) -> Result<u8, Failure> {
    let Some(project) = &config.project else {
        return Err(usage("there is no tunesmith.toml here or above; nothing needs trust"));
    };
    let path = visible(&project.path.display().to_string()).into_owned();
    if project.trusted || project.restricted.is_empty() {
        let why = if project.trusted { "is trusted as it is" } else { "sets nothing that needs trust" };
        print(&format!("{path} {why}"));
        return Ok(0);
    }
    print(&format!("{path} (SHA-256 {}) sets:", project.hash));
    project.lines.iter().for_each(|line| print(&format!("  {}", visible_lines(line))));
    if !yes && !agreed(project)? {
        return Err(Failure::new(5, "the file was not trusted"));
    }
    let state = places().state.ok_or_else(|| usage("there is no place for settings: set HOME"))?;
    trust::trust(&state, &project.path, &project.hash)
        .map_err(|error| Failure::new(5, format!("{}: {error}", state.display())))?;
    print("trusted, until the file changes");
    Ok(0)
}

fn places() -> Places {
    Places::of(&|name| std::env::var(name).ok(), None)
}

/// Asks at a terminal; elsewhere nobody can agree.
fn agreed(project: &Project) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(
            5,
            format!("nobody can be asked whether to trust {}; use --yes", project.path.display()),
        ));
    }
    eprint!("trust it? [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|error| Failure::new(5, error))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
