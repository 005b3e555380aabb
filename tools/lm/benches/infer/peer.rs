//! The other sides: llama.cpp's llama-bench, and transformers.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Options, PROMPT, STREAMS, Speed, output, parse, shapes::Shape, shared::peer};

/// What is there of the peers.
pub struct Peers {
    llama: Option<PathBuf>,
    python: Option<PathBuf>,
}

impl Peers {
    /// What the environment names.
    pub fn find() -> Self {
        Peers { llama: peer("TUNESMITH_PEER_LLAMA"), python: peer("TUNESMITH_PEER_PYTHON") }
    }

    /// llama.cpp on the same file; it warms up by itself.
    pub fn llama(&self, file: &Path, options: &Options) -> Result<Option<Speed>, String> {
        let Some(programs) = &self.llama else { return Ok(None) };
        let mut command = Command::new(programs.join("llama-bench"));
        command.arg("-m").arg(file).args(["-r", "1", "-o", "json", "-t", &options.threads.to_string()]);
        command.args(["-p", &PROMPT.to_string(), "-n", &options.tokens.to_string()]);
        let printed = output(command.env("LD_LIBRARY_PATH", programs))?;
        let tests: Vec<serde_json::Value> = serde_json::from_str(&printed).map_err(|e| format!("llama-bench: {e}"))?;
        let of = |name: &str| {
            let test = tests.iter().find(|test| test[name].as_u64() > Some(0));
            test.and_then(|test| test["avg_ts"].as_f64()).ok_or(format!("llama-bench: no {name}"))
        };
        Ok(Some(Speed { prompt: of("n_prompt")?, one: of("n_gen")?, many: None }))
    }

    /// transformers on random weights of the same shape.
    pub fn transformers(&self, shape: &Shape, dtype: &str, options: &Options) -> Result<Option<Speed>, String> {
        let Some(python) = &self.python else { return Ok(None) };
        let mut command = Command::new(python);
        command.arg("-Wignore").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/infer/peer.py"));
        command.args([shape.json, dtype]);
        command.args([options.threads, options.tokens, PROMPT, STREAMS].map(|n| n.to_string()));
        parse(&output(&mut command)?).map(Some)
    }
}
