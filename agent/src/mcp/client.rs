//! Servers of the Model Context Protocol whose tools planners may call.
//!
//! What a server says is somebody else's text: names, descriptions, schemas and results have bounds, every call has its
//! time, and a server that hangs, crashes or talks rubbish is an error of its tools.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue};
use rmcp::{
    ClientHandler, RoleClient, ServiceError,
    model::{
        CallToolRequest, CallToolRequestParams, CallToolResult, ClientConfig, ClientRequest, ContentBlock,
        Implementation, PaginatedRequestParams, ProgressNotificationParam, ServerResult,
    },
    service::{ClientInitializeError, NotificationContext, PeerRequestOptions, RunningService, serve_client},
    transport::{StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig},
};
use serde_json::{Value, json};
use tokio::{
    sync::broadcast,
    time::{sleep, timeout},
};
use tunesmith_harness::{score::Score, text::visible};
use tunesmith_sandbox::{Local, Workdir};
use tunesmith_tools::{
    foreign::Foreign,
    shell::confinable,
    tool::{AnyTool, Cx, Progress, ToolError},
};

use super::piped::{Piped, Said};
use crate::config::extend::{Extension, variables};

/// How long a server may take to say what it offers.
const START: Duration = Duration::from_secs(30);
/// How long one may take to be told that nobody waits any more.
const GRACE: Duration = Duration::from_secs(1);
/// Tools of one server.
const MOST: usize = 32;
/// Pages of a list of tools.
const PAGES: usize = 16;
/// Characters of an error.
const WORDS: usize = 600;
/// Words of progress that wait to be heard.
const HEARD: usize = 64;

/// A server that has said what it offers.
struct Connection {
    name: String,
    service: RunningService<RoleClient, Listener>,
    progress: broadcast::Sender<ProgressNotificationParam>,
    /// What a server that is a program said on standard error, and how it ended.
    said: Option<Arc<Said>>,
    limits: Extension,
    /// The workdir of a program, which holds nothing of the run's.
    _scratch: Option<tempfile::TempDir>,
}

/// One of its tools.
struct Offered {
    server: Arc<Connection>,
    /// As the server calls it.
    name: String,
    tool: Foreign,
}

/// The tools of a server, and why some of what it offers was left out.
pub async fn open(
    name: &str,
    given: &Extension,
    jobs: &Local,
    env: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<(Vec<Box<dyn AnyTool>>, Vec<String>), String> {
    let connection = timeout(START, connect(name, given, jobs, env));
    let connection = connection.await.map_err(|_| format!("it said nothing for {} s", START.as_secs()))??;
    let connection = Arc::new(connection);
    let listed = timeout(START, connection.list());
    let listed = listed.await.map_err(|_| format!("it listed no tools for {} s", START.as_secs()))??;
    if let Some(missing) = given.only.iter().find(|only| listed.iter().all(|tool| tool.name != only.as_str())) {
        return Err(format!("it has no tool {missing:?}; correct `only`"));
    }
    let (mut tools, mut notes): (Vec<Box<dyn AnyTool>>, Vec<String>) = (Vec::new(), Vec::new());
    for tool in
        listed.into_iter().filter(|tool| given.only.is_empty() || given.only.iter().any(|only| *only == tool.name))
    {
        let own = tool.name.to_string();
        let schema = Value::Object((*tool.input_schema).clone());
        match Foreign::new(&format!("{name}_{own}"), tool.description.as_deref().unwrap_or_default(), schema) {
            Ok(foreign) => tools.push(Box::new(Offered { server: connection.clone(), name: own, tool: foreign })),
            Err(why) => notes.push(format!("its tool {:?} is left out: {why}", short(&own, 64))),
        }
    }
    Ok((tools, notes))
}

async fn connect(
    name: &str,
    given: &Extension,
    jobs: &Local,
    env: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<Connection, String> {
    let (progress, _) = broadcast::channel(HEARD);
    let listener = Listener { progress: progress.clone() };
    let (service, said, scratch) = match &given.url {
        Some(url) => {
            let service = serve_client(listener, over_http(url, given, env)?).await;
            (service.map_err(|error| refused(&error, None))?, None, None)
        }
        None => {
            confinable(jobs).map_err(|error| error.to_string())?;
            let scratch = crate::run::scratch().map_err(|failure| failure.message)?;
            let dir = Workdir::create(&scratch.path().join("work")).map_err(|error| error.to_string())?;
            let piped = Piped::start(name, given, (jobs, &dir), env)?;
            let said = piped.said();
            let service = serve_client(listener, piped).await;
            (service.map_err(|error| refused(&error, Some(&said)))?, Some(said), Some(scratch))
        }
    };
    Ok(Connection { name: name.to_owned(), service, progress, said, limits: given.clone(), _scratch: scratch })
}

/// A connection with the user's headers and none of ours, which follows no redirect: headers would go along.
fn over_http(
    url: &str,
    given: &Extension,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<StreamableHttpClientTransport<reqwest::Client>, String> {
    let mut headers = HashMap::new();
    for (name, value) in variables(&given.headers, env)? {
        let read = HeaderName::try_from(&name).ok().zip(HeaderValue::try_from(value).ok());
        let (name, mut value) = read.ok_or_else(|| format!("{name:?} and its variable make no header"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).connect_timeout(START / 3);
    let client = client.build().map_err(|error| error.to_string())?;
    let mut config = StreamableHttpClientTransportConfig::with_uri(url);
    config.custom_headers = headers;
    config.max_sse_event_size = most(given);
    Ok(StreamableHttpClientTransport::with_client(client, config))
}

/// Bytes of a message that may hold a result of the longest kind, with its letters escaped.
pub(super) fn most(given: &Extension) -> usize {
    given.output * 4 + (256 << 10)
}

/// Why a server could not be spoken to.
fn refused(error: &ClientInitializeError, said: Option<&Said>) -> String {
    if error.is_authorization_required() {
        return "it wants authorization; name a variable with headers = { Authorization = \"VARIABLE\" }".into();
    }
    match said.and_then(Said::end) {
        Some(end) => end,
        None => short(&error.to_string(), WORDS),
    }
}

impl Connection {
    /// What it offers, as far as a planner could use it.
    async fn list(&self) -> Result<Vec<rmcp::model::Tool>, String> {
        let (mut tools, mut cursor) = (Vec::new(), None);
        for _ in 0..PAGES {
            let page = self.service.list_tools(Some(PaginatedRequestParams::default().with_cursor(cursor))).await;
            let page = page.map_err(|error| self.failed(&error))?;
            tools.extend(page.tools);
            if tools.len() > MOST && self.limits.only.is_empty() {
                return Err(format!("it has more than {MOST} tools; choose some with only = [\"NAME\", ...]"));
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(tools);
            }
        }
        Err(format!("its list of tools has more than {PAGES} pages"))
    }

    fn failed(&self, error: &ServiceError) -> String {
        match error {
            ServiceError::McpError(error) => format!("{} answered: {}", self.name, short(&error.message, WORDS)),
            error => match self.said.as_deref().and_then(Said::end) {
                Some(end) => format!("{}: {end}", self.name),
                None => format!("{}: {}", self.name, short(&error.to_string(), WORDS)),
            },
        }
    }

    async fn call(&self, cx: &Cx<'_>, params: CallToolRequestParams) -> Result<CallToolResult, ToolError> {
        let failed = |error: &ServiceError| ToolError::Failed(self.failed(error));
        let left = cx.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let patience = left.map_or(self.limits.patience(), |left| left.min(self.limits.patience()));
        // Before the call is sent, because a quick server speaks before anyone knows the call's token.
        let mut ticks = self.progress.subscribe();
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let sent = self.service.send_cancellable_request(request, PeerRequestOptions::no_options());
        let mut handle = sent.await.map_err(|error| failed(&error))?;
        let late = sleep(patience);
        tokio::pin!(late);
        let mut last = f64::NEG_INFINITY;
        let token = handle.progress_token.clone();
        let mut tell = |tick: &ProgressNotificationParam| {
            // Notifications may overtake each other; progress only grows.
            if tick.progress_token == token && tick.progress > last {
                last = tick.progress;
                (cx.on)(self.progress_of(tick));
            }
        };
        let stopped = loop {
            tokio::select! {
                biased;
                answer = &mut handle.rx => {
                    while let Ok(tick) = ticks.try_recv() {
                        tell(&tick);
                    }
                    return match answer.unwrap_or(Err(ServiceError::TransportClosed)) {
                        Ok(ServerResult::CallToolResult(result)) => Ok(result),
                        Ok(_) => Err(ToolError::Failed(format!("{} wants what no planner can give", self.name))),
                        Err(error) => Err(failed(&error)),
                    };
                }
                () = cx.cancel.cancelled() => break ToolError::Cancelled,
                () = &mut late => {
                    let seconds = patience.as_secs_f64();
                    break ToolError::Limit(format!("{} said nothing for {seconds:.0} s", self.name));
                }
                // What was missed because there was too much of it is followed by more.
                tick = ticks.recv() => tick.iter().for_each(&mut tell),
            }
        };
        // A server that does not even take this is left alone.
        let _ = timeout(GRACE, handle.cancel(Some("nobody waits any more".into()))).await;
        Err(stopped)
    }

    fn progress_of(&self, tick: &ProgressNotificationParam) -> Progress {
        // What is no number or negative becomes 0, what is too large the largest.
        let (done, total) = (tick.progress as usize, tick.total.unwrap_or_default() as usize);
        let note = tick.message.as_ref().map(|message| short(message, 300));
        Progress { what: self.name.clone(), done, total, note, ..Progress::default() }
    }
}

impl AnyTool for Offered {
    fn name(&self) -> &str {
        &self.tool.name
    }

    fn description(&self) -> &str {
        &self.tool.description
    }

    fn schema(&self) -> &Value {
        &self.tool.schema
    }

    fn call<'a>(&'a self, cx: &'a Cx<'a>, args: Value) -> BoxFuture<'a, Result<Value, ToolError>> {
        Box::pin(async move {
            let args = self.tool.read(args)?;
            let params = CallToolRequestParams::new(self.name.clone()).with_arguments(args);
            let result = self.server.call(cx, params).await?;
            let wrong = result.is_error == Some(true);
            let output = output(result);
            if wrong {
                let text = output["text"].as_str().map_or_else(|| output.to_string(), str::to_owned);
                return Err(ToolError::Failed(short(&text, WORDS)));
            }
            let most = self.server.limits.output;
            if output.to_string().len() > most {
                return Err(ToolError::Limit(format!("it returned more than {most} bytes; ask for less at a time")));
            }
            Ok(output)
        })
    }

    fn scores(&self, _: &Value, _: &Workdir) -> Vec<Score> {
        Vec::new()
    }
}

/// A result as a planner reads it: the structured one, else the texts; of other kinds of content, that they were there.
fn output(result: CallToolResult) -> Value {
    if let Some(structured) = result.structured_content {
        return structured;
    }
    let text = |content: ContentBlock| match content {
        ContentBlock::Text(text) => text.text,
        ContentBlock::Image(_) => "[an image]".into(),
        ContentBlock::Audio(_) => "[a sound]".into(),
        _ => "[a resource]".into(),
    };
    json!({"text": result.content.into_iter().map(text).collect::<Vec<_>>().join("\n")})
}

fn short(text: &str, most: usize) -> String {
    visible(text).chars().take(most).collect()
}

/// Our side of a connection: it hears progress, and gives a server nothing.
struct Listener {
    progress: broadcast::Sender<ProgressNotificationParam>,
}

impl ClientHandler for Listener {
    fn get_info(&self) -> ClientConfig {
        let mut info = ClientConfig::default();
        info.client_info = Implementation::new("tunesmith", env!("CARGO_PKG_VERSION"));
        info
    }

    async fn on_progress(&self, params: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        // Where nobody listens there is nobody to miss it.
        let _ = self.progress.send(params);
    }
}
