//! What a row must pass besides its shape: a program, the agreement of samples, or a judge.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tunesmith_harness::{ask::Question, recipe::Row};
use tunesmith_lm::rng::Rng;
use tunesmith_sandbox::{Cancel, Ended, Job, Limits, Line, Local, Stdin, Workdir};

use super::{
    check::Refusal,
    plan,
    spec::{Spec, Teacher},
    write::FileHash,
};
use crate::{
    confined,
    files::cut,
    tool::{Progress, ToolError},
};

/// Most bytes that a program may print about one row.
const MOST_OUTPUT: u64 = 64 << 10;
/// Memory of a program, in bytes.
const MOST_MEMORY: u64 = 2 << 30;
/// Best score of a judge.
const BEST: u64 = 5;

/// One thing that a row must pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case", deny_unknown_fields)]
pub enum Verify {
    /// A program that reads the row as JSON and returns 0. Where it does not, the reason is the first line that it prints, or the
    /// last one of its errors.
    Program {
        /// The program and its arguments; one with a slash is relative to the spec.
        command: Vec<String>,
        /// Seconds until it is killed.
        #[serde(default = "ten")]
        seconds: f64,
    },
    /// A column that the model fills in again and again, seeing the others alone.
    Agreement {
        /// The column.
        column: String,
        /// How often it is asked.
        #[serde(default = "three")]
        samples: usize,
        /// How often its answer must be that of the row.
        #[serde(default = "two")]
        at_least: usize,
        /// How it should think about it, in words.
        #[serde(default)]
        instructions: String,
    },
    /// A score from 1 to 5.
    Judge {
        /// What makes a row good, in words.
        rubric: String,
        /// Least score.
        #[serde(default = "four")]
        at_least: u64,
    },
}

fn ten() -> f64 {
    10.0
}

fn two() -> usize {
    2
}

fn three() -> usize {
    3
}

fn four() -> u64 {
    4
}

impl Verify {
    /// What makes no sense in it.
    pub fn check(&self, spec: &Spec) -> Result<(), String> {
        match self {
            Verify::Program { command, .. } if command.is_empty() => {
                Err("verify program: name the command, for example [\"python3\", \"check.py\"]".into())
            }
            Verify::Program { seconds, .. } if !(*seconds > 0.0 && *seconds <= 600.0) => {
                Err("verify program: seconds must be above 0, and at most 600".into())
            }
            Verify::Agreement { column, .. } if spec.column(column).is_none() => {
                Err(format!("verify agreement: there is no column {column:?}"))
            }
            Verify::Agreement { samples, at_least, .. }
                if !(1..=20).contains(samples) || !(1..=*samples).contains(at_least) =>
            {
                Err("verify agreement: samples may be 1 to 20, and at_least no more than that".into())
            }
            Verify::Judge { rubric, .. } if rubric.trim().is_empty() => {
                Err("verify judge: give a rubric, which says what makes a row good".into())
            }
            Verify::Judge { at_least, .. } if !(1..=BEST).contains(at_least) => {
                Err(format!("verify judge: at_least may be 1 to {BEST}"))
            }
            _ => Ok(()),
        }
    }

    /// Whether a model is asked.
    pub fn asks(&self) -> bool {
        !matches!(self, Verify::Program { .. })
    }

    /// Its name in a spec.
    pub fn word(&self) -> &'static str {
        match self {
            Verify::Program { .. } => "program",
            Verify::Agreement { .. } => "agreement",
            Verify::Judge { .. } => "judge",
        }
    }

    /// What a model is asked about a row; nothing for a program.
    pub fn questions(&self, spec: &Spec, row: &Row, id: &str) -> Vec<Question> {
        let seed = |n: usize| Rng::new(spec.seed, &format!("{} {n} {id}", self.word())).next_u64();
        match self {
            Verify::Program { .. } => Vec::new(),
            Verify::Agreement { column, samples, instructions, .. } => {
                let mut rest = row.clone();
                rest.shift_remove(column);
                let words = format!(
                    "{}Here is a row without its column {column:?}:\n{}\nFill in {column:?}.",
                    if instructions.is_empty() { String::new() } else { format!("{}\n", instructions.trim()) },
                    Value::Object(rest)
                );
                let answer = Spec::schema(spec.column(column).into_iter());
                (0..*samples).map(|n| question(&words, answer.clone(), 0.7, seed(n))).collect()
            }
            Verify::Judge { rubric, .. } => {
                let words = format!(
                    "Judge this row of a data set:\n{}\nWhat makes a row good: {}\nGive a score from 1 (useless) to {BEST} (as \
                     good as can be) and the reason in one sentence.",
                    Value::Object(row.clone()),
                    rubric.trim()
                );
                let score = json!({
                    "type": "object", "required": ["score", "why"], "additionalProperties": false,
                    "properties": {"why": {"type": "string"}, "score": {"type": "integer", "minimum": 1, "maximum": BEST}},
                });
                vec![question(&words, score, 0.0, seed(0))]
            }
        }
    }

    /// What the answers say of a row: what is kept of it, or why it is refused.
    pub fn verdict(&self, row: &Row, answers: &[Result<Row, Refusal>]) -> Result<Value, Refusal> {
        match self {
            Verify::Program { .. } => Ok(Value::Null),
            Verify::Agreement { column, samples, at_least, .. } => {
                let wanted = row.get(column).map(plain);
                let agree = |answer: &&Result<Row, Refusal>| {
                    answer.as_ref().is_ok_and(|answer| answer.get(column).map(plain) == wanted)
                };
                let agreeing = answers.iter().filter(agree).count();
                let why = format!("{agreeing} of {samples} samples agree on {column:?}");
                match agreeing >= *at_least {
                    true => Ok(why.into()),
                    false => Err(Refusal::new("agreement", why)),
                }
            }
            Verify::Judge { at_least, .. } => {
                let answer = answers.first().and_then(|answer| answer.as_ref().ok());
                let score = answer.and_then(|answer| answer.get("score")?.as_u64()).filter(|score| *score <= BEST);
                let why = answer.and_then(|answer| answer.get("why")?.as_str()).unwrap_or("no reason given");
                match score {
                    Some(score) if score >= *at_least => Ok(format!("score {score}: {}", cut(why, 200)).into()),
                    Some(score) => Err(Refusal::new("judge", format!("score {score}: {why}"))),
                    None => Err(Refusal::new("judge", "the judge gave no score")),
                }
            }
        }
    }
}

fn question(words: &str, schema: Value, temperature: f64, seed: u64) -> Question {
    Question {
        messages: plan::conversation(&format!("{words}\nReply with JSON of this schema: {schema}")),
        schema: Some(schema),
        max_tokens: Teacher::default().max_tokens,
        temperature,
        seed,
    }
}

/// A cell as samples are compared: case and blanks say nothing, and 3 is 3.0.
fn plain(cell: &Value) -> String {
    match cell {
        Value::String(text) => text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase(),
        Value::Number(number) => number.as_f64().map_or_else(|| number.to_string(), |number| number.to_string()),
        other => other.to_string(),
    }
}

/// The files beside a spec that its programs are made of, as far as it names them.
pub fn files(spec: &Spec, beside: &Path) -> Result<Vec<FileHash>, ToolError> {
    let mut all = Vec::new();
    for verify in &spec.verify {
        let Verify::Program { command, .. } = verify else { continue };
        for word in command.iter().filter(|word| file(beside, word).is_some()) {
            let failed = |error| ToolError::Failed(format!("verify program: {word}: cannot be read: {error}"));
            all.push(FileHash::of(beside, word).map_err(failed)?);
        }
    }
    Ok(all)
}

/// The file beside a spec that a word of a command names.
fn file(beside: &Path, word: &str) -> Option<PathBuf> {
    let path = beside.join(word);
    let inside = path.canonicalize().is_ok_and(|path| path.starts_with(beside));
    (inside && path.is_file()).then_some(path)
}

/// Where programs run.
pub struct Programs<'a> {
    /// Starts them.
    pub jobs: &'a Local,
    /// The directory of the spec, which they may read.
    pub beside: &'a Path,
    /// Ends them.
    pub cancel: &'a Cancel,
    /// Hears of each that ended.
    pub on: &'a (dyn Fn(Progress) + Send + Sync),
}

impl Programs<'_> {
    /// What a program says is wrong with a row.
    pub async fn check(&self, command: &[String], seconds: f64, row: &Row) -> Result<Option<String>, ToolError> {
        // What one row's program leaves behind is nothing to the next one's, or what it says would depend on their order.
        let nowhere = |error: std::io::Error| ToolError::Resource(format!("no place for temporary files: {error}"));
        let dir = tempfile::tempdir().map_err(nowhere)?;
        let scratch = Workdir::open(dir.path()).map_err(nowhere)?;
        // The program runs elsewhere, so that a file beside the spec needs its whole path.
        let mut job = Job::new(command.iter().enumerate().map(|(at, word)| match file(self.beside, word) {
            Some(path) => path.display().to_string(),
            None if at == 0 && word.contains('/') => self.beside.join(word).display().to_string(),
            None => word.clone(),
        }));
        job.stdin = Stdin::Bytes(format!("{}\n", Value::Object(row.clone())).into_bytes());
        job.reads = vec![PathBuf::from(self.beside)];
        job.line_bytes = MOST_OUTPUT as usize;
        job.limits = Limits {
            wall: Duration::try_from_secs_f64(seconds).ok(),
            memory: Some(MOST_MEMORY),
            output_bytes: Some(MOST_OUTPUT),
            ..Limits::default()
        };
        let failed = |error: std::io::Error| ToolError::Failed(format!("verify program cannot be started: {error}"));
        let mut running = self.jobs.spawn(&scratch, job).map_err(failed)?;
        running.cancel_on(self.cancel);
        let (mut said, mut complained) = (None, None);
        while let Some(line) = running.lines.recv().await {
            match line {
                Line::Out(line) if said.is_none() && !line.trim().is_empty() => said = Some(line),
                // Of a traceback the last line says what happened.
                Line::Err(line) if !line.trim().is_empty() => complained = Some(line),
                _ => {}
            }
        }
        let finished = running.wait().await;
        confined::tell(self.jobs, &finished, "verify", self.on);
        let said = said.or(complained).map(|said| Refusal::new("program", said).why);
        match finished.ended {
            Ended::Exit(0) => Ok(None),
            Ended::Exit(code) => Ok(Some(said.unwrap_or_else(|| format!("it returned {code}")))),
            Ended::Signal(number) => Ok(Some(format!("signal {number} killed it"))),
            Ended::Limit(limit) => Ok(Some(format!("a limit stopped it ({limit:?})"))),
            Ended::Cancelled => Err(ToolError::Cancelled),
            Ended::Failed(why) => Err(ToolError::Failed(format!("verify program could not run: {why}"))),
        }
    }
}
