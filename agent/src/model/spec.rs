//! `--planner SPEC`: which planner, at which address, with which key.

use std::path::PathBuf;

use secrecy::SecretString;
use tunesmith_harness::{ask::Price, redact::hide};
use tunesmith_sandbox::Local;

use super::{
    ChatModel, ErrorKind, ModelError,
    catalogue::{self, Facts},
    openai::{Endpoint, OpenAi},
    resident::Resident,
    scripted::Scripted,
};

/// Who plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Planner {
    /// The built-in rules; no model.
    Playbook,
    /// A model behind an OpenAI-compatible address.
    Hosted(Hosted),
    /// Turns read from a file.
    Scripted(PathBuf),
    /// What a model said in an earlier run: the run's directory, its log, or a file of replies.
    Replay(PathBuf),
    /// A model in files, by its name: `nano`, a directory or a GGUF file.
    Local(String),
}

/// Where a model answers, and the name of the variable that holds its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosted {
    /// Base address, without `/chat/completions`.
    pub base: String,
    /// The model's name.
    pub model: String,
    /// The environment variable with the key. Only this one is ever read for this address.
    pub key: Option<&'static str>,
    /// Whether the key must be there.
    pub needs_key: bool,
    /// Whether asking costs nothing, as on the user's own machine.
    pub free: bool,
}

/// The forms that [`parse`] knows, for messages and help.
pub const FORMS: &str = "playbook, openai:MODEL, anthropic:MODEL, gemini:MODEL, hf:MODEL, together:MODEL, ollama:MODEL, \
                         vllm:MODEL, url:BASE#MODEL, local:MODEL, scripted:FILE, replay:RUN";

/// Why a `--planner` makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// No such form.
    #[error("unknown planner {0:?}; use one of: {FORMS}")]
    Unknown(String),
    /// A form without what follows the colon.
    #[error("planner {given:?} is incomplete; write {form}")]
    Incomplete {
        /// As given.
        given: String,
        /// The full form.
        form: &'static str,
    },
    /// The address of a `url:` is none.
    #[error("{0:?} is not an http or https address; write url:https://HOST/v1#MODEL")]
    Address(String),
    /// The address of a `url:` holds a user or password, which would end up in logs and reports.
    #[error(
        "an address must not hold a user or password; write url:https://HOST/v1#MODEL and put the key in {URL_KEY}"
    )]
    Secret,
}

/// (name, base address, key variable, key needed, free, full form)
type Provider = (&'static str, &'static str, Option<&'static str>, bool, bool, &'static str);

const PROVIDERS: [Provider; 7] = [
    ("openai", "https://api.openai.com/v1", Some("OPENAI_API_KEY"), true, false, "openai:MODEL"),
    ("anthropic", "https://api.anthropic.com/v1", Some("ANTHROPIC_API_KEY"), true, false, "anthropic:MODEL"),
    (
        "gemini",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        Some("GEMINI_API_KEY"),
        true,
        false,
        "gemini:MODEL",
    ),
    ("hf", "https://router.huggingface.co/v1", Some("HF_TOKEN"), true, false, "hf:MODEL"),
    ("together", "https://api.together.xyz/v1", Some("TOGETHER_API_KEY"), true, false, "together:MODEL"),
    ("ollama", "http://localhost:11434/v1", None, false, true, "ollama:MODEL"),
    ("vllm", "http://localhost:8000/v1", Some("VLLM_API_KEY"), false, true, "vllm:MODEL"),
];

/// The environment variables that may hold a planner's key.
pub fn keys() -> Vec<&'static str> {
    PROVIDERS.iter().filter_map(|provider| provider.2).chain([URL_KEY]).collect()
}

/// Providers whose key is set: its variable, and how a model of theirs is named.
pub fn offers(env: &dyn Fn(&str) -> Option<String>) -> Vec<(&'static str, &'static str)> {
    let set = |variable: &'static str| env(variable).is_some_and(|key| !key.trim().is_empty()).then_some(variable);
    PROVIDERS.iter().filter_map(|provider| Some((provider.2.and_then(set)?, provider.5))).collect()
}

/// Holds the key of an address that the user typed.
const URL_KEY: &str = "TUNESMITH_API_KEY";

/// Reads a `--planner`.
pub fn parse(spec: &str) -> Result<Planner, SpecError> {
    let spec = spec.trim();
    if spec == "playbook" {
        return Ok(Planner::Playbook);
    }
    let (form, rest) = spec.split_once(':').ok_or_else(|| unfinished(spec))?;
    let incomplete = |form| SpecError::Incomplete { given: spec.to_owned(), form };
    match form {
        "scripted" if rest.is_empty() => Err(incomplete("scripted:FILE")),
        "scripted" => Ok(Planner::Scripted(PathBuf::from(rest))),
        "url" => address(rest).map(Planner::Hosted),
        "replay" if rest.is_empty() => Err(incomplete("replay:RUN")),
        "replay" => Ok(Planner::Replay(PathBuf::from(rest))),
        "local" if rest.trim().is_empty() => Err(incomplete("local:MODEL")),
        "local" => Ok(Planner::Local(rest.trim().to_owned())),
        _ => match PROVIDERS.iter().find(|provider| provider.0 == form) {
            Some(provider) if rest.trim().is_empty() => Err(incomplete(provider.5)),
            Some(&(_, base, key, needs_key, free, _)) => {
                Ok(Planner::Hosted(Hosted { base: base.into(), model: rest.trim().into(), key, needs_key, free }))
            }
            None => Err(SpecError::Unknown(spec.to_owned())),
        },
    }
}

/// A word without a colon: a provider that lacks its model, or nothing known.
fn unfinished(spec: &str) -> SpecError {
    let others =
        [("url", "url:BASE#MODEL"), ("local", "local:MODEL"), ("scripted", "scripted:FILE"), ("replay", "replay:RUN")];
    let forms = PROVIDERS.iter().map(|p| (p.0, p.5)).chain(others);
    match forms.into_iter().find(|(name, _)| *name == spec) {
        Some((_, form)) => SpecError::Incomplete { given: spec.to_owned(), form },
        None => SpecError::Unknown(spec.to_owned()),
    }
}

/// `BASE#MODEL`. The key of a named provider is never sent to an address that the user typed.
fn address(rest: &str) -> Result<Hosted, SpecError> {
    // Before all else, because no error may repeat a password. `http:/u:p@h` and `http:\\u:p@h` are read like `http://`.
    let host = rest.split_once(':').map_or(rest, |(_, host)| host).trim_start_matches(['/', '\\']);
    if host.split(['/', '\\', '?', '#']).next().is_some_and(|host| host.contains('@')) {
        return Err(SpecError::Secret);
    }
    let incomplete = || SpecError::Incomplete { given: format!("url:{rest}"), form: "url:BASE#MODEL" };
    let (base, model) = rest.split_once('#').ok_or_else(incomplete)?;
    if model.trim().is_empty() {
        return Err(incomplete());
    }
    let host = base.strip_prefix("https://").or_else(|| base.strip_prefix("http://"));
    if !host.is_some_and(|host| !host.is_empty() && reqwest::Url::parse(base).is_ok()) {
        return Err(SpecError::Address(base.to_owned()));
    }
    Ok(Hosted {
        base: base.trim_end_matches('/').to_owned(),
        model: model.trim().to_owned(),
        key: Some(URL_KEY),
        needs_key: false,
        free: false,
    })
}

impl Planner {
    /// What is known of it without asking. `env` looks up a variable; the error names the user's file that is wrong.
    pub fn facts(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Facts, String> {
        match self {
            Planner::Scripted(_) | Planner::Replay(_) | Planner::Local(_) => Ok(Facts::FREE),
            Planner::Hosted(hosted) => hosted.facts(env),
            Planner::Playbook => Ok(Facts::default()),
        }
    }

    /// What a token costs, where that is known: providers do not say before they are asked.
    pub fn price(&self, env: &dyn Fn(&str) -> Option<String>) -> Option<Price> {
        self.facts(env).ok()?.price
    }

    /// What answers are attributed to.
    pub fn name(&self) -> String {
        match self {
            Planner::Playbook => "the playbook".into(),
            Planner::Scripted(_) => "a script".into(),
            Planner::Replay(_) => "a recording".into(),
            Planner::Local(model) => model.clone(),
            Planner::Hosted(Hosted { base, model, .. }) => format!("{model} at {base}"),
        }
    }

    /// Opens the model; `None` for the playbook, which needs none. `env` looks up a variable; a model in files answers in a job.
    pub fn open(
        &self,
        env: &dyn Fn(&str) -> Option<String>,
        jobs: &Local,
        seed: u64,
    ) -> Result<Option<Box<dyn ChatModel>>, ModelError> {
        match self {
            Planner::Playbook => Ok(None),
            Planner::Scripted(file) => Ok(Some(Box::new(Scripted::open(file)?))),
            Planner::Replay(path) => Ok(Some(Box::new(Scripted::recorded(path)?))),
            Planner::Local(model) => Ok(Some(Box::new(Resident::open(model, jobs, seed)?))),
            Planner::Hosted(hosted) => {
                let endpoint = hosted.endpoint(env).map_err(|error| ModelError {
                    message: format!("{}, or use --planner playbook", error.message),
                    ..error
                });
                Ok(Some(Box::new(OpenAi::new(endpoint?, seed)?)))
            }
        }
    }
}

impl Hosted {
    /// The endpoint with its key.
    pub fn endpoint(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Endpoint, ModelError> {
        let key = self.key.and_then(env).map(|key| key.trim().to_owned()).filter(|key| !key.is_empty());
        if let (None, true, Some(variable)) = (&key, self.needs_key, self.key) {
            let message = format!("no key for {}; set {variable}", self.base);
            return Err(ModelError::new(ErrorKind::Auth, message));
        }
        key.iter().for_each(|key| hide(key));
        let key = key.map(SecretString::from);
        // A catalogue that is wrong is told where the planner is named; here it knows nothing.
        let facts = self.facts(env).unwrap_or_default();
        Ok(Endpoint { base: self.base.clone(), model: self.model.clone(), key, facts })
    }

    /// What is known of the model.
    pub fn facts(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Facts, String> {
        let known = catalogue::facts(&self.base, &self.model, env)?;
        Ok(Facts { price: if self.free { Some(Price::FREE) } else { known.price }, ..known })
    }
}
