//! One run from request to report: rows are sealed, a planner works, the grader judges, the log keeps it all.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use serde_json::Value;
use tunesmith_harness::{
    ask::Ask,
    budget::{Budget, Caps},
    event::{Before, Cost, Event, Kind},
    grade::{outcome, too_large},
    log,
    report::Report,
    run::{Run, Terms},
    task::{Outcome, Task},
};
use tunesmith_sandbox::{Cancel, Local, Workdir};
use tunesmith_tools::{
    registry,
    tool::{AnyTool, Cx, Progress},
};

use crate::{
    approvals::{self, Decide, Decision, Proposal, Verdict},
    commands::{require::met, stop::CANCELLED},
    context,
    extensions::Extensions,
    grading::{self, Graded, Submitted},
    model::{ChatModel, Delta, asker::Asker},
    planner_loop::{self, End, LoopEnd, Planning},
    playbook::{self, Playbook, request},
    prompt,
    read_output::ReadOutput,
    show::Share,
    steps::{Jobs, Journal, ScopeOf, Steps, until},
};

mod answers;
mod beat;
mod chats;
mod deciding;
mod failure;
pub mod own;
mod passages;
mod prepare;
mod publishing;
mod reading;
mod recorder;
mod replay;
mod resume;
mod sealing;
mod served;
pub mod turns;

use beat::Beat;
use deciding::Decider;
pub use failure::Failure;
pub(crate) use failure::{ELSEWHERE, TMPDIR, plain, scratch};
pub use prepare::{DISK, Planner, Prepared, STEPS, named};
use recorder::Recorder;
pub use replay::{Difference, Replayed, replay};
pub use resume::{Further, last_terms, resume};
pub use sealing::{DATA, SEALED};
pub use served::Served;

/// Who plans, where nobody says so.
pub const PLAYBOOK: &str = "playbook";

/// What a run is given.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is to be reached.
    pub task: Task,
    /// Where the base is, where the task names it by its id on the Hub.
    pub base: Option<PathBuf>,
    /// Who plans, as given to `--planner`.
    pub planner: String,
    /// Where runs are kept.
    pub dir: PathBuf,
    /// How much of the user's rows a planner's model may see.
    pub share: Share,
    /// Who approves what.
    pub approve: Approve,
    /// Capabilities that the user allows, for example `scope`.
    pub allow: Vec<String>,
    /// Tools that the user has added.
    pub extensions: Extensions,
    /// The list of the runs that were begun here; `None` keeps none.
    pub known: Option<PathBuf>,
    /// Starts jobs, confined unless the user says `--sandbox none`, and under the layers that must be there.
    pub jobs: Local,
    /// What was done for it already; `None` begins with the run itself.
    pub ahead: Option<Ahead>,
}

/// What is done for a run before there is one: rows and bases are fetched, and rows are made up.
#[derive(Clone, Copy, Debug)]
pub struct Ahead {
    /// Since when the run's time counts.
    pub since: Instant,
    /// What the questions for rows cost.
    pub asked: Cost,
}

/// Who approves what stays in the run directory and inside the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approve {
    /// The user is asked before the plan is carried out.
    Ask,
    /// It is approved.
    Auto,
    /// It is not: the run ends where an approval is needed.
    Never,
}

impl Options {
    /// Since when the run's time counts.
    fn since(&self) -> Instant {
        self.ahead.map_or_else(Instant::now, |ahead| ahead.since)
    }

    /// What the log says of what was done before it; less than a second without a question is nothing to speak of.
    fn before(&self) -> Option<Before> {
        let Ahead { since, asked } = self.ahead?;
        let seconds = since.elapsed().as_secs_f64();
        (seconds >= 1.0 || asked != Cost::NOTHING).then_some(Before { seconds, asked })
    }

    /// What the user has allowed, as it stands in the manifest.
    fn terms(&self) -> Terms {
        Terms {
            share: if self.share == Share::Samples { "samples" } else { "none" }.to_owned(),
            approve: match self.approve {
                Approve::Ask => "ask",
                Approve::Auto => "auto",
                Approve::Never => "never",
            }
            .to_owned(),
            allow: self.allow.clone(),
            sandbox: if self.jobs.is_confined() { "on" } else { "none" }.to_owned(),
        }
    }
}

/// Someone who watches a run.
pub trait Watch: Send + Sync {
    /// An event was logged.
    fn event(&self, event: &Event);
    /// A long step goes on.
    fn progress(&self, progress: &Progress);
    /// The planner's model speaks.
    fn delta(&self, delta: &Delta<'_>);
    /// A line about the run itself.
    fn note(&self, line: &str);
    /// Asks the user whether something may be done; `None` where nobody can be asked. Whoever does not want the answer any
    /// more drops the future.
    fn decide(&self, proposal: Proposal) -> BoxFuture<'_, Option<Decision>>;
}

/// A run that came to its end.
#[derive(Debug)]
pub struct Finished {
    /// As what.
    pub outcome: Outcome,
    /// Why, in one line.
    pub why: String,
    /// The run's directory.
    pub dir: PathBuf,
    /// Hash of the log's last line, which proves the log when it is kept elsewhere.
    pub head: String,
    /// The report.
    pub report: Report,
}

/// Does a whole run. An error means that there is no run, or that its log cannot be written.
pub async fn run(options: &Options, watch: &dyn Watch, cancel: &Cancel) -> Result<Finished, Failure> {
    let started = options.since();
    met(&options.jobs)?;
    let prepared = prepared(options, started, cancel).await?;
    let journal = begin(options, &prepared, watch)?;
    prepared.unbegun.keep();
    prepared.notes(options).iter().for_each(|line| watch.note(line));
    work(options, &prepared, journal, started, cancel).await
}

/// Prepares a run, unless its time or the user ends that: then what is under way comes to nothing.
async fn prepared(options: &Options, started: Instant, cancel: &Cancel) -> Result<Prepared, Failure> {
    let told = options.task.minutes.or_else(|| request::read(&options.task.request)?.minutes);
    let wall = Caps::of(&Task { minutes: told, ..options.task.clone() }).wall;
    let owned = options.clone();
    let reading = tokio::task::spawn_blocking(move || Prepared::new(&owned));
    tokio::select! {
        prepared = reading => prepared.map_err(|error| Failure::new(70, error))?,
        () = cancel.cancelled() => Err(Failure::new(CANCELLED, "cancelled while the rows were read; there is no run")),
        () = until(wall.and_then(|wall| started.checked_add(wall))) => {
            let why = "the time was up while the rows were read, so there is no run; give it more with --minutes";
            Err(Failure::new(Outcome::Budget.exit_code(), why))
        }
    }
}

/// The run itself, from wherever its log is.
async fn work(
    options: &Options,
    prepared: &Prepared,
    mut journal: Recorder<'_>,
    started: Instant,
    cancel: &Cancel,
) -> Result<Finished, Failure> {
    let (jobs, watch) = (&options.jobs, journal.watch);
    let budget = Budget::new(prepared.caps(), started).kept_in(prepared.run.clone());
    budget.book(prepared.sunk);
    let dir = Workdir::open(&prepared.run.work()).map_err(|e| Failure::new(70, e))?;
    budget.fill(0);
    let beat = Beat::of(&prepared.run);
    let on = |progress: Progress| {
        beat.tick();
        watch.progress(&progress);
    };
    let hosts = crate::hub::hosts(&options.allow);
    let planner = prepare::planner(options)?;
    // Whoever is asked may be shown rows, so it is handed out where rows may be shared.
    let model = prepared.model.as_deref().filter(|_| options.share == Share::Samples);
    let asker = model.map(|model| Asker {
        model,
        name: planner.name(),
        price: planner.price(&|name| std::env::var(name).ok()),
        budget: Some(&budget),
        cancel: cancel.clone(),
    });
    let cx = Cx {
        dir: &dir,
        jobs,
        base: &prepared.base,
        seed: options.task.seed,
        deadline: budget.deadline_for_steps(),
        cancel: cancel.clone(),
        ask: asker.as_ref().map(|asker| asker as &dyn Ask),
        hub: prepared.hub.as_ref(),
        hosts: &hosts,
        on: &on,
    };
    let worked = async {
        let end = plan(options, prepared, &cx, &budget, &mut journal).await?;
        journal.whole()?;
        let ended = judge(&end, prepared, jobs, (&budget, cancel), &mut journal, &on).await?;
        publishing::publish((options, prepared), ended, &mut journal, (&budget, cancel)).await
    };
    let (outcome, why) = beat.during(worked).await?;
    beat.end();
    finish(&prepared.run, journal, outcome, why)
}

/// The manifest and the log with its first event. From then on a run can be shown, so its directory stays.
fn begin<'a>(options: &Options, prepared: &'a Prepared, watch: &'a dyn Watch) -> Result<Recorder<'a>, Failure> {
    let mut journal = Recorder::new(prepared.run.create_log()?, &prepared.run, watch);
    let layers = prepare::layers(&options.jobs);
    prepared.write_manifest(options, &layers)?;
    if let Some(Err(error)) = options.known.as_deref().map(|list| own::remember(list, &prepared.run)) {
        watch.note(&format!("the run will be taken for somebody else's when it goes on: {error}"));
    }
    journal.record(Kind::Started {
        task: prepared.task.clone(),
        planner: options.planner.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        rows: prepared.rows,
        layers,
        inputs: prepared.inputs.clone(),
        before: options.before(),
    })?;
    journal.sync()?;
    Ok(journal)
}

/// What a run would do: everything but the training itself, in a directory that is thrown away.
pub async fn dry_run(options: &Options, watch: &dyn Watch, cancel: &Cancel) -> Result<playbook::Preview, Failure> {
    if !matches!(prepare::planner(options)?, Planner::Playbook) {
        return Err(Failure::new(2, "--dry-run shows what the playbook would do; leave out --planner"));
    }
    let started = options.since();
    met(&options.jobs)?;
    prepare::try_place(&options.dir)?;
    let scratch = scratch()?;
    let options = Options { dir: scratch.path().to_owned(), ..options.clone() };
    let prepared = prepared(&options, started, cancel).await?;
    let mut journal = Recorder::new(prepared.run.create_log()?, &prepared.run, &Silent);
    let budget = Budget::new(prepared.caps(), started);
    let dir = Workdir::open(&prepared.run.work()).map_err(|e| Failure::new(70, e))?;
    let on = |progress: Progress| watch.progress(&progress);
    let (deadline, cancel) = (budget.deadline_for_steps(), cancel.clone());
    let (base, seed) = (prepared.base.as_path(), options.task.seed);
    let cx =
        Cx { dir: &dir, jobs: &options.jobs, base, seed, deadline, cancel, ask: None, hub: None, hosts: &[], on: &on };
    let registry = registry::all();
    let scope_of = |output: &Value| prepared.scope(output);
    let steps = Steps::new(registry.iter().collect(), &cx, &scope_of, false);
    let preview = Playbook::new(&prepared.task, prepared.rows, &budget, steps, &mut journal).preview().await?;
    let preview = preview.map_err(|(outcome, why)| Failure::new(outcome.exit_code(), why))?;
    Ok(playbook::Preview { notes: prepared.of_files(), answers: prepared.answers.clone(), ..preview })
}

/// Lets the planner work until it has finished or something stops it.
async fn plan(
    options: &Options,
    prepared: &Prepared,
    cx: &Cx<'_>,
    budget: &Budget,
    journal: &mut Recorder<'_>,
) -> Result<LoopEnd, Failure> {
    let mut registry = registry::all();
    if prepared.model.is_some() {
        let opened = within(cx, options.extensions.open(cx, options, journal.watch)).await;
        registry.tools.extend(opened.unwrap_or_default());
    }
    let scope_of = |output: &Value| prepared.scope(output);
    let may_amend = options.allow.iter().any(|allowed| allowed == "scope");
    let tools: Vec<_> = registry.iter().collect();
    let decide = Decider { approve: options.approve, watch: journal.watch, cancel: &cx.cancel, deadline: cx.deadline };
    let Some(model) = prepared.model.as_deref() else {
        let steps = Steps::new(tools, cx, &scope_of, may_amend).paid_by(budget).decided_by(&decide);
        return Ok(Playbook::new(&prepared.task, prepared.rows, budget, steps, journal).drive(&decide).await?);
    };
    let what = prepared.asks(options);
    if let Verdict::Stop(reason) = approvals::decided(None, Proposal::of_plan(what), &decide, journal).await? {
        let (end, why) = planner_loop::stopped(cx).unwrap_or_else(|| (End::Refused, not_approved(reason)));
        return Ok(LoopEnd { end, why, spent: budget.spent() });
    }
    drive(options, prepared, (model, &tools), (cx, budget, &scope_of, may_amend, &decide), journal).await
}

/// What something comes to, unless the time of the steps or the user ends it.
async fn within<T>(cx: &Cx<'_>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = until(cx.deadline) => None,
        () = cx.cancel.cancelled() => None,
    }
}

/// What some work comes to before `deadline`; else the run's budget is used up, and `late` says what to do.
pub(crate) async fn in_time<T>(
    deadline: Option<Instant>,
    late: &str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let Some(deadline) = deadline else { return work.await };
    let late = |_| Err(Failure::new(Outcome::Budget.exit_code(), late));
    tokio::time::timeout_at(deadline.into(), work).await.unwrap_or_else(late)
}

/// What a run says that nobody approved, with the reason that a person gave.
pub fn not_approved(reason: Option<String>) -> String {
    match reason {
        Some(reason) => format!("the plan was refused: {reason}"),
        None => "the plan was not approved; use --approve auto to approve what stays in the run directory".to_owned(),
    }
}

async fn drive(
    options: &Options,
    prepared: &Prepared,
    (model, tools): (&dyn ChatModel, &[&dyn AnyTool]),
    (cx, budget, scope_of, may_amend, decide): (&Cx<'_>, &Budget, &ScopeOf<'_>, bool, &dyn Decide),
    journal: &mut Recorder<'_>,
) -> Result<LoopEnd, Failure> {
    let dataset = prompt::Dataset {
        path: "data/train.jsonl",
        rows: prepared.rows,
        columns: &prepared.columns,
        samples: &prepared.open[..prepared.open.len().min(3)],
    };
    let (outputs, window) = (prepared.run.outputs(), within(cx, model.window()).await.flatten());
    let read_output = registry::typed(ReadOutput { dir: outputs.clone(), part: context::result_chars(window) / 2 });
    let tools: Vec<&dyn AnyTool> = tools.iter().copied().chain([&*read_output]).collect();
    let facts = prepare::planner(options)?.facts(&|name| std::env::var(name).ok()).map_err(|e| Failure::new(2, e))?;
    let planning = Planning {
        model,
        window,
        longest: facts.output,
        price: facts.price,
        tools: &tools,
        cx,
        budget,
        system: prompt::system().map_err(|e| Failure::new(70, e))?,
        request: prompt::request(&prepared.task, &prepared.base_name, &dataset, options.share),
        instruction: prepared.instruction.clone(),
        share: options.share,
        outputs: &outputs,
        scope_of,
        may_amend,
        decide,
    };
    let watch = journal.watch;
    Ok(planner_loop::drive(planning, journal, &mut |delta| watch.delta(&delta)).await?)
}

/// Grades what was handed in and says what the run ended as.
async fn judge(
    end: &LoopEnd,
    prepared: &Prepared,
    jobs: &Local,
    (budget, cancel): (&Budget, &Cancel),
    journal: &mut Recorder<'_>,
    on: &(dyn Fn(Progress) + Send + Sync),
) -> Result<(Outcome, String), Failure> {
    let stopped = end.outcome();
    let events = log::read(&prepared.run.log())?;
    let submitted = match &end.end {
        End::Finished(output) => Submitted::of_finish(output),
        // What was trained before the time was up, or before nothing came of it any more, is still worth measuring.
        End::Budget | End::Stuck => Submitted::of_events(&events),
        _ => None,
    };
    let Some(submitted) = submitted else {
        return Ok(stopped.map_or_else(|| (Outcome::NotMet, NOTHING.into()), |outcome| (outcome, end.why.clone())));
    };
    // A grader has some seconds to say what it has when its time is up; they end with the run's own time. One that has no
    // time at all says nothing, so it has a second.
    let deadline = budget.deadline().map(|deadline| {
        let early = deadline.checked_sub(SAYING).unwrap_or(deadline);
        early.max(Instant::now() + Duration::from_secs(1))
    });
    let ended = Jobs::default();
    let told = |progress: Progress| ended.pass(progress, on);
    let graded = grading::grade(&prepared.run, &submitted, jobs, (deadline, cancel), &told).await;
    let (records, warnings) = ended.taken();
    for score in warnings {
        journal.record(Kind::Scored { step: None, score })?;
    }
    let (grade, cut) = match graded {
        Graded::Whole(grade) => (grade, None),
        Graded::Part(grade, why) => (grade, Some(why)),
        Graded::None(outcome, why) => return Ok((stopped.unwrap_or(outcome), why)),
    };
    journal.record(Kind::Graded { grade: Box::new(grade.clone()), jobs: records })?;
    let cut = cut.map(|why| format!("grading was cut off ({why})")).or_else(|| {
        let late = grading::training_was_cut(&events, &submitted);
        late.then(|| "training ended at the deadline, at its last checkpoint".to_owned())
    });
    let (met, figures) = outcome(&grade, &prepared.task.goals, &prepared.task.artifacts);
    let large = prepared.task.max_bytes.and_then(|most| too_large(&grade, most));
    let (met, figures) = match large {
        Some(why) => (false, format!("{figures}; {why}")),
        None => (met, figures),
    };
    // A limit that was reached goes before what was measured under it.
    Ok(match (stopped, cut) {
        (Some(outcome), _) => (outcome, format!("{}; {figures}", end.why)),
        (None, Some(why)) => (Outcome::Budget, format!("{why}; {figures}")),
        (None, None) => (if met { Outcome::Met } else { Outcome::NotMet }, figures),
    })
}

/// What a grader may take after its time is up.
const SAYING: Duration = Duration::from_millis(2_500);

const NOTHING: &str = "the planner finished without anything to grade";

/// Writes the last event and the report.
fn finish(run: &Run, mut journal: Recorder<'_>, outcome: Outcome, why: String) -> Result<Finished, Failure> {
    let dir = run.dir().to_owned();
    journal.record(Kind::Ended { outcome, why: why.clone(), run: dir.clone() })?;
    journal.sync()?;
    let report = Report::fold(&log::read(&run.log())?);
    report.write(&dir).map_err(|e| Failure::unwritten(&dir, &e, ELSEWHERE))?;
    Ok(Finished { outcome, why, dir, head: journal.head().to_owned(), report })
}

/// Nobody watches.
struct Silent;

impl Watch for Silent {
    fn event(&self, _: &Event) {}
    fn progress(&self, _: &Progress) {}
    fn delta(&self, _: &Delta<'_>) {}
    fn note(&self, _: &str) {}
    fn decide(&self, _: Proposal) -> BoxFuture<'_, Option<Decision>> {
        Box::pin(std::future::ready(None))
    }
}

/// A path as the user knows it, for messages.
pub(crate) fn shown(path: &Path) -> String {
    tunesmith_harness::text::visible(&path.display().to_string()).into()
}
