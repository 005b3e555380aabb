//! The Hub as the environment configures it. The only place where its variables are read.

use std::path::PathBuf;

use tunesmith_harness::redact::hide;
use tunesmith_tools::hub::{Hub, HubConfig, HubError};

/// The Hub of `HF_ENDPOINT`, with the token and the cache that Hugging Face's own tools would use.
pub fn open() -> Result<Hub, HubError> {
    Hub::new(&config(&env))
}

/// Whether one of the user's `--allow` permits the host of `HF_ENDPOINT`, as `network:HOST` or `network:HOST:PORT`.
pub fn allowed(allow: &[String]) -> bool {
    permits(allow, &config(&env).endpoint)
}

/// The hosts of the user's `--allow`.
pub fn hosts(allow: &[String]) -> Vec<String> {
    allow.iter().filter_map(|allowed| allowed.strip_prefix("network:")).map(str::to_owned).collect()
}

/// The host of `HF_ENDPOINT`, as `--allow network:HOST` takes it.
pub fn host() -> String {
    host_of(&config(&env).endpoint)
}

/// The host of an address, with its port where it has one.
pub fn host_of(endpoint: &str) -> String {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_ascii_lowercase()
}

fn permits(allow: &[String], endpoint: &str) -> bool {
    let host = host_of(endpoint);
    hosts(allow).iter().any(|allowed| {
        let allowed = allowed.to_ascii_lowercase();
        let port = host.strip_prefix(&allowed).and_then(|rest| rest.strip_prefix(':'));
        let port = port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
        !allowed.is_empty() && (allowed == host || port)
    })
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

fn config(env: &dyn Fn(&str) -> Option<String>) -> HubConfig {
    let home = env("HF_HOME").map(PathBuf::from).unwrap_or_else(|| {
        let cache = env("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| env("HOME").map(|home| PathBuf::from(home).join(".cache")));
        cache.unwrap_or_else(std::env::temp_dir).join("huggingface")
    });
    let file = env("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
    let stored = || std::fs::read_to_string(file).ok();
    let token = env("HF_TOKEN").or_else(stored).map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
    token.iter().for_each(|token| hide(token));
    HubConfig {
        endpoint: env("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into()),
        token,
        cache_dir: env("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from),
        viewer: env("TUNESMITH_HUB_VIEWER"),
        // What Hugging Face's own tools take for a yes.
        offline: env("HF_HUB_OFFLINE")
            .is_some_and(|value| ["1", "on", "yes", "true"].contains(&value.trim().to_ascii_lowercase().as_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hubs_own_host_opens_the_hub() {
        let permits = |allowed: &str, endpoint: &str| permits(&[format!("network:{allowed}")], endpoint);
        let hub = "https://huggingface.co";
        assert!(permits("huggingface.co", hub) && permits("HuggingFace.co", "https://user@huggingface.co/path?x"));
        assert!(permits("127.0.0.1", "http://127.0.0.1:9") && permits("127.0.0.1:9", "http://127.0.0.1:9/"));
        for other in ["", "example.org", "co", "hugging", "huggingface.co.example.org", "huggingface.co:443"] {
            assert!(!permits(other, hub), "{other}");
        }
        assert!(!super::permits(&["scope".into(), "huggingface.co".into()], hub));
    }

    #[test]
    fn variables_are_read_as_hugging_faces_tools_do() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "hf_stored\n").unwrap();
        let home = dir.path().to_str().unwrap().to_owned();
        let with = |pairs: Vec<(&'static str, String)>| {
            config(&move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone()))
        };
        let stored = with(vec![("HF_HOME", home.clone())]);
        assert_eq!(stored.endpoint, "https://huggingface.co");
        assert_eq!(stored.token.as_deref(), Some("hf_stored"));
        assert_eq!(stored.cache_dir, dir.path().join("hub"));
        let given = with(vec![
            ("HF_HOME", home),
            ("HF_TOKEN", " hf_given ".into()),
            ("HF_ENDPOINT", "http://127.0.0.1:9".into()),
            ("HF_HUB_CACHE", "/cache".into()),
            ("HF_HUB_OFFLINE", "True".into()),
            ("TUNESMITH_HUB_VIEWER", "http://127.0.0.1:8".into()),
        ]);
        assert!(given.offline && !stored.offline);
        assert_eq!((given.viewer.as_deref(), stored.viewer.as_deref()), (Some("http://127.0.0.1:8"), None));
        assert_eq!((given.endpoint.as_str(), given.token.as_deref()), ("http://127.0.0.1:9", Some("hf_given")));
        assert_eq!(given.cache_dir, PathBuf::from("/cache"));
    }
}
