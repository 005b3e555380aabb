//! Asking a server how much its model reads at once: each kind of server says it in its own place.

use std::{sync::atomic::Ordering, time::Duration};

use serde_json::{Value, json};

use super::OpenAi;

/// Longest wait for such an answer: it is good to know and no more.
const PATIENCE: Duration = Duration::from_secs(5);

/// So often a server that did not tell is asked: Ollama knows only once the model is loaded.
const PROBES: u32 = 3;

/// Where entries of `/models` hold the window: vLLM, OpenRouter and Together, Groq, Mistral, Anthropic, llama.cpp.
/// What a model was trained with (`n_ctx_train`) says nothing of what the server gives it.
const WINDOWS: [&str; 6] =
    ["/max_model_len", "/context_length", "/context_window", "/max_context_length", "/max_input_tokens", "/meta/n_ctx"];

impl OpenAi {
    /// The window: what a refusal has told, what is known, or what the server says when it is asked.
    pub(super) async fn window_known(&self) -> Option<u64> {
        let told = Some(self.told.load(Ordering::Relaxed)).filter(|tokens| *tokens > 0);
        if let Some(window) = told.or(self.endpoint.facts.window) {
            return Some(window);
        }
        if self.probes.fetch_add(1, Ordering::Relaxed) >= PROBES {
            return None;
        }
        let window = self.probe().await.filter(|tokens| *tokens > 0)?;
        self.told.store(window, Ordering::Relaxed);
        Some(window)
    }

    async fn probe(&self) -> Option<u64> {
        let base = &self.address.base;
        let listed = self.got(&format!("{base}/models")).await.and_then(|list| listed(&list, self.name()));
        // Providers on the internet say it there or nowhere; servers of one's own have addresses beside.
        let root = base.strip_suffix("/v1").filter(|root| listed.is_none() && root.starts_with("http://"));
        let Some(root) = root else { return listed };
        let props = self.got(&format!("{root}/props")).await;
        if let Some(window) = props.and_then(|props| props.pointer("/default_generation_settings/n_ctx")?.as_u64()) {
            return Some(window);
        }
        let request = self.client.post(format!("{root}/api/show")).body(json!({"model": self.name()}).to_string());
        let shown =
            self.fetched(request, PATIENCE, PATIENCE).await.ok().filter(|shown| shown["model_info"].is_object())?;
        let loaded = self.got(&format!("{root}/api/ps")).await;
        loaded.and_then(|loaded| loaded_window(&loaded, self.name())).or_else(|| set_window(&shown))
    }

    async fn got(&self, address: &str) -> Option<Value> {
        let request = self.client.get(address).headers(self.address.headers.clone());
        self.fetched(request, PATIENCE, PATIENCE).await.ok()
    }
}

/// The window of the model in an answer of `/models`. Of a server with one model its name does not matter.
fn listed(list: &Value, model: &str) -> Option<u64> {
    let entries = list.as_array().or_else(|| list["data"].as_array())?;
    let named = entries.iter().find(|entry| entry["id"] == model);
    let entry = named.or_else(|| entries.first().filter(|_| entries.len() == 1))?;
    WINDOWS.iter().find_map(|field| entry.pointer(field)?.as_u64())
}

/// What Ollama has loaded the model with. `m` is short for `m:latest`.
fn loaded_window(loaded: &Value, model: &str) -> Option<u64> {
    let is_named = |entry: &&Value| {
        let name = entry["name"].as_str().unwrap_or_default();
        name == model || name.strip_suffix(":latest") == Some(model)
    };
    loaded["models"].as_array()?.iter().find(is_named)?["context_length"].as_u64()
}

/// What the model's file sets Ollama to: lines of names and values.
fn set_window(shown: &Value) -> Option<u64> {
    let lines = shown["parameters"].as_str()?.lines();
    lines.filter_map(|line| line.trim().strip_prefix("num_ctx")?.trim().parse().ok()).next()
}
