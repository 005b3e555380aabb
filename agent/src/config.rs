//! The user's own settings: `tunesmith/config.toml` in the directory for settings.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tunesmith_sandbox::Layer;

use crate::run::Failure;

/// What the user has set for all runs on this machine.
///
/// It is read from the user's directory alone: a project's files may come from anyone, and none of them may decide how
/// jobs are confined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The file, where there is one.
    pub path: Option<PathBuf>,
    /// `sandbox.require`: layers without which nothing is started.
    pub require: Vec<Layer>,
}

/// Bytes that settings may have.
const LARGEST: u64 = 1 << 20;

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    sandbox: Sandbox,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sandbox {
    #[serde(default)]
    require: Vec<String>,
}

impl Config {
    /// Reads the file that belongs to these variables; without a file everything is as it comes.
    pub fn load(env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let Some(path) = place(env) else { return Ok(Config::default()) };
        // A pipe would be waited for without end.
        match std::fs::metadata(&path) {
            Ok(meta) if !meta.is_file() => return Err(wrong(&path, "it is not a file")),
            Ok(meta) if meta.len() > LARGEST => return Err(wrong(&path, "it is too large for settings")),
            _ => {}
        }
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::read(&text, &path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Config::default()),
            Err(error) => Err(wrong(&path, &error.to_string())),
        }
    }

    fn read(text: &str, path: &Path) -> Result<Self, Failure> {
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            wrong(path, &format!("line {line}: {}", error.message()))
        })?;
        let layers = file.sandbox.require.iter().map(|name| name.parse());
        let require = layers
            .collect::<Result<_, _>>()
            .map_err(|error: tunesmith_sandbox::UnknownLayer| wrong(path, &format!("sandbox.require: {error}")))?;
        Ok(Config { path: Some(path.to_owned()), require })
    }
}

/// Where the file stands.
fn place(env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    directory(env).map(|directory| directory.join("config.toml"))
}

/// The directory for the user's settings; an empty or relative variable counts as none, as the specification of these directories says.
pub fn directory(env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let absolute = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let settings = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some(settings.join("tunesmith"))
}

fn wrong(path: &Path, why: &str) -> Failure {
    Failure::new(2, format!("{}: {why}; correct the file", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_says_which_layers_are_required_and_nothing_else() {
        let path = Path::new("/c.toml");
        let read = |text: &str| Config::read(text, path).map_err(|failure| failure.message);
        let some = |require| Ok(Config { path: Some(path.into()), require });
        assert_eq!(read(""), some(vec![]));
        assert_eq!(read("[sandbox]\nrequire = [\"files\", \"tree\"]"), some(vec![Layer::Files, Layer::Tree]));
        let line = "/c.toml: line 2: unknown field `requires`, expected `require`; correct the file";
        assert_eq!(read("[sandbox]\nrequires = []"), Err(line.into()));
        let line = "/c.toml: line 1: unknown field `endpoint`, expected `sandbox`; correct the file";
        assert_eq!(read("endpoint = 1"), Err(line.into()));
        let unknown = read("[sandbox]\nrequire = [\"file\"]").unwrap_err();
        assert!(
            unknown.starts_with("/c.toml: sandbox.require: there is no layer `file`; the layers are "),
            "{unknown}"
        );
        assert!(read("[sandbox").is_err_and(|why| why.starts_with("/c.toml: line 1: ") && why.lines().count() == 1));
    }

    #[test]
    fn the_file_stands_where_settings_do() {
        let at = |pairs: &[(&str, &str)]| {
            let pairs: Vec<(String, String)> = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
            place(&move |name| pairs.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()))
        };
        assert_eq!(at(&[("HOME", "/h")]), Some("/h/.config/tunesmith/config.toml".into()));
        assert_eq!(at(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]), Some("/x/tunesmith/config.toml".into()));
        assert_eq!(at(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "x")]), Some("/h/.config/tunesmith/config.toml".into()));
        assert_eq!(at(&[("XDG_CONFIG_HOME", "")]), None);
    }
}
