//! `data_make`: rows where there are none, written by a model or drawn from templates, checked, with their provenance.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tunesmith_harness::{
    ask::Ask,
    score::{Score, Verdict},
};
use tunesmith_sandbox::{Cancel, Local, Workdir};

use crate::{
    files::{existing, inside, name, score, typed},
    shell,
    tool::{Cx, FieldError, Progress, Tool, ToolError},
    worker::{Work, run_work},
};

mod arithmetic;
mod asking;
pub mod augment;
mod check;
pub mod column;
pub mod intake;
mod journal;
mod make;
mod names;
mod plan;
pub mod preview;
pub mod purse;
pub mod slots;
pub mod spec;
pub mod templates;
pub mod verify;
pub mod write;

use asking::Asking;
use check::Checker;
use intake::Intake;
use journal::{Header, Journal};
pub use journal::{Spent, spent_in};
use make::Maker;
use purse::{Cost, Limits, dollars};
use spec::{Seeds, Spec};
use verify::Programs;
use write::{Avoided, Circumstances, JOURNAL, Manifest, Rejected};

/// See [`Args`].
pub struct DataMake;

/// Makes rows where there are too few, checked and without repeats, for data_prepare.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// {name, rows, columns: [{name, choices?}], label?, slots: {s: [texts] or {integer: [1, 9]}}, templates: [{row: {column:
    /// "text {s}"}}]}, or teacher: {instructions, topics} for templates.
    pub spec: Map<String, Value>,
}

/// What was made, as far as a planner needs it; the manifest beside the rows says all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The file of the rows.
    pub path: String,
    /// Rows in it.
    pub rows: usize,
    /// Rows that were asked for, copies aside.
    pub wanted: usize,
    /// Rows by where they come from.
    pub made: BTreeMap<String, usize>,
    /// Rows of each label.
    pub labels: BTreeMap<String, usize>,
    /// Candidates that were not kept, by reason.
    pub rejected: BTreeMap<String, usize>,
    /// `complete`, `budget` or `stalled`.
    pub ended: String,
    /// Why there are no more rows.
    pub why: Option<String>,
    /// What this call spent.
    pub spent: Cost,
}

/// A data set that was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// Rows in it.
    pub rows: usize,
    /// What it says of itself.
    #[serde(flatten)]
    pub manifest: Manifest,
    /// What was spent, with what a kill has lost.
    pub spent: Spent,
    /// Of that, what this call spent.
    pub now: Cost,
}

/// What a making needs.
pub struct Order<'a> {
    /// What to make.
    pub spec: Spec,
    /// What is in the files that it names.
    pub intake: Intake,
    /// The directory for the result.
    pub out: PathBuf,
    /// Whether to go on with what an earlier process left there.
    pub resume: bool,
    /// The directory of the spec: its programs are there.
    pub beside: &'a Path,
    /// Limits beside those of the spec.
    pub limits: Limits,
    /// Who is asked for rows.
    pub teacher: Option<&'a dyn Ask>,
    /// Who judges them, if not the teacher.
    pub judge: Option<&'a dyn Ask>,
    /// Starts programs.
    pub jobs: &'a Local,
    /// Stops it.
    pub cancel: &'a Cancel,
    /// When it must have ended.
    pub deadline: Option<Instant>,
    /// Hears how far it is.
    pub on: &'a (dyn Fn(Progress) + Send + Sync),
}

/// The spec with the rows of its files in it.
pub fn whole(mut spec: Spec, intake: &mut Intake) -> Result<Spec, String> {
    if let Some(rows) = intake.seeds.take() {
        spec.seeds = Some(Seeds::Rows(rows));
    }
    spec.checked()
}

/// Rows to make, copies aside; without a number, as many as there are seed rows.
pub fn wanted(spec: &Spec) -> usize {
    spec.wanted().unwrap_or(spec.seed_rows().len())
}

/// Makes a data set, or goes on with one.
pub async fn make(order: Order<'_>) -> Result<Made, ToolError> {
    let Order { out, teacher, judge, .. } = &order;
    let mut intake = order.intake.clone();
    let spec = whole(order.spec.clone(), &mut intake).map_err(ToolError::Failed)?;
    let limits = spec.limits.tightened(order.limits);
    may_ask(&spec, limits, *teacher, *judge)?;
    begin(out, order.resume)?;
    let named = |ask: &Option<&dyn Ask>| ask.map(|ask| ask.name().to_owned());
    let programs = verify::files(&spec, order.beside)?;
    let avoided = intake.avoid.iter().map(|avoid| avoid.sha256.clone());
    let hashes = avoided.chain(programs.iter().map(|program| program.sha256.clone())).collect();
    let header = Header::new(spec.hash(), hashes, named(teacher), named(judge));
    let journal = Journal::open(&out.join(JOURNAL), &header).map_err(asking::failed)?;
    tidy(out);
    let wanted = wanted(&spec);
    let side_by_side = spec.teacher.clone().unwrap_or_default().side_by_side;
    let mut maker = Maker {
        spec: &spec,
        wanted,
        teacher: *teacher,
        judge: *judge,
        asking: Asking::new(journal, limits, side_by_side),
        programs: Programs { jobs: order.jobs, beside: order.beside, cancel: order.cancel, on: order.on },
        checker: Checker::new(&spec, &intake.avoid).map_err(ToolError::Failed)?,
        rejected: Rejected::create(out)?,
        on: order.on,
        deadline: order.deadline,
        began: Instant::now(),
    };
    let outcome = maker.run().await?;
    let Maker { asking, rejected, .. } = maker;
    let (spent, now) = (asking.journal.spent(), asking.journal.now);
    let avoided = spec.alike.avoid.iter().zip(intake.avoid).map(|(file, avoid)| Avoided {
        file: name(Path::new(file)),
        sha256: avoid.sha256,
        rows: avoid.rows.len(),
    });
    let around = Circumstances {
        teacher: named(teacher).filter(|_| spent.kept.questions > 0),
        judge: named(judge),
        avoided: avoided.collect(),
        programs,
        wanted,
        cost: spent.kept,
    };
    let manifest = write::all(out, &spec, &outcome, rejected, around)?;
    Ok(Made { rows: outcome.rows.len(), manifest, spent, now })
}

/// Whether there is a model for all that is asked, and a price where there is a limit of money.
fn may_ask(spec: &Spec, limits: Limits, teacher: Option<&dyn Ask>, judge: Option<&dyn Ask>) -> Result<(), ToolError> {
    if teacher.is_none() && spec.asks() {
        let why = "this spec asks a model and there is none; name one with --teacher, or make rows from templates";
        return Err(ToolError::Denied(why.into()));
    }
    match (limits.usd, teacher.into_iter().chain(judge).find(|ask| ask.price().is_none())) {
        (Some(usd), Some(ask)) => Err(ToolError::Denied(format!(
            "what {} costs is unknown, so the limit of {} cannot be kept; give --price, or limit tokens instead",
            ask.name(),
            dollars(usd)
        ))),
        _ => Ok(()),
    }
}

/// The directory for the result: new, empty, or what an earlier process left.
fn begin(out: &Path, resume: bool) -> Result<(), ToolError> {
    let shown = out.display();
    let begun = out.join(JOURNAL).symlink_metadata().is_ok();
    let empty = fs::read_dir(out).map_or(true, |mut entries| entries.next().is_none());
    match (begun, resume, empty) {
        (true, false, _) => {
            return Err(ToolError::Failed(format!(
                "{shown}: holds a data set that was begun before; go on with --resume, or name another --out"
            )));
        }
        (false, _, false) => return Err(ToolError::Failed(format!("{shown}: is not empty; name another --out"))),
        _ => {}
    }
    fs::create_dir_all(out).map_err(|error| write::unwritten(out, &error))
}

/// Removes what a process that was killed while it wrote a file left beside it. No other one writes while the journal is open.
fn tidy(out: &Path) {
    for entry in fs::read_dir(out).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with('.') && name.to_string_lossy().ends_with(".part") {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// How the directories begin that the tool makes.
const MADE: &str = "made-";

impl Tool for DataMake {
    const NAME: &'static str = "data_make";
    type Args = Args;
    type Output = Output;

    async fn call(&self, cx: &Cx<'_>, args: Args) -> Result<Output, ToolError> {
        let wrong = |message: String| ToolError::Invalid(vec![FieldError { pointer: "/spec".into(), message }]);
        let spec = Spec::of(Value::Object(args.spec)).map_err(wrong)?;
        if spec.verify.iter().any(|verify| !verify.asks()) {
            shell::confinable(cx.jobs)?;
        }
        if cx.ask.is_none() && spec.asks() {
            return Err(ToolError::Denied(
                "this run asks no model for rows: it must be planned by one, with --share samples; use templates"
                    .into(),
            ));
        }
        let job = intake::Job {
            seeds: match &spec.seeds {
                Some(Seeds::File(file)) => Some(existing(cx.dir, "/spec/seeds", file)?),
                _ => None,
            },
            avoid: spec
                .alike
                .avoid
                .iter()
                .map(|file| existing(cx.dir, "/spec/alike/avoid", file))
                .collect::<Result<_, _>>()?,
        };
        let mut intake = Intake::default();
        if !job.is_empty() {
            let reads = job.files();
            let work = Work::Gather(job);
            intake = typed(run_work(cx.jobs, cx.dir, &work, reads, (cx.deadline, &cx.cancel), cx.on).await?)?;
        }
        let spec = whole(spec, &mut intake).map_err(wrong)?;
        // The same spec goes on with the same rows, and another one has a place of its own.
        let rel = format!("{MADE}{}", &spec.hash()[..8]);
        let order = Order {
            out: inside(cx.dir, "/spec", &rel)?,
            spec,
            intake,
            resume: true,
            beside: cx.dir.path(),
            limits: Limits::default(),
            teacher: cx.ask,
            judge: None,
            jobs: cx.jobs,
            cancel: &cx.cancel,
            deadline: cx.deadline,
            on: cx.on,
        };
        let Made { rows, manifest, now: spent, .. } = make(order).await?;
        let Manifest { wanted, made, labels, rejected, ended, why, .. } = manifest;
        Ok(Output { path: format!("{rel}/{}", write::ROWS), rows, wanted, made, labels, rejected, ended, why, spent })
    }

    fn scores(&self, output: &Output, _: &Workdir) -> Vec<Score> {
        let Output { rows, wanted, made, labels, rejected, ended, why, .. } = output;
        let originals: usize = made.iter().filter(|(by, _)| *by != "augment").map(|(_, rows)| rows).sum();
        let verdict = match originals {
            0 => Verdict::Fail,
            _ if ended == "complete" => Verdict::Pass,
            _ => Verdict::Warn,
        };
        let why = why.clone().unwrap_or_else(|| format!("{originals} of {wanted} rows are made"));
        let candidates = rows + rejected.values().sum::<usize>();
        let share = *rows as f64 / candidates.max(1) as f64;
        let kept = format!("{rows} of {candidates} candidates are kept");
        let kept_verdict = if share < 0.2 { Verdict::Warn } else { Verdict::Pass };
        let mut scores = vec![
            score("make.rows", Some(originals as f64 / (*wanted).max(1) as f64), verdict, why),
            score("make.kept", Some(share), kept_verdict, kept),
        ];
        scores.extend(balance(labels));
        scores
    }
}

/// How even the labels are.
fn balance(labels: &BTreeMap<String, usize>) -> Option<Score> {
    let (least, most) = (labels.values().min()?, labels.values().max()?);
    let share = *least as f64 / (*most).max(1) as f64;
    let verdict = if share < 0.1 { Verdict::Warn } else { Verdict::Pass };
    Some(score(
        "make.balance",
        Some(share),
        verdict,
        format!("{least} rows of the rarest label, {most} of the commonest"),
    ))
}
