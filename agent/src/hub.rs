//! The Hub as the environment configures it. The only place where its variables are read.

use std::path::PathBuf;

use tunesmith_tools::hub::{Hub, HubConfig, HubError};

/// The Hub of `HF_ENDPOINT`, with the token and the cache that Hugging Face's own tools would use.
pub fn open() -> Result<Hub, HubError> {
    Hub::new(&config(&env))
}

/// The host of `HF_ENDPOINT`, with its port where it names one.
pub fn host() -> String {
    let endpoint = config(&env).endpoint;
    let rest = endpoint.split_once("://").map_or(endpoint.as_str(), |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_ascii_lowercase()
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
    HubConfig {
        endpoint: env("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into()),
        token,
        cache_dir: env("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        ]);
        assert_eq!((given.endpoint.as_str(), given.token.as_deref()), ("http://127.0.0.1:9", Some("hf_given")));
        assert_eq!(given.cache_dir, PathBuf::from("/cache"));
    }
}
