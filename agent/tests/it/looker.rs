//! A planner of your own: it asks nobody, looks at the data, and stops.
use futures_util::future::BoxFuture;
use tunesmith::model::{Call, ChatModel, Delta, Finish, Message, ModelError, Reply, Request};

pub struct Looker;

impl ChatModel for Looker {
    fn chat<'a>(
        &'a self,
        request: Request<'a>,
        on: &'a mut (dyn FnMut(Delta<'_>) + Send),
    ) -> BoxFuture<'a, Result<Reply, ModelError>> {
        let looked = request.messages.iter().any(|message| matches!(message, Message::Tool { .. }));
        let (name, arguments) = match looked {
            false => ("data_inspect", r#"{"file": "data/train.jsonl"}"#),
            true => ("finish", r#"{"summary": "I looked at the data."}"#),
        };
        on(Delta::Call { name });
        let call = Call { id: name.into(), name: name.into(), arguments: arguments.into(), extra: None };
        Box::pin(async move { Ok(Reply { calls: vec![call], finish: Finish::Calls, ..Reply::default() }) })
    }
}
