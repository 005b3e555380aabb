//! A model in files as an [`Ask`]: it answers in the sandbox, without network, and costs nothing.

use std::{
    fs,
    future::Future,
    io,
    path::{Path, PathBuf},
    pin::Pin,
};

use tokio::sync::Mutex;
use tunesmith_harness::{
    ask::{Answer, Ask, AskError, Price, Question},
    hash::{sha256, sha256_file},
    redact::redacted,
};
use tunesmith_sandbox::{Cancel, Local, Workdir};
use tunesmith_tools::{
    bases, generate,
    tool::{Progress, ToolError},
    worker::{Work, run_work},
};

/// A directory in Hugging Face's format, or a GGUF file, that answers questions.
pub struct LocalModel<'a> {
    name: String,
    base: PathBuf,
    jobs: &'a Local,
    cancel: Cancel,
    /// Where its worker may write. One question is answered at a time: each has the model in memory.
    dir: Mutex<Workdir>,
}

impl<'a> LocalModel<'a> {
    /// The model at `base`, if it can be opened. Its answers are attributed to `given`, as the user calls it, and to the
    /// content of its files.
    pub async fn open(
        given: &str,
        base: PathBuf,
        dir: Workdir,
        jobs: &'a Local,
        cancel: &Cancel,
    ) -> Result<LocalModel<'a>, ToolError> {
        let unread = |error| ToolError::Failed(format!("{given}: cannot be read: {error}"));
        let name = format!("{given} (SHA-256 {})", &content(&base).map_err(unread)?[..16]);
        let model = LocalModel { name, base, jobs, cancel: cancel.clone(), dir: Mutex::new(dir) };
        model.generate(Vec::new(), 1, 0.0, 0).await.map(|_| model)
    }

    async fn generate(
        &self,
        prompts: Vec<Vec<tunesmith_harness::model::Message>>,
        max_new_tokens: usize,
        temperature: f32,
        seed: u64,
    ) -> Result<Vec<generate::Answer>, ToolError> {
        let work = Work::Generate(generate::Job {
            base: self.base.clone(),
            adapter: None,
            prompts,
            max_new_tokens,
            temperature,
            top_p: 1.0,
            stop: Vec::new(),
            seed,
            schema: None,
        });
        let (dir, on) = (self.dir.lock().await, |_: Progress| {});
        let value = run_work(self.jobs, &dir, &work, bases::reads(&self.base), (None, &self.cancel), &on).await?;
        let damaged = |error| ToolError::Failed(format!("the worker's answer is damaged: {error}"));
        serde_json::from_value(value).map(|generate::Output { answers }| answers).map_err(damaged)
    }
}

impl Ask for LocalModel<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn price(&self) -> Option<Price> {
        Some(Price::FREE)
    }

    fn ask(&self, question: Question) -> Pin<Box<dyn Future<Output = Result<Answer, AskError>> + Send + '_>> {
        Box::pin(async move {
            let Question { messages, max_tokens, temperature, seed, .. } = question;
            let most = usize::try_from(max_tokens).unwrap_or(usize::MAX);
            match self.generate(vec![messages], most, temperature as f32, seed).await {
                Ok(answers) => answers
                    .into_iter()
                    .next()
                    .map(answer)
                    .ok_or_else(|| AskError::Failed(format!("{}: the worker gave no answer", self.name))),
                Err(ToolError::Cancelled) => Err(AskError::Cancelled),
                // It has been opened before, so that this is about the question: a prompt that is too long, for example.
                Err(ToolError::Failed(why)) => Err(AskError::Declined(format!("{}: {why}", self.name))),
                Err(error) => Err(AskError::Failed(format!("{}: {error}", self.name))),
            }
        })
    }
}

fn answer(answer: generate::Answer) -> Answer {
    Answer {
        text: redacted(&answer.text).into_owned(),
        cut: !answer.stopped,
        tokens: Some((answer.prompt_tokens + answer.tokens) as u64),
        usd: Some(0.0),
    }
}

/// What names a model's content: the hash of its file, or of the names and hashes of the files in its directory.
fn content(base: &Path) -> io::Result<String> {
    if !base.is_dir() {
        return sha256_file(base);
    }
    let mut files: Vec<PathBuf> = fs::read_dir(base)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    files.retain(|path| path.is_file());
    files.sort();
    let mut lines = String::new();
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        lines.push_str(&format!("{name} {}\n", sha256_file(&path)?));
    }
    Ok(sha256(lines.as_bytes()))
}
