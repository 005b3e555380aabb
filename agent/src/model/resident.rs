//! `local:MODEL`: a model in files that plans. It answers in the sandbox, without network, and costs nothing; its worker stays
//! from one question to the next, so that the beginning of a conversation is read once.

use std::{
    fs,
    path::{Path, PathBuf},
};

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::sync::Mutex;
use tunesmith_harness::figures::counted;
use tunesmith_sandbox::{Cancel, Limits, Local, Workdir};
use tunesmith_tools::{
    bases::{self, Base},
    chat::{Answer, Job, Offered, Question, Said},
    encode::Encoder,
    nano,
    tool::ToolError,
    worker::{Standing, Work},
};

use super::{Call, ChatModel, Delta, ErrorKind, Finish, Message, ModelError, Reply, Request, ToolSpec, Usage};

/// A directory in Hugging Face's format, a GGUF file, or the bundled model.
pub struct Resident {
    given: String,
    base: PathBuf,
    window: usize,
    seed: u64,
    jobs: Local,
    /// What the worker may write, beside the bundled model where that is meant.
    dir: Workdir,
    _scratch: TempDir,
    /// The worker between two questions. While it is asked it belongs to whoever waits, who may give up and so end it.
    worker: Mutex<Option<Standing>>,
}

impl Resident {
    /// The model that `given` names, if it looks like one that fits; it is opened with the first question.
    pub fn open(given: &str, jobs: &Local, seed: u64) -> Result<Self, ModelError> {
        let refused = |why: String| ModelError::new(ErrorKind::Refused, why);
        let unwritten = |error: std::io::Error| refused(format!("there is no place for its worker: {error}"));
        let scratch = tempfile::tempdir().map_err(unwritten)?;
        let base = match bases::resolve(given, Path::new("")).map_err(|error| refused(error.to_string()))? {
            Base::Path(path) => path.canonicalize().map_err(|error| refused(format!("{given}: {error}")))?,
            Base::Nano => {
                let path = scratch.path().join("base");
                nano::write(&path).map_err(unwritten)?;
                path
            }
        };
        fits(&base).map_err(|why| refused(format!("{given}: {why}")))?;
        let window = Encoder::longest(&base).map_err(|error| refused(format!("{given}: {error}")))?;
        let dir = Workdir::create(&scratch.path().join("work")).map_err(unwritten)?;
        let (given, jobs, worker) = (given.to_owned(), jobs.clone(), Mutex::default());
        Ok(Resident { given, base, window, seed, jobs, dir, _scratch: scratch, worker })
    }

    async fn start(&self) -> Result<Standing, ToolError> {
        let work = Work::Chat(Job { base: self.base.clone() });
        Standing::start(&self.jobs, &self.dir, work, bases::reads(&self.base), &Cancel::default()).await
    }

    async fn ask(&self, request: Request<'_>, on: &mut (dyn FnMut(Delta<'_>) + Send)) -> Result<Reply, ModelError> {
        let mut kept = self.worker.lock().await;
        let failed = |error| self.failed(error);
        // Given up, the question takes its worker along.
        let mut worker = match kept.take() {
            Some(worker) => worker,
            None => self.start().await.map_err(failed)?,
        };
        worker.tell(&self.question(request)).await.map_err(failed)?;
        let said = loop {
            let said = worker.hear().await.map_err(failed)?;
            match serde_json::from_value(said) {
                Ok(Said::Text(text)) => on(Delta::Text(&text)),
                Ok(said) => break said,
                Err(error) => {
                    let why = format!("its worker's answer is damaged: {error}");
                    return Err(ModelError::new(ErrorKind::Protocol, why));
                }
            }
        };
        *kept = Some(worker);
        match said {
            Said::Answer(answer) => Ok(reply(answer, on)),
            Said::TooLong { tokens, window } => {
                let why = format!(
                    "{} and the answer do not fit the {} of {}; take a model with a larger window",
                    counted(tokens, "token"),
                    counted(window, "token"),
                    self.given
                );
                Err(ModelError { window: Some(window as u64), ..ModelError::new(ErrorKind::ContextTooLong, why) })
            }
            Said::Declined(why) => Err(ModelError::new(ErrorKind::Refused, format!("{}: {why}", self.given))),
            Said::Text(_) => Err(ModelError::new(ErrorKind::Protocol, "its worker gave no answer")),
        }
    }

    fn question(&self, Request { messages, tools, form }: Request<'_>) -> Question {
        let seed = form.seed.unwrap_or(self.seed);
        Question {
            tools: tools.iter().map(offered).collect(),
            schema: form.schema.cloned(),
            // A model that was reminded is held to it.
            must_call: !tools.is_empty() && matches!(messages.last(), Some(Message::Note(_))),
            max_tokens: form.max_tokens.and_then(|most| usize::try_from(most).ok()),
            temperature: form.temperature.map(|temperature| temperature as f32),
            // Other draws for each turn of a conversation.
            seed: seed.wrapping_add(messages.len() as u64),
            messages: turns(messages),
        }
    }

    fn failed(&self, error: ToolError) -> ModelError {
        // A file that cannot be opened is named by its error; what came of it belongs to the model.
        ModelError::new(ErrorKind::Refused, format!("{}: {error}", self.given))
    }
}

impl ChatModel for Resident {
    fn chat<'a>(
        &'a self,
        request: Request<'a>,
        on: &'a mut (dyn FnMut(Delta<'_>) + Send),
    ) -> BoxFuture<'a, Result<Reply, ModelError>> {
        Box::pin(self.ask(request, on))
    }

    fn window(&self) -> BoxFuture<'_, Option<u64>> {
        Box::pin(std::future::ready(Some(self.window as u64)))
    }
}

/// Whether the weights fit into the memory of a worker, which holds them as they are stored.
fn fits(base: &Path) -> Result<(), String> {
    let size = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
    let bytes: u64 = match fs::read_dir(base) {
        Err(_) => size(base),
        Ok(files) => {
            let files = files.flatten().map(|file| file.path());
            files.filter(|path| path.extension().is_some_and(|end| end == "safetensors")).map(|path| size(&path)).sum()
        }
    };
    let giga = |bytes: u64| bytes as f64 / 1e9;
    match Limits::default().memory {
        Some(most) if bytes > most => Err(format!(
            "its weights take {:.1} GB and a worker may take {:.1} GB here; take a smaller model, or one in a GGUF file of fewer bits",
            giga(bytes),
            giga(most)
        )),
        _ => Ok(()),
    }
}

fn offered(ToolSpec { name, description, schema, strict }: &ToolSpec) -> Offered {
    let (name, description) = (name.clone(), description.clone());
    Offered { name, description, parameters: schema.clone(), strict: strict.clone() }
}

/// The conversation as chat templates have it. Arguments are objects there, and a result says which tool it is of.
fn turns(messages: &[Message]) -> Vec<Map<String, Value>> {
    let names = |wanted: &str| {
        let calls = messages.iter().filter_map(|message| match message {
            Message::Assistant { calls, .. } => Some(calls),
            _ => None,
        });
        calls.flatten().find(|call| call.id == wanted).map_or("tool", |call| call.name.as_str())
    };
    let turn = |message: &Message| match message {
        Message::System(text) => json!({"role": "system", "content": text}),
        Message::User(text) | Message::Note(text) => json!({"role": "user", "content": text}),
        Message::Assistant { text, calls, .. } if calls.is_empty() => json!({"role": "assistant", "content": text}),
        Message::Assistant { text, calls, .. } => {
            let calls: Vec<Value> = calls.iter().map(called).collect();
            json!({"role": "assistant", "content": text, "tool_calls": calls})
        }
        Message::Tool { id, content } => {
            json!({"role": "tool", "tool_call_id": id, "name": names(id), "content": content})
        }
    };
    let turns = messages.iter().map(turn);
    turns.filter_map(|turn| if let Value::Object(turn) = turn { Some(turn) } else { None }).collect()
}

fn called(Call { id, name, arguments, .. }: &Call) -> Value {
    let arguments: Value = serde_json::from_str(arguments).unwrap_or_else(|_| json!({}));
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

fn reply(answer: Answer, on: &mut (dyn FnMut(Delta<'_>) + Send)) -> Reply {
    let Answer { text, call, stopped, tokens, prompt_tokens, .. } = answer;
    let call = call.map(|(name, arguments)| Call { name, arguments: arguments.to_string(), ..Call::default() });
    call.iter().for_each(|call| on(Delta::Call { name: &call.name }));
    let finish = match (&call, stopped) {
        (Some(_), _) => Finish::Calls,
        (None, true) => Finish::Stop,
        (None, false) => Finish::Length,
    };
    let usage = Some(Usage { prompt: prompt_tokens as u64, completion: tokens as u64 });
    Reply { text, calls: call.into_iter().collect(), finish, usage, usd: Some(0.0), opaque: None }
}
