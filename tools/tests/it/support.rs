//! A workdir, a base that is really pretrained (for seconds), and calls of tools by name.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tunesmith_harness::{ask::Ask, score::Score};
use tunesmith_lm::{
    pretrain::{ModelShape, PretrainSpec, pretrain},
    train::{Control, memory::Memory},
};
use tunesmith_sandbox::{Cancel, Local, Workdir};
use tunesmith_tools::{
    Registry, all,
    hub::Hub,
    tool::{Cx, FieldError, Progress, ToolError},
};

/// The program of `examples/tools_companion.rs`, which `cargo test` builds beside the tests.
pub fn local() -> Local {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().unwrap().parent().unwrap().join("examples/tools_companion");
    assert!(path.exists(), "run `cargo build -p tunesmith-tools --examples` first");
    Local::with_init(path)
}

/// A base of the bundled one's kind, only smaller, made once per build directory.
pub fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let spec = PretrainSpec {
            texts: Vec::new(),
            generated_tokens: 300_000,
            shape: ModelShape { vocab: 600, hidden: 64, inner: 128, layers: 2, heads: 2, kv_heads: 1, context: 192 },
            sequence: 128,
            batch_size: 16,
            learning_rate: 6e-3,
            weight_decay: 0.0,
            max_steps: None,
            seed: 1,
        };
        let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let done = place.join("tools-base-1");
        if !done.join("model.safetensors").exists() {
            // Made beside its place and renamed, because another test process may do the same.
            let fresh = tempfile::Builder::new().prefix("tools-base").tempdir_in(place).unwrap();
            let mut control =
                Control { deadline: None, on: &mut |_| Ok(()), checkpoint: None, memory: Memory::default() };
            pretrain(&spec, fresh.path(), &mut control).unwrap();
            let _ = fs::rename(fresh.keep(), &done);
        }
        done
    })
}

/// A run's workdir with a way to call tools in it.
pub struct Place {
    pub dir: Workdir,
    pub jobs: Local,
    pub registry: Registry,
    pub cancel: Cancel,
    pub deadline: Option<Instant>,
    pub ask: Option<Box<dyn Ask>>,
    pub hub: Option<Hub>,
    pub hosts: Vec<String>,
    pub progress: Mutex<Vec<Progress>>,
    _root: TempDir,
}

impl Place {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Place {
            dir: Workdir::create(&root.path().join("work")).unwrap(),
            jobs: local(),
            registry: all(),
            cancel: Cancel::default(),
            deadline: Some(Instant::now() + Duration::from_secs(120)),
            ask: None,
            hub: None,
            hosts: Vec::new(),
            progress: Mutex::default(),
            _root: root,
        }
    }

    /// A place with rows in `data/train.jsonl`.
    pub fn with(rows: impl IntoIterator<Item = Value>) -> Self {
        let place = Place::new();
        let text: String = rows.into_iter().map(|row| format!("{row}\n")).collect();
        place.write("data/train.jsonl", &text);
        place
    }

    pub fn path(&self, rel: &str) -> PathBuf {
        self.dir.path().join(rel)
    }

    pub fn write(&self, rel: &str, text: &str) {
        fs::create_dir_all(self.path(rel).parent().unwrap()).unwrap();
        fs::write(self.path(rel), text).unwrap();
    }

    pub async fn call_seeded(&self, seed: u64, tool: &str, args: Value) -> Result<Value, ToolError> {
        self.call_on(base(), seed, tool, args).await
    }

    pub async fn call_on(&self, base: &Path, seed: u64, tool: &str, args: Value) -> Result<Value, ToolError> {
        let on = |progress: Progress| self.progress.lock().unwrap().push(progress);
        let cx = Cx {
            dir: &self.dir,
            jobs: &self.jobs,
            base,
            seed,
            deadline: self.deadline,
            cancel: self.cancel.clone(),
            ask: self.ask.as_deref(),
            hub: self.hub.as_ref(),
            hosts: &self.hosts,
            on: &on,
        };
        self.registry.get(tool).unwrap().call(&cx, args).await
    }

    pub async fn call(&self, tool: &str, args: Value) -> Result<Value, ToolError> {
        self.call_seeded(7, tool, args).await
    }

    pub async fn ok(&self, tool: &str, args: Value) -> Value {
        self.call(tool, args).await.unwrap_or_else(|error| panic!("{tool}: {error}"))
    }

    pub async fn error(&self, tool: &str, args: Value) -> String {
        self.call(tool, args).await.expect_err("it was done").to_string()
    }

    /// The pointers of the arguments that were refused.
    pub async fn refused(&self, tool: &str, args: Value) -> Vec<String> {
        match self.call(tool, args).await {
            Err(ToolError::Invalid(errors)) => errors.into_iter().map(|FieldError { pointer, .. }| pointer).collect(),
            other => panic!("not refused: {other:?}"),
        }
    }

    pub fn scores(&self, tool: &str, output: &Value) -> Vec<Score> {
        self.registry.get(tool).unwrap().scores(output, &self.dir)
    }
}

/// Messages of three kinds, `each` of each, with labels that look like identifiers.
pub fn tickets(each: usize) -> Vec<Value> {
    let kinds = [("card_arrival", "card", "arrive"), ("top_up", "money", "top up"), ("lost_phone", "phone", "find")];
    let names = ["Anna", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gina", "Hal", "Ida", "Jon", "Kim", "Leo"];
    (0..each)
        .flat_map(|i| {
            kinds.map(|(label, thing, verb)| {
                let name = names[i % names.len()];
                let text = format!("{name} asks number {i}: my {thing} is the problem, can you {verb} it");
                json!({"text": text, "intent": label})
            })
        })
        .collect()
}
