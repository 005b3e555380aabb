//! `tunesmith run`: a task in plain words becomes a run.

use std::{
    num::{NonZeroU32, NonZeroU64},
    path::PathBuf,
    str::FromStr,
    time::Instant,
};

use clap::{ValueEnum, builder::NonEmptyStringValueParser};
use serde::Deserialize;
use tunesmith_harness::{
    event::Cost,
    grade::{METRICS, less_is_better},
    task::{Goal, Task},
    text::{visible, visible_lines},
};
use tunesmith_sandbox::{Cancel, Local};
use tunesmith_tools::hub::RepoId;

use super::{
    hub,
    numbers::{amount, positive},
    print, print_json,
    require::Require,
    sandbox::size,
};
use crate::{
    config::{Config, Values},
    extensions::Extensions,
    run::{self, Ahead, Approve, Failure, Finished, Options},
    show::Share,
    terminal::Terminal,
};

mod making;
mod wished;

use making::Unmade;

const EXAMPLE: &str = "\
Example:
  tunesmith run \"Fine-tune a small model to route these customer messages, and give me a GGUF file.\" \\
      --file tickets.csv --minutes 10 --approve auto --goal 'accuracy>=0.9'

Planners: playbook (rules, no network), openai:MODEL, anthropic:MODEL, gemini:MODEL, hf:MODEL, together:MODEL,
  ollama:MODEL, vllm:MODEL, url:BASE#MODEL, scripted:FILE";

/// Fine-tune a model as the task says, and grade it on rows that nobody has seen
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// What to reach, in plain words
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    task: String,
    /// Rows to learn from: CSV, TSV, JSON, JSON lines or Parquet, also as .gz or .zst; folders and patterns too; may be repeated
    #[arg(long = "file", value_name = "PATH")]
    files: Vec<PathBuf>,
    /// Model to start from: nano, a directory, a .gguf file or a Hub id [default: nano]
    #[arg(long, value_name = "MODEL")]
    base: Option<String>,
    /// Who plans: playbook, local:MODEL, openai:MODEL, url:BASE#MODEL, ... [default: playbook]
    #[arg(long, value_name = "SPEC")]
    planner: Option<String>,
    /// Who writes the rows, where the request wants some made up: named as a planner is, or local:MODEL
    #[arg(long, value_name = "SPEC")]
    teacher: Option<String>,
    /// Where runs are kept [default: runs]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Time for the whole run [default: no limit]
    #[arg(long, value_name = "N", value_parser = positive)]
    minutes: Option<f64>,
    /// Most that the planner's model may cost, in US dollars [default: no limit]
    #[arg(long, value_name = "N", value_parser = amount)]
    usd: Option<f64>,
    /// Most tokens that the planner's model may read and write [default: no limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    tokens: Option<u64>,
    /// Most steps [default: no limit for the playbook, 100 for a language model]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    steps: Option<u32>,
    /// Most that the run's directory may hold, for example 2G [default: 32G]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    disk: Option<u64>,
    /// Seed of everything random, except which rows are sealed
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Rows to grade on [default: a part of the rows of --file is sealed]
    #[arg(long, value_name = "PATH")]
    test: Option<PathBuf>,
    /// Share of rows to seal [default: 0.2, at least 100 and at most 2000 rows]
    #[arg(long, value_name = "F", value_parser = share_of_rows, conflicts_with = "test")]
    test_share: Option<f64>,
    /// What must hold on the sealed rows, for example 'accuracy>=0.9'; may be repeated [default: a gain above zero]
    #[arg(long = "goal", value_name = "GOAL", value_parser = goal)]
    goals: Vec<Goal>,
    /// What a planner's model may see of the rows [default: none]
    #[arg(long, value_enum)]
    share: Option<Shares>,
    /// Who approves what stays in the run's directory and budget [default: ask]
    #[arg(long, value_enum)]
    approve: Option<Approves>,
    /// Allow what --approve does not cover: scope, network:HOST or publish:ORG/NAME; may be repeated
    #[arg(long = "allow", value_name = "CAPABILITY", value_parser = capability)]
    allow: Vec<String>,
    /// Confinement of jobs
    #[arg(long, value_enum, default_value_t = Sandboxes::On)]
    sandbox: Sandboxes,
    #[command(flatten)]
    require: Require,
    /// Show what would be done, without training; no model is asked, so rows that it would make up are only counted
    #[arg(long)]
    dry_run: bool,
    /// Print events as JSON lines
    #[arg(long)]
    json: bool,
}

/// Where runs are kept, where nobody says so.
pub const RUNS: &str = "runs";

/// `--share`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shares {
    /// Columns, label names of the target, counts and scores, but no row
    None,
    /// Some rows too
    Samples,
}

impl From<Shares> for Share {
    fn from(shares: Shares) -> Share {
        match shares {
            Shares::None => Share::None,
            Shares::Samples => Share::Samples,
        }
    }
}

/// `--approve`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Approves {
    /// You, at the terminal
    Ask,
    /// Approved
    Auto,
    /// Refused: the run ends there with exit code 5
    Never,
}

impl From<Approves> for Approve {
    fn from(approves: Approves) -> Self {
        match approves {
            Approves::Ask => Approve::Ask,
            Approves::Auto => Approve::Auto,
            Approves::Never => Approve::Never,
        }
    }
}

/// `--sandbox`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sandboxes {
    /// Confined
    On,
    /// Limits only
    None,
}

impl Sandboxes {
    /// What starts jobs so.
    pub fn jobs(self) -> Local {
        match self {
            Sandboxes::On => Local::new(),
            Sandboxes::None => Local::new().unconfined(),
        }
    }
}

impl Args {
    /// A task with its files, without any flag.
    pub fn of_session(task: String, files: Vec<PathBuf>) -> Self {
        Args {
            task,
            files,
            base: None,
            planner: None,
            teacher: None,
            dir: None,
            minutes: None,
            usd: None,
            tokens: None,
            steps: None,
            disk: None,
            seed: 0,
            test: None,
            test_share: None,
            goals: Vec::new(),
            share: None,
            approve: None,
            allow: Vec::new(),
            sandbox: Sandboxes::On,
            require: Require::default(),
            dry_run: false,
            json: false,
        }
    }

    /// What is asked for, with the base and the rows that have to be there first.
    pub async fn resolve(self, set: Values, cancel: &Cancel) -> Result<Options, Failure> {
        let (mut options, unmade) = self.gather(set, cancel).await?;
        if let Some(unmade) = unmade {
            unmade.make(&mut options, cancel).await?;
        }
        Ok(options)
    }

    /// What is asked for, with the base and the rows that had to be fetched, and the rows that are yet to be made up.
    async fn gather(self, set: Values, cancel: &Cancel) -> Result<(Options, Option<Unmade>), Failure> {
        let ahead = Ahead { since: Instant::now(), asked: Cost::NOTHING };
        let teacher = self.teacher.clone();
        let mut options = Options { ahead: Some(ahead), ..self.options(set)? };
        // A wrong planner is a wrong command line, whatever else is wrong.
        run::named(&options.planner)?;
        let deadline = wished::deadline(&options);
        let fetching = async {
            let unmade = wished::gather(&mut options, teacher.as_deref(), cancel).await?;
            if let Some(base) = hub::download::allowed(options.task.base.as_deref(), &options.allow, cancel).await? {
                options.task.base = Some(base.id.to_string());
                options.base = Some(base.path);
            }
            Ok(unmade)
        };
        let unmade = run::in_time(deadline, wished::LATE, fetching).await?;
        Ok((options, unmade))
    }

    /// What is asked for; what no flag says is taken from the settings.
    fn options(self, set: Values) -> Result<Options, Failure> {
        let jobs = self.require.demand(self.sandbox.jobs())?;
        let extensions = Extensions::from(&set);
        let task = Task {
            request: self.task,
            files: self.files,
            test: self.test,
            test_share: self.test_share,
            base: self.base.or(set.base),
            goals: if self.goals.is_empty() { set.goals } else { self.goals },
            artifacts: Vec::new(),
            max_bytes: None,
            minutes: self.minutes.or(set.minutes),
            steps: self.steps.or(set.steps.map(NonZeroU32::get)),
            usd: self.usd.or(set.usd),
            tokens: self.tokens.or(set.tokens.map(NonZeroU64::get)),
            disk: self.disk.or(set.disk),
            seed: self.seed,
        };
        Ok(Options {
            task,
            base: None,
            planner: self.planner.or(set.planner).unwrap_or_else(|| run::PLAYBOOK.into()),
            dir: self.dir.or(set.dir).unwrap_or_else(|| RUNS.into()),
            share: self.share.or(set.share).unwrap_or(Shares::None).into(),
            approve: self.approve.or(set.approve).unwrap_or(Approves::Ask).into(),
            allow: if self.allow.is_empty() { set.allow } else { self.allow },
            extensions,
            known: run::own::list(),
            jobs,
            ahead: None,
        })
    }
}

/// Runs the task; the exit code is the outcome's.
pub async fn main(args: Args, cancel: &Cancel) -> Result<u8, Failure> {
    let config = Config::here()?;
    config.note().iter().for_each(|note| eprintln!("note: {}", visible(note)));
    if args.dry_run {
        return preview(args, config.values, cancel).await;
    }
    let json = args.json;
    let options = args.resolve(config.values, cancel).await?;
    let terminal = Terminal::new(json);
    let finished = carry_out(&options, &terminal, cancel).await?;
    // Lost output is worse than any outcome, which the log holds.
    terminal.lost().map_or_else(|| Ok(finished.outcome.exit_code()), Err)
}

/// Shows what would be done. Rows that are to be made up would take questions to a model, so without them the plan ends.
async fn preview(args: Args, set: Values, cancel: &Cancel) -> Result<u8, Failure> {
    let json = args.json;
    let (mut options, unmade) = args.gather(set, cancel).await?;
    if let Some(unmade) = unmade {
        let Some(rows) = unmade.made() else {
            let planned = unmade.planned()?;
            match json {
                true => print_json(&planned)?,
                false => planned.lines().iter().for_each(|line| print(line)),
            }
            return Ok(0);
        };
        options.task.files = vec![rows];
    }
    let terminal = Terminal::progress_only("dry run");
    let preview = run::dry_run(&options, &terminal, cancel).await;
    terminal.clear();
    let preview = preview?;
    if json {
        print_json(&preview)?;
    } else {
        print(&visible_lines(&preview.to_string()));
    }
    Ok(0)
}

/// Does the run and shows what came of it.
pub async fn carry_out(options: &Options, terminal: &Terminal, cancel: &Cancel) -> Result<Finished, Failure> {
    let finished = run::run(options, terminal, cancel).await;
    terminal.clear();
    let finished = finished?;
    terminal.finish(&finished);
    Ok(finished)
}

/// `METRIC>=X`, where X is a fraction or a percentage with its sign; `METRIC<=X` where less is better.
pub(crate) fn goal(text: &str) -> Result<Goal, String> {
    const FORM: &str = "write it as METRIC>=X, for example accuracy>=0.9";
    let sides = text.split_once(">=").map(|sides| (sides, false)).or(text.split_once("<=").map(|sides| (sides, true)));
    let ((metric, value), most) = sides.ok_or(FORM)?;
    let (metric, value) = (metric.trim(), value.trim());
    let names: Vec<&str> = METRICS.iter().map(|(name, _)| *name).collect();
    if !names.contains(&metric) {
        return Err(format!("there is no metric {metric:?}; the metrics are {}", names.join(", ")));
    }
    match (less_is_better(metric), most) {
        (true, false) => return Err(format!("less {metric} is better; write {metric}<={value}")),
        (false, true) => return Err(format!("more {metric} is better; write {metric}>={value}")),
        _ => {}
    }
    let number = match value.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
        None => value.parse::<f64>(),
    };
    match number {
        Ok(value) if most && value > 0.0 && value.is_finite() => Ok(Goal::at_most(metric, value)),
        Ok(value) if !most && (0.0..=1.0).contains(&value) => Ok(Goal::at_least(metric, value)),
        _ if most => Err(format!("{value:?} is not a number above 0")),
        _ => Err(format!("{value:?} is not a fraction from 0 to 1; {FORM}")),
    }
}

/// `--allow`, checked.
pub(crate) fn capability(text: &str) -> Result<String, String> {
    let good = match text.split_once(':') {
        None => text == "scope",
        Some(("network", host)) => tunesmith_sandbox::allows([host], host),
        Some(("publish", id)) => RepoId::from_str(id).is_ok(),
        Some(_) => false,
    };
    if good { Ok(text.to_owned()) } else { Err("use scope, network:HOST or publish:ORG/NAME".into()) }
}

fn share_of_rows(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.01..=0.9).contains(&value) => Ok(value),
        _ => Err("must be a number from 0.01 to 0.9, for example 0.2".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_fractions_or_percentages_of_known_metrics() {
        let accuracy = Goal::at_least("accuracy", 0.9);
        assert_eq!(goal("accuracy>=0.9"), Ok(accuracy.clone()));
        assert_eq!(goal(" accuracy >= 90 % "), Ok(accuracy));
        assert!(
            goal("beauty>=0.9").is_err_and(|why| why.starts_with("there is no metric \"beauty\"; the metrics are "))
        );
        assert_eq!(goal("bits_per_byte<=1.25"), Ok(Goal::at_most("bits_per_byte", 1.25)));
        assert_eq!(goal("perplexity>=9"), Err("less perplexity is better; write perplexity<=9".into()));
        assert_eq!(goal("accuracy<=0.9"), Err("more accuracy is better; write accuracy>=0.9".into()));
        for wrong in [
            "perplexity<=0",
            "perplexity<=a",
            "accuracy",
            "accuracy>0.9",
            "accuracy>=90",
            "accuracy>=NaN",
            "accuracy>=-0.1",
            "accuracy>=",
        ] {
            assert!(goal(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_share_that_could_not_be_sealed_is_a_usage_error() {
        for share in [0.01, 0.2, 0.9] {
            assert_eq!(share_of_rows(&share.to_string()), Ok(share));
        }
        for wrong in ["0.005", "0.95", "0", "1", "-0.2", "NaN", "a"] {
            assert_eq!(
                share_of_rows(wrong),
                Err("must be a number from 0.01 to 0.9, for example 0.2".into()),
                "{wrong}"
            );
        }
    }

    #[test]
    fn capabilities_are_checked() {
        for good in ["scope", "network:huggingface.co", "network:*.hf.co", "network:127.0.0.1:80", "publish:org/name"] {
            assert_eq!(capability(good), Ok(good.to_owned()));
        }
        for wrong in
            ["", "scope:", "network", "network:", "network:a/b", "network:a:b", "publish:name", "publish:a/b/c", "all"]
        {
            assert!(capability(wrong).is_err(), "{wrong}");
        }
    }
}
