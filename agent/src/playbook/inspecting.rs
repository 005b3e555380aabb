//! The first step: the data is looked at, and its columns are matched with the request.

use serde_json::json;
use tunesmith_harness::task::JobKind;
use tunesmith_tools::data_inspect;

use super::{Playbook, Stop, columns, name, phrases, request::Wanted, words};
use crate::planner_loop::End;

impl Playbook<'_> {
    /// Looks at the data first, and finds out which column is read and which is answered.
    pub(super) async fn inspect(&mut self) -> Result<data_inspect::Proposal, Stop> {
        let seen: data_inspect::Output = self.call("data_inspect", json!({})).await?;
        let refused = |why: String| Stop::End(End::Refused, why);
        let words = words::Words::new(&self.task.request);
        let choose = |kinds: &[JobKind]| {
            columns::choose(&columns::Seen { words: &words, kinds, columns: &seen.columns, rows: seen.rows })
        };
        let chosen = match choose(&self.wanted.kinds) {
            // What was only hinted at is no reason to ask where the columns are clear.
            Err(question) if self.wanted.hinted => choose(&[]).map_err(|_| question),
            chosen => chosen,
        };
        let reads = columns::Seen { words: &words, kinds: &[], columns: &seen.columns, rows: seen.rows };
        let raw_only = seen.proposal.as_ref().is_some_and(|proposal| proposal.kind == JobKind::Pretraining);
        let chosen = match (self.reads_on(&reads, raw_only, chosen.is_err()), chosen, &seen.proposal) {
            (true, ..) => columns::raw(&reads).map_err(refused)?,
            (false, Err(question), Some(_)) if !raw_only => return Err(refused(question)),
            (false, Err(question), _) => return Err(refused(seen.note.unwrap_or(question))),
            (false, Ok(chosen), _) => chosen,
        };
        let same = |proposal: &data_inspect::Proposal| {
            (&proposal.input, &proposal.target) == (&chosen.inputs[0], &chosen.target)
        };
        let (proposal, note) = match seen.proposal.filter(same) {
            Some(proposal) => (Some(proposal), None),
            None => {
                let args = json!({ "input": chosen.inputs[0], "target": chosen.target });
                let seen: data_inspect::Output = self.call("data_inspect", args).await?;
                (seen.proposal, seen.note)
            }
        };
        let Some(proposal) = proposal else {
            return Err(refused(note.unwrap_or_else(|| "the data has no use that the playbook knows".into())));
        };
        self.fits(&proposal, seen.columns.iter().find(|column| column.name == proposal.target)).map_err(refused)?;
        let why = format!("{}; {}", proposal.why, chosen.why);
        self.inputs = chosen.inputs;
        Ok(data_inspect::Proposal { why, ..proposal })
    }

    /// Whether texts are to be read on: because the request says so, or because there is nothing else that could be meant.
    fn reads_on(&self, seen: &columns::Seen<'_>, raw_only: bool, unclear: bool) -> bool {
        let Wanted { kinds, hinted, raw, .. } = &self.wanted;
        if kinds.contains(&JobKind::Pretraining) {
            return true;
        }
        // Labels and values are no part of a text that stands alone.
        let answered = |kind: &JobKind| matches!(kind, JobKind::Classification | JobKind::Extraction);
        if !hinted && kinds.iter().any(answered) {
            return false;
        }
        let open = kinds.is_empty() || *hinted;
        match raw_only {
            true => *raw || open && !seen.words.wants(phrases::ASKED),
            false => *raw && (unclear || open) && columns::is_alone(seen),
        }
    }

    /// Whether the kind of job that the answers amount to is one that the request asks for.
    fn fits(&self, proposal: &data_inspect::Proposal, target: Option<&data_inspect::Column>) -> Result<(), String> {
        let wanted: &[JobKind] = if self.wanted.hinted { &[] } else { &self.wanted.kinds };
        let fits = match proposal.kind {
            // A single value that is taken out of a text is no JSON object, and a JSON object may be asked for as a text.
            JobKind::Extraction | JobKind::Generation => {
                wanted.contains(&JobKind::Extraction) || wanted.contains(&JobKind::Generation)
            }
            JobKind::Pretraining => true,
            // Labels are texts too: the answers to multiple-choice questions repeat.
            JobKind::Classification => wanted != [JobKind::Extraction],
        };
        let names: Vec<&str> = wanted.iter().map(|kind| name(*kind)).collect();
        if !wanted.is_empty() && !fits {
            return Err(format!(
                "the request asks for {}, but column {:?} does not fit that ({}); name the column of the answer in the request",
                names.join(" or "),
                proposal.target,
                proposal.why
            ));
        }
        let number = target.is_some_and(|column| column.cells == data_inspect::Cells::Number);
        let reckoned = wanted.contains(&JobKind::Generation) || wanted.contains(&JobKind::Extraction);
        if number && proposal.kind == JobKind::Generation && !reckoned {
            return Err(format!(
                "column {:?} holds many different numbers, and the playbook predicts no quantities; give a column with a few \
                 ranges as labels, for example low, middle and high",
                proposal.target
            ));
        }
        Ok(())
    }
}
