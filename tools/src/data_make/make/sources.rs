//! Where candidates come from: a model, templates, or the seed rows themselves.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value, json};
use tunesmith_harness::{ask::Ask, recipe::Row};

use super::{Candidate, Ended, Maker, Progressing, object};
use crate::{
    data_make::{
        check::Refusal,
        journal::Reply,
        plan::{self, Planned},
        spec::Teacher,
        templates::Templates,
    },
    tool::ToolError,
};

/// Candidates of templates and seed rows that are looked at together.
const BATCH: usize = 64;
/// Draws of templates in a row that may bring nothing new.
const BARREN_DRAWS: usize = 2_000;
/// Most reasons that are named where nothing new comes any more.
const REASONS: usize = 3;

impl Maker<'_> {
    /// Rows that a model writes.
    pub(super) async fn taught(
        &mut self,
        so_far: &mut Progressing,
        settings: &Teacher,
        teacher: &dyn Ask,
    ) -> Result<(Ended, Vec<String>), ToolError> {
        let topics = match self.topics(settings, teacher).await? {
            Ok(topics) => topics,
            Err(why) => return Ok((Ended::Budget(why), Vec::new())),
        };
        let (mut asked, mut barren) = (0, VecDeque::new());
        while so_far.left() > 0 {
            self.tell(so_far)?;
            let planned = plan::round(self.spec, settings, &topics, &so_far.needs, asked);
            let questions = planned.iter().map(|planned| planned.question.clone()).collect();
            let replies = self.asking.ask(teacher, questions).await?;
            asked += replies.len();
            let before = self.rejected.total();
            let mut candidates = Vec::new();
            for (at, ((id, reply), planned)) in replies.iter().zip(&planned).enumerate() {
                candidates.extend(self.read(reply, planned, (at, id), teacher)?);
            }
            let brought = self.take(so_far, candidates).await?;
            // With higher limits the same round is asked whole, so that the rows are those that had no limit.
            if let Some(why) = self.short(so_far) {
                return Ok((Ended::Budget(why), topics));
            }
            for at in 0..replies.len() {
                if brought.contains(&at) { barren.clear() } else { barren.push_back(before) }
            }
            if barren.len() >= settings.patience {
                let reasons = self.rejected.since(barren.front().copied().unwrap_or_default());
                let advice = "give more topics, other instructions or a higher temperature";
                let count = barren.len();
                return Ok((stalled(&format!("the last {count} questions gave no new row"), reasons, advice), topics));
            }
        }
        Ok((Ended::Complete, topics))
    }

    /// The topics, asked for where the spec says so; the reason where a limit does not allow that.
    async fn topics(
        &mut self,
        settings: &Teacher,
        teacher: &dyn Ask,
    ) -> Result<Result<Vec<String>, String>, ToolError> {
        if settings.ask_topics == 0 {
            return Ok(Ok(plan::leaves(&settings.topics)));
        }
        let replies = self.asking.ask(teacher, vec![plan::topics(self.spec, settings)]).await?;
        let Some((_, reply)) = replies.first() else {
            return Ok(Err(self.asking.short.take().unwrap_or_default()));
        };
        let topics = object(reply).map(|answer| plan::read_topics(&answer, settings)).unwrap_or_default();
        match topics.is_empty() {
            false => Ok(Ok(topics)),
            true => {
                Err(ToolError::Failed("the teacher gave no topics; write them into the spec as teacher.topics".into()))
            }
        }
    }

    /// The candidates of a reply; what is none is rejected here.
    fn read(
        &mut self,
        reply: &Reply,
        planned: &Planned,
        (at, id): (usize, &str),
        teacher: &dyn Ask,
    ) -> Result<Vec<Candidate>, ToolError> {
        let mut origin = Map::new();
        origin.insert("made_by".into(), "teacher".into());
        origin.insert("model".into(), teacher.name().into());
        origin.insert("question".into(), id.into());
        let drawn = [
            ("label", &planned.label),
            ("topic", &planned.topic),
            ("persona", &planned.persona),
            ("style", &planned.style),
        ];
        for (name, value) in drawn {
            value.iter().for_each(|value| drop(origin.insert(name.into(), value.as_str().into())));
        }
        if !planned.seeds.is_empty() {
            origin.insert("seeds".into(), json!(planned.seeds));
        }
        let rows = object(reply).and_then(|answer| {
            let none = || Refusal::new("json", "the answer holds no list \"rows\"");
            plan::rows(self.spec, planned, &answer).ok_or_else(none)
        });
        match rows {
            Ok(rows) => {
                Ok(rows.into_iter().map(|row| Candidate { row, origin: origin.clone(), question: at }).collect())
            }
            Err(refusal) => {
                let text = match reply {
                    Reply::Answer(answer) => Value::from(crate::files::cut(&answer.text, 2_000)),
                    Reply::Declined(_) => Value::Null,
                };
                self.rejected.add(&refusal, &origin, &text)?;
                Ok(Vec::new())
            }
        }
    }

    /// Rows of templates.
    pub(super) async fn drawn(&mut self, so_far: &mut Progressing) -> Result<Ended, ToolError> {
        let templates = Templates::new(self.spec).map_err(ToolError::Failed)?;
        let (mut draw, mut barren, mut first) = (0, 0, 0);
        while so_far.left() > 0 {
            self.tell(so_far)?;
            // What is verified at a cost is drawn only where it is needed.
            let batch = if self.spec.verify.is_empty() { BATCH } else { BATCH.min(so_far.left()) };
            let mut candidates = Vec::new();
            for at in 0..batch {
                let (template, row) = templates.draw(draw);
                let mut origin = Map::new();
                origin.insert("made_by".into(), "template".into());
                origin.insert("template".into(), (template + 1).into());
                origin.insert("draw".into(), draw.into());
                match row {
                    Ok(row) => candidates.push(Candidate { row: Value::Object(row), origin, question: at }),
                    Err(why) => self.rejected.add(&Refusal::new("template", why), &origin, &Value::Null)?,
                }
                draw += 1;
            }
            let brought = self.take(so_far, candidates).await?;
            if let Some(why) = self.short(so_far) {
                return Ok(Ended::Budget(why));
            }
            (barren, first) = if brought.is_empty() { (barren + batch, first) } else { (0, self.rejected.total()) };
            if barren >= BARREN_DRAWS {
                let advice = "give the slots more values, or add templates";
                let what = format!("the last {barren} draws gave no new row");
                return Ok(stalled(&what, self.rejected.since(first), advice));
            }
        }
        Ok(Ended::Complete)
    }

    /// The seed rows themselves, to be checked and copied with changes.
    pub(super) async fn given(&mut self, so_far: &mut Progressing) -> Result<Ended, ToolError> {
        for (n, rows) in self.spec.seed_rows().chunks(BATCH).enumerate() {
            self.tell(so_far)?;
            let candidate = |(at, row): (usize, &Row)| {
                let mut origin = Map::new();
                origin.insert("made_by".into(), "seed".into());
                origin.insert("seed".into(), (n * BATCH + at + 1).into());
                Candidate { row: Value::Object(row.clone()), origin, question: at }
            };
            self.take(so_far, rows.iter().enumerate().map(candidate).collect()).await?;
            if let Some(why) = self.short(so_far) {
                return Ok(Ended::Budget(why));
            }
            if so_far.left() == 0 {
                return Ok(Ended::Complete);
            }
        }
        let left = so_far.left();
        let reasons = self.rejected.since(0);
        let advice = "ask for fewer rows, or give more seed rows";
        Ok(if left == 0 { Ended::Complete } else { stalled(&format!("{left} rows are lacking"), reasons, advice) })
    }
}

fn stalled(what: &str, reasons: BTreeMap<&'static str, usize>, advice: &str) -> Ended {
    let mut reasons: Vec<(&str, usize)> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let named: Vec<String> = reasons.iter().take(REASONS).map(|(reason, count)| format!("{count} {reason}")).collect();
    let named = if named.is_empty() { String::new() } else { format!(" (rejected: {})", named.join(", ")) };
    Ended::Stalled(format!("{what}{named}; {advice}"))
}
