//! Asking: each question is paid for, at most, before it is asked, and every reply is kept as it arrives.

use std::collections::VecDeque;

use futures_util::{StreamExt, stream::FuturesUnordered};
use tunesmith_harness::{
    ask::{Answer, Ask, AskError, Question},
    hash::sha256,
};

use super::{
    journal::{Journal, JournalError, Reply},
    purse::{Cost, Limits},
};
use crate::tool::ToolError;

/// Characters of an answer that are kept; more than is ever read as rows.
const MOST_TEXT: usize = 300 << 10;
/// Answers to one question that may break off before no more is asked. Each may cost as much as a whole one.
const BREAKS: usize = 3;

/// Asks, and keeps what it is answered.
pub struct Asking {
    /// Replies and what was spent.
    pub journal: Journal,
    limits: Limits,
    side_by_side: usize,
    /// Why not all questions could be asked. What is asked before it is taken only ends what is begun.
    pub short: Option<String>,
}

/// What names a question: who is asked, and all that is said.
pub fn id(who: &dyn Ask, question: &Question) -> String {
    let text = serde_json::to_string(&(who.name(), question)).unwrap_or_default();
    sha256(text.as_bytes())[..16].to_owned()
}

/// A question that is to be asked.
struct Open {
    id: String,
    question: Question,
    /// How many answers to it broke off.
    breaks: usize,
}

impl Asking {
    /// With a journal that may hold replies already.
    pub fn new(journal: Journal, limits: Limits, side_by_side: usize) -> Self {
        Asking { journal, limits, side_by_side: side_by_side.max(1), short: None }
    }

    /// The names of questions and their replies, in order; only the first ones where a limit does not allow all, and then
    /// `short` says why. What was answered before is not asked again.
    pub async fn ask(&mut self, who: &dyn Ask, questions: Vec<Question>) -> Result<Vec<(String, Reply)>, ToolError> {
        let named: Vec<(String, Question)> =
            questions.into_iter().map(|question| (id(who, &question), question)).collect();
        let open = named.iter().filter(|(id, _)| self.journal.reply(id).is_none()).cloned();
        self.send(who, open.map(|(id, question)| Open { id, question, breaks: 0 }).collect()).await?;
        let replies = named.into_iter().map_while(|(id, _)| {
            let reply = self.journal.reply(&id)?.clone();
            Some((id, reply))
        });
        Ok(replies.collect())
    }

    /// Asks side by side, and keeps each reply as it arrives. Where a limit might be broken it waits for what is under way,
    /// which may take less than it could. After an error no more are asked, but what is under way is waited for: it is paid
    /// for.
    async fn send(&mut self, who: &dyn Ask, mut open: VecDeque<Open>) -> Result<(), ToolError> {
        let (mut under_way, mut error, mut full) = (FuturesUnordered::new(), None, None);
        loop {
            while error.is_none() && full.is_none() && under_way.len() < self.side_by_side {
                let Some(Open { id, question, .. }) = open.front() else { break };
                let most = Cost::most(question, who.price());
                full = self.limits.broken(self.journal.spent().all().plus(most), who.name());
                if full.is_none() {
                    self.journal.asking(id.clone(), most).map_err(failed)?;
                    under_way.extend(open.pop_front().map(|open| async move {
                        let result = who.ask(open.question.clone()).await;
                        (open, most, result)
                    }));
                }
            }
            let Some((mut asked, most, result)) = under_way.next().await else { break };
            full = None;
            match result {
                Ok(answer) => {
                    let cost = Cost::of(&answer, most);
                    let text = answer.text.chars().take(MOST_TEXT).collect();
                    self.journal.replied(asked.id, Reply::Answer(Answer { text, ..answer }), cost).map_err(failed)?;
                }
                // What a refusal took is unknown, so it counts as the most it can have been.
                Err(AskError::Declined(why)) => {
                    self.journal.replied(asked.id, Reply::Declined(why), most).map_err(failed)?;
                }
                Err(AskError::Broken(why)) => {
                    asked.breaks += 1;
                    if asked.breaks == BREAKS {
                        error.get_or_insert(unanswered(&why));
                    }
                    open.push_front(asked);
                }
                Err(AskError::Budget(why)) => {
                    self.journal.unasked(asked.id.clone()).map_err(failed)?;
                    open.push_front(asked);
                    full = Some(why);
                }
                Err(AskError::Cancelled) => error = Some(ToolError::Cancelled),
                Err(AskError::Failed(why)) => {
                    self.journal.unasked(asked.id).map_err(failed)?;
                    error.get_or_insert(unanswered(&why));
                }
            }
        }
        if let Some(why) = full {
            self.short.get_or_insert(why);
        }
        error.map_or(Ok(()), Err)
    }
}

fn unanswered(why: &str) -> ToolError {
    ToolError::Resource(format!("the teacher cannot be asked: {why}"))
}

/// A journal that cannot be written stops the making.
pub fn failed(error: JournalError) -> ToolError {
    match &error {
        JournalError::Io { .. } => ToolError::Resource(error.to_string()),
        _ => ToolError::Failed(error.to_string()),
    }
}
