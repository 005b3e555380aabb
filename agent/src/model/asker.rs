//! A [`ChatModel`] as an [`Ask`]: what tools and judges get, with the budget of the run charged for every question.

use std::{future::Future, pin::Pin, time::Instant};

use tunesmith_harness::{
    ask::{Answer, Ask, AskError, Price, Question},
    budget::{Budget, Spend},
    redact::redacted,
};
use tunesmith_sandbox::Cancel;

use super::{ChatModel, Delta, ErrorKind, Finish, Form, Message, ModelError, Request};

/// Hands out one model.
pub struct Asker<'a> {
    /// The model.
    pub model: &'a dyn ChatModel,
    /// Its name, as its answers are attributed to it.
    pub name: String,
    /// What its tokens cost, where that is known.
    pub price: Option<Price>,
    /// What is charged, where a run pays.
    pub budget: Option<&'a Budget>,
    /// Ends the waiting.
    pub cancel: Cancel,
}

impl Ask for Asker<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn price(&self) -> Option<Price> {
        self.price
    }

    fn ask(&self, question: Question) -> Pin<Box<dyn Future<Output = Result<Answer, AskError>> + Send + '_>> {
        Box::pin(async move {
            let most = Spend {
                steps: 0,
                tokens: Some(question.most_tokens()),
                usd: self.price.map(|price| question.most_usd(price)),
            };
            let Some(budget) = self.budget else { return self.asked(&question).await.0 };
            if let (Some(cap), None) = (budget.caps().usd, most.usd) {
                return Err(AskError::Budget(format!(
                    "what {} costs is unknown, so the limit of ${cap:.2} cannot be kept; limit --tokens instead of --usd",
                    self.name
                )));
            }
            let reserved = budget.reserve(most, Instant::now()).map_err(AskError::Budget)?;
            let (result, spent) = self.asked(&question).await;
            budget.reconcile(reserved, spent);
            result
        })
    }
}

impl Asker<'_> {
    /// The answer, and what it took.
    async fn asked(&self, question: &Question) -> (Result<Answer, AskError>, Spend) {
        let messages: Vec<Message> = question
            .messages
            .iter()
            .map(|message| {
                let text = redacted(&message.content).into_owned();
                match message.role.as_str() {
                    "system" => Message::System(text),
                    "assistant" => Message::Assistant { text, calls: Vec::new(), opaque: None },
                    _ => Message::User(text),
                }
            })
            .collect();
        let form = Form {
            schema: question.schema.as_ref(),
            max_tokens: Some(question.max_tokens),
            temperature: Some(question.temperature),
            seed: Some(question.seed),
            once: true,
        };
        let mut on = |_: Delta<'_>| {};
        let reply = tokio::select! {
            biased;
            () = self.cancel.cancelled() => None,
            reply = self.model.chat(Request { messages: &messages, tools: &[], form }, &mut on) => Some(reply),
        };
        let unknown = Spend { steps: 0, tokens: None, usd: None };
        let nothing = Spend { steps: 0, tokens: Some(0), usd: Some(0.0) };
        match reply {
            None => (Err(AskError::Cancelled), unknown),
            Some(Err(error)) => (Err(self.error(&error)), if error.spent { unknown } else { nothing }),
            Some(Ok(reply)) => {
                let tokens = reply.usage.map(|usage| usage.prompt.saturating_add(usage.completion));
                let paid = reply.usage.zip(self.price).map(|(usage, price)| usage.usd(price));
                let usd = reply.usd.or(paid);
                let answer = Answer {
                    text: redacted(&reply.text).into_owned(),
                    cut: reply.finish == Finish::Length,
                    tokens,
                    usd,
                };
                (Ok(answer), Spend { steps: 0, tokens, usd })
            }
        }
    }

    fn error(&self, error: &ModelError) -> AskError {
        let message = format!("{}: {error}", self.name);
        match (error.kind, error.status) {
            // A wrong address or name is wrong for every question.
            (ErrorKind::Refused, Some(404 | 405)) => AskError::Failed(message),
            (ErrorKind::Refused | ErrorKind::ContextTooLong, _) => AskError::Declined(message),
            _ if error.spent => AskError::Broken(message),
            _ => AskError::Failed(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, sync::Mutex};

    use futures_util::future::BoxFuture;
    use tunesmith_harness::{budget::Caps, model};

    use super::*;
    use crate::model::{Reply, Usage};

    /// Gives prepared replies.
    struct Talker(Mutex<VecDeque<Result<Reply, ModelError>>>);

    impl ChatModel for Talker {
        fn chat<'a>(
            &'a self,
            request: Request<'a>,
            _: &'a mut (dyn FnMut(Delta<'_>) + Send),
        ) -> BoxFuture<'a, Result<Reply, ModelError>> {
            assert_eq!((request.form.max_tokens, request.form.once), (Some(50), true));
            let reply = self.0.lock().unwrap().pop_front().unwrap();
            Box::pin(async { reply })
        }
    }

    fn reply(usage: Option<Usage>) -> Result<Reply, ModelError> {
        Ok(Reply { text: "yes".into(), usage, ..Reply::default() })
    }

    fn question() -> Question {
        let messages = vec![model::Message::user("0123456789")];
        Question { messages, schema: None, max_tokens: 50, temperature: 1.0, seed: 0 }
    }

    async fn asked(
        caps: Caps,
        price: Option<Price>,
        replies: Vec<Result<Reply, ModelError>>,
    ) -> (Vec<Result<Answer, AskError>>, Spend) {
        let (model, budget) = (Talker(Mutex::new(replies.into())), Budget::new(caps, Instant::now()));
        let cancel = Cancel::default();
        let asker = Asker { model: &model, name: "m".into(), price, budget: Some(&budget), cancel };
        let mut answers = Vec::new();
        while !model.0.lock().unwrap().is_empty() {
            answers.push(asker.ask(question()).await);
            if answers.len() > 3 {
                break;
            }
        }
        (answers, budget.spent())
    }

    #[tokio::test]
    async fn every_question_is_reserved_before_and_booked_after() {
        let price = Some(Price { read: 0.25, written: 0.5 });
        let usage = Some(Usage { prompt: 4, completion: 2 });
        let caps = Caps { tokens: Some(100), usd: Some(40.0), ..Caps::default() };
        let (answers, spent) = asked(caps, price, vec![reply(usage), reply(usage)]).await;
        // 42 tokens to read at most, and 50 to write: a second question might break the limit of tokens.
        let answer = Answer { text: "yes".into(), cut: false, tokens: Some(6), usd: Some(2.0) };
        assert_eq!(answers[0], Ok(answer.clone()));
        assert_eq!(answers[1], Ok(answer));
        assert_eq!(spent, Spend { steps: 0, tokens: Some(12), usd: Some(4.0) });
        let (answers, spent) = asked(Caps { tokens: Some(91), ..caps }, price, vec![reply(usage)]).await;
        assert_eq!(answers[0], Err(AskError::Budget("92 of 91 tokens are used".into())));
        assert_eq!(spent.tokens, Some(0));
    }

    #[tokio::test]
    async fn an_unknown_price_is_never_nothing() {
        let caps = Caps { usd: Some(1.0), ..Caps::default() };
        let (answers, _) = asked(caps, None, vec![reply(None)]).await;
        let refused = "what m costs is unknown, so the limit of $1.00 cannot be kept; limit --tokens instead of --usd";
        assert_eq!(answers[0], Err(AskError::Budget(refused.into())));
        let (answers, spent) = asked(Caps::default(), None, vec![reply(None)]).await;
        assert_eq!(answers[0], Ok(Answer { text: "yes".into(), cut: false, tokens: None, usd: None }));
        assert_eq!(spent, Spend { steps: 0, tokens: None, usd: None });
    }

    #[tokio::test]
    async fn a_refusal_is_of_one_question_and_other_errors_are_of_all() {
        let error = |kind, status| Err(ModelError { status, ..ModelError::new(kind, "why") });
        let replies = vec![
            error(ErrorKind::Refused, Some(400)),
            error(ErrorKind::Refused, Some(404)),
            error(ErrorKind::Auth, Some(401)),
        ];
        let (answers, spent) = asked(Caps::default(), None, replies).await;
        let said = |status| format!("m: the provider {status}: why");
        assert_eq!(answers[0], Err(AskError::Declined(said("declined the request (http 400)"))));
        assert_eq!(answers[1], Err(AskError::Failed(said("declined the request (http 404)"))));
        assert_eq!(answers[2], Err(AskError::Failed(said("rejects the key (http 401)"))));
        // What was refused before it was answered costs nothing.
        assert_eq!(spent, Spend { steps: 0, tokens: Some(0), usd: Some(0.0) });
        let lost = ModelError { spent: true, ..ModelError::new(ErrorKind::Network, "cut") };
        let (answers, spent) = asked(Caps::default(), None, vec![Err(lost)]).await;
        assert_eq!(answers[0], Err(AskError::Broken("m: the provider cannot be reached: cut".into())));
        assert_eq!(spent, Spend { steps: 0, tokens: None, usd: None });
    }
}
