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
    run::{self, Approve, Failure, Further, Options, Planner},
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
    /// Most tokens that the planner's model may read and write in the whole run [default: as before]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    tokens: Option<u64>,
    /// Most steps of the whole run [default: as before]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    steps: Option<u32>,
    /// Most that the run's directory may hold [default: as before]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    disk: Option<u64>,
    /// Who plans, where the run was not begun here: the planner that it was begun with
    #[arg(long, value_name = "SPEC")]
    planner: Option<String>,
    /// Who approves what stays in the run's directory and budget [default: as before, where the run was begun here]
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

impl Args {
    fn now(&self) -> Now<'_> {
        Now { planner: self.planner.as_deref(), approve: self.approve, allow: &self.allow, require: &self.require }
    }
}

/// Goes on; the exit code is the outcome's.
pub async fn main(args: Args, cancel: &Cancel) -> Result<u8, Failure> {
    let config = Config::here()?;
    config.note().iter().for_each(|note| eprintln!("note: {}", visible(note)));
    let (run, dir) = args.named.open()?;
    let options = again((&run, dir), &config.values, args.now())?;
    let Args { minutes, steps, tokens, usd, disk, .. } = args;
    let further = Further { minutes, steps, tokens, usd, disk };
    let terminal = Terminal::new(args.json);
    let finished = run::resume(run, &options, (further, None), &terminal, cancel).await;
    terminal.clear();
    let finished = finished?;
    terminal.finish(&finished);
    terminal.lost().map_or_else(|| Ok(finished.outcome.exit_code()), Err)
}

/// What a run began with, with what holds in a session.
pub fn in_session(run: &Run, set: &Values) -> Result<Options, Failure> {
    let (require, planner) = (Require::default(), set.planner.as_deref());
    again((run, PathBuf::new()), set, Now { planner, approve: set.approve, allow: &[], require: &require })
}

/// What the user says now.
struct Now<'a> {
    planner: Option<&'a str>,
    approve: Option<Approves>,
    allow: &'a [String],
    require: &'a Require,
}

/// What a run began with, and what the user says now.
fn again((run, dir): (&Run, PathBuf), set: &Values, now: Now<'_>) -> Result<Options, Failure> {
    let manifest = run.manifest().map_err(|error| usage(error.to_string()))?;
    let manifest = Manifest { terms: run::last_terms(run).or(manifest.terms), ..manifest };
    let allow = if now.allow.is_empty() { set.allow.clone() } else { now.allow.to_vec() };
    note_missing(manifest.terms.as_ref(), &allow);
    let mut before = as_before(manifest)?;
    if !run::own::list().is_some_and(|list| run::own::is_own(&list, run)) {
        before = of_stranger(before, set, now.planner)?;
    }
    Ok(Options {
        dir: run.dir().parent().map_or(dir, PathBuf::from),
        approve: now.approve.map_or(before.approve, Approve::from),
        allow,
        // What the user has added is as it is now: a server may have moved.
        extensions: Extensions::from(set),
        jobs: now.require.demand(before.jobs)?,
        ..before
    })
}

/// Of a run that was not begun here, who plans must be said anew where a key goes there; what is approved and shared is what
/// the settings say.
fn of_stranger(before: Options, set: &Values, planner: Option<&str>) -> Result<Options, Failure> {
    let named = visible(&before.planner).into_owned();
    let said = planner.or(set.planner.as_deref()) == Some(before.planner.as_str());
    if !said && matches!(run::named(&before.planner)?, Planner::Hosted(_)) {
        let why = format!(
            "the run was not begun here, and {named} would plan it, with your key; allow that with --planner {named}"
        );
        return Err(Failure::new(5, why));
    }
    eprintln!("note: the run was not begun here, so what it may do and share is what your flags and settings say");
    let approve = set.approve.map_or(Approve::Ask, Approve::from);
    Ok(Options { approve, share: set.share.map_or(Share::None, Share::from), ..before })
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
        known: None,
        // A directory does not decide how jobs are confined, and not which hosts are reached.
        jobs: Local::new(),
        ahead: None,
    })
}
