//! What is left of a making: rows, where each comes from, what was rejected and why, a manifest and a card.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;
use tunesmith_harness::{
    figures::counted, hash::sha256_file, recipe::Row, redact::redacted, run::write_atomically, text::visible_lines,
};

use super::{
    check::Refusal,
    make::{Ended, Outcome},
    purse::Cost,
    spec::Spec,
};
use crate::tool::ToolError;

/// The rows, and what each comes from, line by line.
pub const ROWS: &str = "rows.jsonl";
/// See [`ROWS`].
pub const PROVENANCE: &str = "provenance.jsonl";
/// What was rejected, and why.
pub const REJECTED: &str = "rejected.jsonl";
/// What was made, with the seed rows in it.
pub const SPEC: &str = "spec.json";
/// Hashes and counts.
pub const MANIFEST: &str = "manifest.json";
/// The card.
pub const CARD: &str = "README.md";
/// Questions and answers.
pub const JOURNAL: &str = "journal.jsonl";

/// A row of the data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// The row.
    pub row: Row,
    /// What names it.
    pub id: String,
    /// Where it comes from.
    pub origin: Map<String, Value>,
    /// What it passed.
    pub checks: Vec<Value>,
}

impl Made {
    /// A row that has passed nothing yet.
    pub fn new(row: Row, id: String, origin: Map<String, Value>) -> Made {
        Made { row, id, origin, checks: Vec::new() }
    }
}

/// What is not kept: a line each, and counted.
pub struct Rejected {
    path: PathBuf,
    out: BufWriter<NamedTempFile>,
    log: Vec<&'static str>,
}

impl Rejected {
    /// Begins anew: a making that goes on rejects the same again.
    pub fn create(out: &Path) -> Result<Rejected, ToolError> {
        let path = out.join(REJECTED);
        let mut builder = tempfile::Builder::new();
        builder.prefix(".").suffix(".part");
        // As the files beside it, which are open to whom the user allows.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(out).map_err(|error| unwritten(&path, &error))?;
        Ok(Rejected { path, out: BufWriter::new(file), log: Vec::new() })
    }

    /// Takes note of something that is not kept.
    pub fn add(&mut self, refusal: &Refusal, origin: &Map<String, Value>, what: &Value) -> Result<(), ToolError> {
        self.log.push(refusal.reason);
        let line = json!({"reason": refusal.reason, "why": refusal.why, "what": what, "origin": origin});
        // What looks like a secret is one of the reasons.
        let line = tunesmith_harness::redact::value(line);
        writeln!(self.out, "{line}").map_err(|error| unwritten(&self.path, &error))
    }

    /// How much is not kept.
    pub fn total(&self) -> usize {
        self.log.len()
    }

    /// The reasons from number `first` on, counted.
    pub fn since(&self, first: usize) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        self.log.iter().skip(first).for_each(|reason| *counts.entry(*reason).or_default() += 1);
        counts
    }

    /// Puts the file under its name.
    fn finish(self) -> Result<(), ToolError> {
        let failed = |error: io::Error| unwritten(&self.path, &error);
        let file = self.out.into_inner().map_err(|error| failed(error.into_error()))?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&self.path).map_err(|error| failed(error.error)).map(drop)
    }
}

/// What the manifest says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Name of the data set.
    pub name: String,
    /// Version of Tunesmith.
    pub tunesmith: String,
    /// SHA-256 of the spec without its limits, which is what makes the rows.
    pub spec_sha256: String,
    /// Seed of every draw.
    pub seed: u64,
    /// Who was asked.
    pub teacher: Option<String>,
    /// Who judged.
    pub judge: Option<String>,
    /// The files that nothing may be like.
    pub avoided: Vec<Avoided>,
    /// The files of the programs that looked at the rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<FileHash>,
    /// Rows that were asked for, copies aside.
    pub wanted: usize,
    /// Candidates, whatever became of them.
    pub candidates: usize,
    /// What was not kept, by reason.
    pub rejected: BTreeMap<String, usize>,
    /// Rows made, by where they come from.
    pub made: BTreeMap<String, usize>,
    /// Rows of each label.
    pub labels: BTreeMap<String, usize>,
    /// `complete`, `budget` or `stalled`.
    pub ended: String,
    /// Why there are no more rows.
    pub why: Option<String>,
    /// What the replies took that these rows were made of.
    pub cost: Cost,
    /// The files beside this one.
    pub files: Vec<FileHash>,
}

/// A file that nothing made may be like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Avoided {
    pub file: String,
    pub sha256: String,
    pub rows: usize,
}

/// A file by its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct FileHash {
    pub file: String,
    pub sha256: String,
    pub bytes: u64,
}

impl FileHash {
    /// Of a file of a directory.
    pub fn of(dir: &Path, name: &str) -> io::Result<FileHash> {
        let path = dir.join(name);
        Ok(FileHash { file: name.into(), sha256: sha256_file(&path)?, bytes: fs::metadata(&path)?.len() })
    }
}

impl Ended {
    /// The word for it, and why there are no more rows.
    pub fn parts(&self) -> (&'static str, Option<&str>) {
        match self {
            Ended::Complete => ("complete", None),
            Ended::Budget(why) => ("budget", Some(why)),
            Ended::Stalled(why) => ("stalled", Some(why)),
        }
    }
}

/// Who was asked, what was avoided, and what it took: what a manifest says beside the outcome.
pub struct Circumstances {
    /// Who was asked.
    pub teacher: Option<String>,
    /// Who judged.
    pub judge: Option<String>,
    /// The files that nothing may be like.
    pub avoided: Vec<Avoided>,
    /// The files of the programs that looked at the rows.
    pub programs: Vec<FileHash>,
    /// Rows that were asked for.
    pub wanted: usize,
    /// What it took.
    pub cost: Cost,
}

/// Writes all files; the manifest last, so that it stands for a whole data set.
pub fn all(
    out: &Path,
    spec: &Spec,
    outcome: &Outcome,
    rejected: Rejected,
    around: Circumstances,
) -> Result<Manifest, ToolError> {
    let (refused, reasons) = (rejected.total(), rejected.since(0));
    rejected.finish()?;
    let lines = |line: &dyn Fn(usize, &Made) -> Value| {
        let lines = outcome.rows.iter().enumerate().map(|(at, made)| format!("{}\n", line(at, made)));
        lines.collect::<String>()
    };
    let spec_sha256 = spec.hash();
    put(out, ROWS, &lines(&|_, made| Value::Object(made.row.clone())))?;
    put(out, PROVENANCE, &lines(&|at, made| provenance(at, made, &spec_sha256)))?;
    put(out, SPEC, &format!("{}\n", serde_json::to_string_pretty(spec).unwrap_or_default()))?;
    let mut manifest = Manifest {
        name: spec.name.clone(),
        tunesmith: env!("CARGO_PKG_VERSION").into(),
        spec_sha256,
        seed: spec.seed,
        teacher: around.teacher,
        judge: around.judge,
        avoided: around.avoided,
        programs: around.programs,
        wanted: around.wanted,
        candidates: refused + outcome.rows.len(),
        rejected: reasons.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect(),
        made: counts(&outcome.rows, |made| made.origin.get("made_by")?.as_str()),
        labels: counts(&outcome.rows, |made| made.row.get(spec.label.as_ref()?)?.as_str()),
        ended: outcome.ended.parts().0.into(),
        why: outcome.ended.parts().1.map(str::to_owned),
        cost: around.cost,
        files: Vec::new(),
    };
    put(out, CARD, &card(spec, &manifest, &outcome.topics))?;
    let hash = |name: &str| FileHash::of(out, name).map_err(|error| unwritten(&out.join(name), &error));
    manifest.files = [ROWS, PROVENANCE, REJECTED, SPEC, CARD].into_iter().map(hash).collect::<Result<_, _>>()?;
    put(out, MANIFEST, &format!("{}\n", serde_json::to_string_pretty(&manifest).unwrap_or_default()))?;
    Ok(manifest)
}

fn provenance(at: usize, made: &Made, spec: &str) -> Value {
    let mut line = json!({"line": at + 1, "id": made.id, "spec": &spec[..16]});
    for (name, value) in &made.origin {
        line[name] = value.clone();
    }
    line["checks"] = json!(made.checks);
    line
}

fn counts<'a>(rows: &'a [Made], of: impl Fn(&'a Made) -> Option<&'a str>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    rows.iter().filter_map(of).for_each(|name| *counts.entry(name.to_owned()).or_default() += 1);
    counts
}

fn put(out: &Path, name: &str, text: &str) -> Result<(), ToolError> {
    write_atomically(&out.join(name), redacted(text).as_bytes()).map_err(|error| ToolError::Resource(error.to_string()))
}

/// What stands in the way of writing.
pub fn unwritten(path: &Path, error: &io::Error) -> ToolError {
    ToolError::Resource(format!("{}: cannot be written: {error}", path.display()))
}

/// The card, as the Hub shows it.
fn card(spec: &Spec, manifest: &Manifest, topics: &[String]) -> String {
    let rows: usize = manifest.made.values().sum();
    let licence = spec.licence.as_deref().unwrap_or("unknown");
    let mut lines = vec![
        "---".to_owned(),
        format!("license: {}", json!(licence)),
        format!("pretty_name: {}", json!(spec.name)),
        "tags: [\"synthetic\", \"tunesmith\"]".into(),
        format!("configs: [{{\"config_name\": \"default\", \"data_files\": \"{ROWS}\"}}]"),
        "---".into(),
        String::new(),
        format!("# {}", plain(&spec.name)),
        String::new(),
    ];
    if !spec.about.trim().is_empty() {
        lines.extend([plain(spec.about.trim()), String::new()]);
    }
    lines.push(format!("{} made by Tunesmith {}{}.", counted(rows, "row"), manifest.tunesmith, origin(spec, manifest)));
    if manifest.ended != "complete" {
        let why = manifest.why.as_deref().unwrap_or_default();
        lines.push(format!("{} were wanted; it ended early: {}.", manifest.wanted, plain(why)));
    }
    lines.extend([String::new(), "| column | kind | what it is |".into(), "|---|---|---|".into()]);
    for column in &spec.columns {
        let kind = match column.choices.is_empty() {
            true => format!("{:?}", column.kind).to_lowercase(),
            false => format!("one of {}", column.choices.join(", ")),
        };
        lines.push(format!("| {} | {} | {} |", cell(&column.name), cell(&kind), cell(&column.about)));
    }
    let tables = [("label", &manifest.labels), ("made by", &manifest.made), ("rejected because", &manifest.rejected)];
    for (head, counts) in tables.into_iter().filter(|(_, counts)| !counts.is_empty()) {
        lines.extend([String::new(), format!("| {head} | rows |"), "|---|---|".into()]);
        lines.extend(counts.iter().map(|(name, count)| format!("| {} | {count} |", cell(name))));
    }
    if !topics.is_empty() {
        let topics: Vec<String> = topics.iter().map(|topic| plain(topic)).collect();
        lines.extend([String::new(), format!("Topics: {}.", topics.join("; "))]);
    }
    lines.extend([String::new(), "## How it was checked".into(), String::new()]);
    lines.extend(checks(spec, manifest));
    lines.extend([String::new(), "## Limits".into(), String::new()]);
    lines.extend(limits(spec, manifest, licence));
    format!("{}\n", lines.join("\n"))
}

fn origin(spec: &Spec, manifest: &Manifest) -> String {
    match &manifest.teacher {
        Some(teacher) if spec.teacher.is_some() => format!(", written by {}", plain(teacher)),
        _ if !spec.templates.is_empty() => format!(", drawn from {}", counted(spec.templates.len(), "template")),
        _ => " from the rows in `spec.json`".into(),
    }
}

fn checks(spec: &Spec, manifest: &Manifest) -> Vec<String> {
    let mut lines = vec!["- Every row fits the columns above, is plain text, and repeats no other.".to_owned()];
    for verify in &spec.verify {
        lines.push(format!("- Every row passed: {}.", cell(&json!(verify).to_string())));
    }
    for Avoided { file, sha256, rows } in &manifest.avoided {
        lines.push(format!("- No row is like one of the {rows} of {} (SHA-256 {sha256}).", plain(file)));
    }
    lines.push(format!(
        "- `{PROVENANCE}` says of each line where it comes from, `{REJECTED}` what was not kept and why."
    ));
    lines
}

fn limits(spec: &Spec, manifest: &Manifest, licence: &str) -> Vec<String> {
    let mut lines = vec!["- The rows are synthetic: nobody wrote or lived them, and they may be wrong.".to_owned()];
    if manifest.teacher.is_some() {
        lines.push("- A model had a part in them; its terms of use may bound what they may be used for.".into());
    }
    for augment in &spec.augment {
        if let Some(risk) = augment.how.risk() {
            lines.push(format!("- Copies changed by `{}` keep their label although {risk}.", augment.how.word()));
        }
    }
    if licence == "unknown" {
        lines.push("- The licence is unknown: its maker has not named one.".into());
    }
    let cost = manifest.cost;
    if cost.questions > 0 {
        let usd = cost.usd.map_or("an unknown sum".into(), |usd| format!("${usd:.4}"));
        let most = if cost.exact { "" } else { "at most " };
        let questions = counted(cost.questions as usize, "question");
        lines.push(format!("- It took {questions}, {most}{} tokens and {usd}.", cost.tokens));
    }
    lines
}

/// Text without what would act on a page.
fn plain(text: &str) -> String {
    visible_lines(text).replace('<', "&lt;")
}

fn cell(text: &str) -> String {
    plain(text).replace('|', "\\|").replace('\n', " ")
}
