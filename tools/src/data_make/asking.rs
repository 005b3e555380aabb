//! Asking in rounds: what a round asks is decided before any of it is answered, so that the order of answers is nothing.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{StreamExt, stream};
use tunesmith_harness::{
    ask::{Ask, AskError, Question},
    hash::sha256,
};

use super::{
    journal::{Journal, JournalError, Reply},
    purse::{Cost, Limits},
};
use crate::tool::ToolError;

/// Characters of an answer that are kept; more than is ever read as rows.
const MOST_TEXT: usize = 300 << 10;

/// Asks, and keeps what it is answered.
pub struct Asking {
    /// Replies and what was spent.
    pub journal: Journal,
    limits: Limits,
    side_by_side: usize,
    round: usize,
    /// Why the last round could not be asked whole.
    pub short: Option<String>,
}

/// What names a question: who is asked, and all that is said.
pub fn id(who: &dyn Ask, question: &Question) -> String {
    let text = serde_json::to_string(&(who.name(), question)).unwrap_or_default();
    sha256(text.as_bytes())[..16].to_owned()
}

impl Asking {
    /// With a journal that may hold replies already.
    pub fn new(journal: Journal, limits: Limits, side_by_side: usize) -> Self {
        Asking { journal, limits, side_by_side: side_by_side.max(1), round: 0, short: None }
    }

    /// The names of questions and their replies, in order; fewer where a limit does not allow all, and then `short` says
    /// why. What was answered before is not asked again.
    pub async fn ask(&mut self, who: &dyn Ask, questions: Vec<Question>) -> Result<Vec<(String, Reply)>, ToolError> {
        self.short = None;
        let mut named: Vec<(String, Question)> =
            questions.into_iter().map(|question| (id(who, &question), question)).collect();
        // A round that an earlier process began is the same round, whatever is affordable now.
        if let Some(affordable) = self.journal.round(self.round) {
            named.truncate(affordable);
        }
        let open: Vec<(String, Question)> =
            named.iter().filter(|(id, _)| self.journal.reply(id).is_none()).cloned().collect();
        let open = self.affordable(who, open);
        if !open.is_empty() {
            let most = open.iter().map(|(id, question)| (id.clone(), Cost::most(question, who.price()))).collect();
            // None of a new round's questions is answered yet, and its first line says how many there are.
            if self.journal.round(self.round).is_none() {
                named.truncate(open.len());
            }
            self.journal.asking(self.round, most).map_err(failed)?;
            self.send(who, open).await?;
        }
        let replies = named.into_iter().map_while(|(id, _)| {
            let reply = self.journal.reply(&id)?.clone();
            Some((id, reply))
        });
        let replies: Vec<(String, Reply)> = replies.collect();
        self.round += usize::from(!replies.is_empty());
        Ok(replies)
    }

    /// The first questions that keep every limit whatever they take.
    fn affordable(&mut self, who: &dyn Ask, mut open: Vec<(String, Question)>) -> Vec<(String, Question)> {
        let spent = self.journal.spent();
        let mut total = spent.kept.plus(spent.lost);
        for at in 0..open.len() {
            total = total.plus(Cost::most(&open[at].1, who.price()));
            if let Some(why) = self.limits.broken(total, who.name()) {
                self.short = Some(why);
                open.truncate(at);
                break;
            }
        }
        open
    }

    /// Sends questions side by side, and keeps each reply as it arrives. After an error no more are sent, but what is
    /// under way is waited for: it is paid for.
    async fn send(&mut self, who: &dyn Ask, open: Vec<(String, Question)>) -> Result<(), ToolError> {
        let stopped = AtomicBool::new(false);
        let asked = stream::iter(open).map(|(id, question)| {
            let stopped = &stopped;
            async move {
                let most = Cost::most(&question, who.price());
                if stopped.load(Ordering::Relaxed) {
                    return None;
                }
                let result = who.ask(question).await;
                if !matches!(result, Ok(_) | Err(AskError::Declined(_))) {
                    stopped.store(true, Ordering::Relaxed);
                }
                Some((id, most, result))
            }
        });
        let mut asked = std::pin::pin!(asked.buffer_unordered(self.side_by_side));
        let mut error = None;
        while let Some(asked) = asked.next().await {
            let Some((id, most, result)) = asked else { continue };
            match result {
                Ok(mut answer) => {
                    let cost = Cost::of(&answer, most);
                    answer.text = answer.text.chars().take(MOST_TEXT).collect();
                    self.journal.replied(id, Reply::Answer(answer), cost).map_err(failed)?;
                }
                // What a refusal took is unknown, so it counts as the most it can have been.
                Err(AskError::Declined(why)) => {
                    self.journal.replied(id, Reply::Declined(why), most).map_err(failed)?;
                }
                Err(AskError::Budget(why)) => self.short = Some(why),
                Err(AskError::Cancelled) => error = Some(ToolError::Cancelled),
                Err(AskError::Failed(why)) => {
                    error.get_or_insert(ToolError::Resource(format!("the teacher cannot be asked: {why}")));
                }
            }
        }
        error.map_or(Ok(()), Err)
    }
}

/// A journal that cannot be written stops the making.
pub fn failed(error: JournalError) -> ToolError {
    match &error {
        JournalError::Io { .. } => ToolError::Resource(error.to_string()),
        _ => ToolError::Failed(error.to_string()),
    }
}
