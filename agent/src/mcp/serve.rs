//! Our tools for other agents: every tool of the registry, called in a workdir that the user names.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, ListToolsResult,
        PaginatedRequestParams, ProgressNotificationParam, ServerCapabilities, ServerConfig,
    },
    service::RequestContext,
};
use serde_json::{Value, json};
use tokio::{
    sync::{Mutex, mpsc},
    time::{sleep_until, timeout},
};
use tunesmith_harness::redact::{self, redacted};
use tunesmith_sandbox::{Cancel, Local, Workdir};
use tunesmith_tools::{
    Registry,
    tool::{AnyTool, Cx, Progress, ToolError},
};

/// How long a tool may take to stop once it was told to.
const GRACE: Duration = Duration::from_secs(5);
/// The shortest time between two notifications of progress.
const PACE: Duration = Duration::from_millis(100);

/// The tools and where they work.
pub struct Shop {
    /// The tools.
    pub registry: Registry,
    /// All that they may write.
    pub dir: Workdir,
    /// What starts their jobs.
    pub jobs: Local,
    /// The base that they start from.
    pub base: PathBuf,
    /// Seed of everything random.
    pub seed: u64,
    /// How long a call may take.
    pub limit: Duration,
    /// What a caller is told first.
    pub about: String,
}

/// A server for one caller; all of them share one shop, where calls are done one after the other.
#[derive(Clone)]
pub struct Server {
    shop: Arc<Shop>,
    turn: Arc<Mutex<()>>,
}

impl Server {
    /// A server of these tools.
    pub fn new(shop: Shop) -> Self {
        Server { shop: Arc::new(shop), turn: Arc::default() }
    }

    /// Makes a call, unless it is cancelled or its time is up.
    async fn call(
        &self,
        tool: &dyn AnyTool,
        args: Value,
        context: &RequestContext<RoleServer>,
    ) -> Result<Value, ToolError> {
        let _turn = tokio::select! {
            turn = self.turn.lock() => turn,
            () = context.ct.cancelled() => return Err(ToolError::Cancelled),
        };
        let shop = &*self.shop;
        let deadline = Instant::now() + shop.limit;
        let (told, mut heard) = mpsc::channel(64);
        // Progress that nobody takes in time is dropped: the next says more.
        let on = move |progress: Progress| drop(told.try_send(progress));
        let stop = Cancel::default();
        let cx = Cx {
            dir: &shop.dir,
            jobs: &shop.jobs,
            base: &shop.base,
            seed: shop.seed,
            deadline: Some(deadline),
            cancel: stop.clone(),
            ask: None,
            hub: None,
            hosts: &[],
            on: &on,
        };
        let mut call = tool.call(&cx, args);
        let mut ticks = Ticks::default();
        let stopped = loop {
            tokio::select! {
                biased;
                result = &mut call => return result,
                () = context.ct.cancelled() => break ToolError::Cancelled,
                () = sleep_until((deadline + GRACE).into()) => break ToolError::Limit("the call's time is up".into()),
                Some(progress) = heard.recv() => {
                    if let Some(token) = context.meta.get_progress_token()
                        && let Some((done, total, message)) = ticks.next(&progress, Instant::now())
                    {
                        let tick = ProgressNotificationParam::new(token, done).with_total(total).with_message(message);
                        // A caller who has gone away is noticed where requests are read.
                        let _ = context.peer.notify_progress(tick).await;
                    }
                }
            }
        };
        stop.cancel();
        match timeout(GRACE, call).await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(ToolError::Cancelled)) | Err(_) => Err(stopped),
            Ok(Err(error)) => Err(error),
        }
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let mut info = ServerConfig::new(ServerCapabilities::builder().enable_tools().build());
        info.server_info = Implementation::new("tunesmith", env!("CARGO_PKG_VERSION"));
        info.instructions = Some(self.shop.about.clone());
        info
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tool = |tool: &dyn AnyTool| {
            let schema = tool.schema().as_object().cloned().unwrap_or_default();
            rmcp::model::Tool::new(tool.name().to_owned(), tool.description().to_owned(), Arc::new(schema))
        };
        Ok(ListToolsResult::with_all_items(self.shop.registry.iter().map(tool).collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(tool) = self.shop.registry.get(&request.name) else {
            let why = format!("there is no tool {:?}; list the tools", request.name);
            return Err(ErrorData::invalid_params(why, None));
        };
        let args = request.arguments.map_or(Value::Null, Value::Object);
        let result = match self.call(tool, args, &context).await {
            Ok(output) => {
                let output = redact::value(output);
                let mut result = CallToolResult::success(vec![ContentBlock::text(output.to_string())]);
                // What is no object has no place there.
                result.structured_content = output.is_object().then_some(output);
                result
            }
            Err(error) => failed(&error),
        };
        Ok(result.into())
    }
}

/// An error of a tool as a caller sees it: in words, and field by field.
fn failed(error: &ToolError) -> CallToolResult {
    let kind = match error {
        ToolError::Invalid(_) => "invalid",
        ToolError::Denied(_) => "denied",
        ToolError::Failed(_) => "failed",
        ToolError::Limit(_) => "limit",
        ToolError::Resource(_) => "resource",
        ToolError::Cancelled => "cancelled",
    };
    let text = redacted(&error.to_string()).into_owned();
    let mut told = json!({"kind": kind, "error": text});
    if let ToolError::Invalid(fields) = error {
        told["fields"] = redact::value(json!(fields));
    }
    let mut result = CallToolResult::error(vec![ContentBlock::text(text)]);
    result.structured_content = Some(told);
    result
}

/// Progress in one direction, as the protocol wants it, over work in several parts that each begin at zero.
#[derive(Default)]
struct Ticks {
    what: String,
    before: usize,
    total: usize,
    last: Option<(f64, Instant)>,
}

impl Ticks {
    /// What to say: done, total and words; nothing where it would say no more, or too soon.
    fn next(&mut self, progress: &Progress, now: Instant) -> Option<(f64, f64, String)> {
        if progress.job.is_some() {
            return None;
        }
        if progress.what != self.what {
            self.before += self.total;
            self.what = progress.what.clone();
        }
        self.total = progress.total.max(progress.done);
        let done = (self.before + progress.done) as f64;
        let (first, later) = (self.last.is_none(), |(last, at): (f64, Instant)| done > last && now >= at + PACE);
        if !first && !self.last.is_some_and(later) {
            return None;
        }
        self.last = Some((done, now));
        let loss = progress.loss.map(|loss| format!(", loss {loss:.3}")).unwrap_or_default();
        let message = format!("{}: {} of {}{loss}", progress.what, progress.done, progress.total);
        Some((done, (self.before + self.total) as f64, redacted(&message).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_only_ever_grows() {
        let mut ticks = Ticks::default();
        let start = Instant::now();
        let mut told = |what: &str, done, total, millis| {
            let progress = Progress { what: what.into(), done, total, ..Progress::default() };
            ticks.next(&progress, start + Duration::from_millis(millis))
        };
        let said = |done: f64, total: f64, text: &str| Some((done, total, text.to_owned()));
        assert_eq!(told("train", 1, 10, 0), said(1.0, 10.0, "train: 1 of 10"));
        assert_eq!(told("train", 2, 10, 50), None, "too soon");
        assert_eq!(told("train", 1, 10, 200), None, "no more than before");
        assert_eq!(told("train", 10, 10, 300), said(10.0, 10.0, "train: 10 of 10"));
        assert_eq!(told("evaluate", 0, 4, 500), None, "where the part before it ended");
        assert_eq!(told("evaluate", 3, 4, 700), said(13.0, 14.0, "evaluate: 3 of 4"));
    }
}
