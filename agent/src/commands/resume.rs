//! `tunesmith resume`: a run goes on after its process died or was stopped, or with more to spend.

use std::path::PathBuf;

use tunesmith_harness::{
    run::{Manifest, Run, Terms},
    text::visible,
};
use tunesmith_sandbox::{Cancel, Local};

use super::{
    numbers::{amount, positive},
    require::Require,
    run::{Approves, capability},
    runs::Named,
    sandbox::size,
    usage,
};
use crate::{
    config::{Config, Values},
    extensions::Extensions,
    run::{self, Approve, Failure, Further, Options},
    show::Share,
    terminal::Terminal,
};

/// Go on with a run that was stopped, died, or used up what it might use
///
/// No finished step is done again: they are recalled from the run's log. A training goes on from its last checkpoint. What
/// --approve does not cover must be allowed anew, and jobs are confined: a directory grants nothing.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    named: Named,
    /// Time for the whole run, what was used included [default: as before]
    #[arg(long, value_name = "N", value_parser = positive)]
    minutes: Option<f64>,
    /// Most that the planner's model may cost in the whole run, in US dollars [default: as before]
    #[arg(long, value_name = "N", value_parser = amount)]
    usd: Option<f64>,
    /// Most steps of the whole run [default: as before]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    steps: Option<u32>,
    /// Most that the run's directory may hold [default: as before]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    disk: Option<u64>,
    /// Who approves what stays in the run's directory and budget [default: as before]
    #[arg(long, value_enum)]
    approve: Option<Approves>,
    /// Allow what --approve does not cover: scope, network:HOST or publish:ORG/NAME; may be repeated
    #[arg(long = "allow", value_name = "CAPABILITY", value_parser = capability)]
    allow: Vec<String>,
    #[command(flatten)]
    require: Require,
    /// Print events as JSON lines
    #[arg(long)]
    json: bool,
}

/// Goes on; the exit code is the outcome's.
pub async fn main(args: Args, cancel: &Cancel) -> Result<u8, Failure> {
    let config = Config::here()?;
    config.note().iter().for_each(|note| eprintln!("note: {}", visible(note)));
    let (run, dir) = args.named.open()?;
    let options = again((&run, dir), &config.values, (args.approve, &args.allow, &args.require))?;
    let further = Further { minutes: args.minutes, steps: args.steps, usd: args.usd, disk: args.disk };
    let terminal = Terminal::new(args.json);
    let finished = run::resume(run, &options, (further, None), &terminal, cancel).await;
    terminal.clear();
    let finished = finished?;
    terminal.finish(&finished);
    terminal.lost().map_or_else(|| Ok(finished.outcome.exit_code()), Err)
}

/// What a run began with, with what holds in a session.
pub fn in_session(run: &Run, set: &Values) -> Result<Options, Failure> {
    again((run, PathBuf::new()), set, (set.approve, &[], &Require::default()))
}

/// What a run began with, and what the user says now.
fn again(
    (run, dir): (&Run, PathBuf),
    set: &Values,
    (approve, allow, require): (Option<Approves>, &[String], &Require),
) -> Result<Options, Failure> {
    let manifest = run.manifest().map_err(|error| usage(error.to_string()))?;
    let manifest = Manifest { terms: run::last_terms(run).or(manifest.terms), ..manifest };
    let allow = if allow.is_empty() { set.allow.clone() } else { allow.to_vec() };
    note_missing(manifest.terms.as_ref(), &allow);
    let before = as_before(manifest)?;
    Ok(Options {
        dir: run.dir().parent().map_or(dir, PathBuf::from),
        approve: approve.map_or(before.approve, Approve::from),
        allow,
        // What the user has added is as it is now: a server may have moved.
        extensions: Extensions::from(set),
        jobs: require.demand(before.jobs)?,
        ..before
    })
}

/// Names what was allowed before and is not now.
fn note_missing(before: Option<&Terms>, allow: &[String]) {
    let missing = |granted: &&String| !allow.contains(granted) && capability(granted).is_ok();
    let flags =
        before.iter().flat_map(|terms| &terms.allow).filter(missing).map(|granted| format!("--allow {granted}"));
    let flags: Vec<String> = flags.collect();
    if !flags.is_empty() {
        let flags = flags.join(" ");
        eprintln!("note: a run's directory grants nothing; what was allowed before needs {} again", visible(&flags));
    }
}

/// What a run began with.
pub(super) fn as_before(manifest: Manifest) -> Result<Options, Failure> {
    let Terms { share, approve, .. } = manifest.terms.ok_or_else(|| {
        usage("the run was made by an early version, which did not record what was allowed; start a new one")
    })?;
    Ok(Options {
        task: manifest.task,
        base: None,
        planner: manifest.planner,
        dir: PathBuf::new(),
        share: if share == "samples" { Share::Samples } else { Share::None },
        approve: match approve.as_str() {
            "auto" => Approve::Auto,
            "never" => Approve::Never,
            _ => Approve::Ask,
        },
        // Whoever made the directory does not decide what is reached, published or changed.
        allow: Vec::new(),
        extensions: Extensions::default(),
        // A directory does not decide how jobs are confined, and not which hosts are reached.
        jobs: Local::new(),
        ahead: None,
    })
}
