//! The making itself: candidates from a source, checks in order, and what becomes of each.

mod sources;

use std::time::Instant;

use serde_json::{Map, Value, json};
use tunesmith_harness::{ask::Ask, recipe::Row};

use super::{
    asking::{self, Asking},
    check::{self, Checker, Refusal},
    journal::Reply,
    plan::{self, Needs},
    spec::Spec,
    verify::{Programs, Verify},
    write::{Made, Rejected},
};
use crate::tool::{Progress, ToolError};

/// Most bytes of all rows: they are held until the end.
const MOST_BYTES: usize = 256 << 20;

/// Everything that a making works with.
pub struct Maker<'a> {
    /// What to make.
    pub spec: &'a Spec,
    /// Rows to make, copies aside.
    pub wanted: usize,
    /// Who is asked for rows.
    pub teacher: Option<&'a dyn Ask>,
    /// Who judges them.
    pub judge: Option<&'a dyn Ask>,
    /// Asks and keeps.
    pub asking: Asking,
    /// Runs programs.
    pub programs: Programs<'a>,
    /// Says what is new and good.
    pub checker: Checker,
    /// What is not kept.
    pub rejected: Rejected,
    /// Where to tell how far it is.
    pub on: &'a (dyn Fn(Progress) + Send + Sync),
    /// When it must have ended.
    pub deadline: Option<Instant>,
    /// When it began, for the rate.
    pub began: Instant,
}

/// What was made.
pub struct Outcome {
    /// The rows, in order.
    pub rows: Vec<Made>,
    /// Why there are no more.
    pub ended: Ended,
    /// The topics that rows are about.
    pub topics: Vec<String>,
}

/// Why a making ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All rows are there.
    Complete,
    /// A limit does not allow more.
    Budget(String),
    /// Nothing new comes any more.
    Stalled(String),
}

/// A row that may become one of the data set.
struct Candidate {
    row: Value,
    /// Where it comes from, as its provenance says.
    origin: Map<String, Value>,
    /// The question that brought it, by its place in the round.
    question: usize,
}

/// The rows made so far, and what is still needed.
struct Progressing {
    rows: Vec<Made>,
    /// Bytes of their JSON.
    bytes: usize,
    needs: Needs,
}

impl Progressing {
    fn add(&mut self, made: Made) {
        self.bytes += json!(made.row).to_string().len();
        self.rows.push(made);
    }

    /// Why no more rows can be held.
    fn full(&self) -> Option<String> {
        let most = MOST_BYTES >> 20;
        (self.bytes > MOST_BYTES)
            .then(|| format!("the rows have grown to {most} MiB, the most of one data set; make two"))
    }

    fn left(&self) -> usize {
        self.needs.iter().map(|(_, rows)| rows).sum()
    }

    /// The place of a row's label among what is needed, where more of it is.
    fn need(&mut self, label: Option<&str>) -> Option<&mut usize> {
        let of =
            |(name, rows): &&mut (Option<String>, usize)| *rows > 0 && (name.is_none() || name.as_deref() == label);
        self.needs.iter_mut().find(of).map(|(_, rows)| rows)
    }
}

impl Maker<'_> {
    /// Makes all there is to make.
    pub async fn run(&mut self) -> Result<Outcome, ToolError> {
        let mut so_far = Progressing { rows: Vec::new(), bytes: 0, needs: plan::needs(self.spec, self.wanted) };
        let spec = self.spec;
        let (mut ended, topics) = match (&spec.teacher, self.teacher) {
            (Some(settings), Some(teacher)) => self.taught(&mut so_far, settings, teacher).await?,
            _ if !spec.templates.is_empty() => (self.drawn(&mut so_far).await?, Vec::new()),
            _ => (self.given(&mut so_far).await?, Vec::new()),
        };
        self.augment(&mut so_far).await?;
        if let (Ended::Complete, Some(why)) = (&ended, so_far.full()) {
            ended = Ended::Budget(why);
        }
        Ok(Outcome { rows: so_far.rows, ended, topics })
    }

    /// Takes candidates through every check, in order, and gives the questions that brought a row. What is like a row that
    /// was refused later is refused as well: it would be asked about in vain.
    async fn take(&mut self, so_far: &mut Progressing, candidates: Vec<Candidate>) -> Result<Vec<usize>, ToolError> {
        let mut good = Vec::new();
        for Candidate { row, origin, question } in candidates {
            let checked = match &row {
                Value::Object(cells) => self.checker.take(cells).map(|id| (cells.clone(), id)),
                _ => Err(Refusal::new("schema", "a row is no JSON object")),
            };
            match checked {
                Ok((row, id)) => good.push((Made::new(row, id, origin), question)),
                Err(refusal) => self.rejected.add(&refusal, &origin, &row)?,
            }
        }
        for verify in &self.spec.verify {
            good = self.verify(verify, good).await?;
        }
        let mut brought = Vec::new();
        for (made, question) in good {
            let label = self.spec.label.as_ref().and_then(|label| made.row.get(label)).and_then(Value::as_str);
            match so_far.need(label) {
                Some(rows) => {
                    *rows -= 1;
                    brought.push(question);
                    so_far.add(made);
                }
                None => {
                    let enough = Refusal::new("enough", "there are enough rows of its kind");
                    self.rejected.add(&enough, &made.origin, &Value::Object(made.row.clone()))?;
                }
            }
        }
        self.tell(so_far)?;
        Ok(brought)
    }

    /// Those that pass, with what was said of them.
    async fn verify(&mut self, verify: &Verify, rows: Vec<(Made, usize)>) -> Result<Vec<(Made, usize)>, ToolError> {
        let verdicts = match verify {
            Verify::Program { command, seconds } => self.run_program(command, *seconds, &rows).await?,
            _ => self.ask_about(verify, &rows).await?,
        };
        let mut passed = Vec::new();
        for ((mut made, question), verdict) in rows.into_iter().zip(verdicts) {
            match verdict {
                Ok(said) => {
                    let mut check = json!({"by": verify.word()});
                    if !said.is_null() {
                        check["said"] = said;
                    }
                    made.checks.push(check);
                    passed.push((made, question));
                }
                Err(refusal) => self.rejected.add(&refusal, &made.origin, &Value::Object(made.row.clone()))?,
            }
        }
        Ok(passed)
    }

    async fn run_program(
        &mut self,
        command: &[String],
        seconds: f64,
        rows: &[(Made, usize)],
    ) -> Result<Vec<Result<Value, Refusal>>, ToolError> {
        let mut verdicts = Vec::new();
        for (made, _) in rows {
            let id = tunesmith_harness::hash::sha256(format!("{command:?} {}", made.id).as_bytes())[..16].to_owned();
            // A program may be killed by the clock, so what it said once is what counts.
            if self.asking.journal.check(&id).is_none() {
                self.in_time()?;
                let wrong = self.programs.check(command, seconds, &made.row).await?;
                self.asking.journal.checked(id.clone(), wrong).map_err(asking::failed)?;
            }
            verdicts.push(match self.asking.journal.check(&id).and_then(Option::as_ref) {
                Some(wrong) => Err(Refusal::new("program", wrong)),
                None => Ok(Value::Null),
            });
        }
        Ok(verdicts)
    }

    async fn ask_about(
        &mut self,
        verify: &Verify,
        rows: &[(Made, usize)],
    ) -> Result<Vec<Result<Value, Refusal>>, ToolError> {
        let judge = if matches!(verify, Verify::Judge { .. }) { self.judge.or(self.teacher) } else { self.teacher };
        let Some(who) = judge else {
            return Err(ToolError::Failed(format!("verify {} needs a model; name one with --teacher", verify.word())));
        };
        let questions: Vec<_> = rows.iter().map(|(made, _)| verify.questions(self.spec, &made.row, &made.id)).collect();
        let replies = self.asking.ask(who, questions.iter().flatten().cloned().collect()).await?;
        let mut replies = replies.iter();
        let verdicts = rows.iter().zip(&questions).map(|((made, _), asked)| {
            let answers: Vec<_> = replies.by_ref().take(asked.len()).map(|(_, reply)| object(reply)).collect();
            match answers.len() == asked.len() {
                true => verify.verdict(&made.row, &answers),
                false => Err(Refusal::new("unverified", "a limit was reached before it was verified")),
            }
        });
        Ok(verdicts.collect())
    }

    /// Adds changed copies of the rows. Programs look at them too; models do not, as their rows were looked at.
    async fn augment(&mut self, so_far: &mut Progressing) -> Result<(), ToolError> {
        let originals = so_far.rows.len();
        for augment in &self.spec.augment {
            let (mut copies, mut bytes) = (Vec::new(), so_far.bytes);
            for at in 0..originals {
                if bytes > MOST_BYTES {
                    break;
                }
                let parent = &so_far.rows[at];
                let Some(row) = augment.copy(&parent.row, &parent.id, self.spec.seed) else { continue };
                let mut origin = Map::new();
                origin.insert("made_by".into(), "augment".into());
                origin.insert("how".into(), augment.how.word().into());
                origin.insert("of".into(), parent.id.as_str().into());
                augment
                    .how
                    .risk()
                    .iter()
                    .for_each(|risk| drop(origin.insert("label_may_change".into(), (*risk).into())));
                match self.checker.take_copy(&row) {
                    Ok(id) => {
                        bytes += json!(row).to_string().len();
                        copies.push((Made::new(row, id, origin), at));
                    }
                    Err(refusal) => self.rejected.add(&refusal, &origin, &Value::Object(row))?,
                }
            }
            for verify in self.spec.verify.iter().filter(|verify| !verify.asks()) {
                copies = self.verify(verify, copies).await?;
            }
            copies.into_iter().for_each(|(made, _)| so_far.add(made));
        }
        Ok(())
    }

    /// Why no more can be made, where not all is.
    fn short(&mut self, so_far: &Progressing) -> Option<String> {
        let why = self.asking.short.take().or_else(|| so_far.full())?;
        (so_far.left() > 0).then_some(why)
    }

    /// Tells how far it is; an error once the time is up or the user cancels.
    fn tell(&self, so_far: &Progressing) -> Result<(), ToolError> {
        self.in_time()?;
        let (done, spent) = (so_far.rows.len(), self.asking.journal.spent().kept);
        let seconds = self.began.elapsed().as_secs_f64();
        let rate = (done > 0 && seconds > 0.5).then(|| done as f64 / seconds);
        let per_minute = rate.map(|rate| format!(" ({:.0} rows a minute)", rate * 60.0)).unwrap_or_default();
        (self.on)(Progress {
            what: format!("make{per_minute}"),
            done,
            total: self.wanted,
            tokens_per_second: (spent.tokens > 0 && seconds > 0.5).then(|| spent.tokens as f64 / seconds),
            eta_seconds: rate.map(|rate| so_far.left() as f64 / rate),
            ..Progress::default()
        });
        Ok(())
    }

    fn in_time(&self) -> Result<(), ToolError> {
        if self.programs.cancel.is_cancelled() {
            return Err(ToolError::Cancelled);
        }
        match self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            true => Err(ToolError::Limit("the time for this step is over".into())),
            false => Ok(()),
        }
    }
}

/// The JSON object of a reply.
fn object(reply: &Reply) -> Result<Row, Refusal> {
    match reply {
        Reply::Declined(why) => Err(Refusal::new("declined", why)),
        Reply::Answer(answer) => check::object(&answer.text).map_err(|refusal| match answer.cut {
            true => {
                Refusal::new("cut", "the answer was cut at max_tokens; allow more, or ask for fewer rows at a time")
            }
            false => refusal,
        }),
    }
}
