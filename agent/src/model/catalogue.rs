//! What is known of models without asking: how much they read, how much they write, and what they cost.

use std::{io::ErrorKind::NotFound, path::Path};

use serde::Deserialize;
use tunesmith_harness::ask::Price;
use tunesmith_tools::files;

use crate::config;

/// What is known of a model; `None` is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Facts {
    /// Tokens that a conversation and its reply may have together.
    pub window: Option<u64>,
    /// Most tokens of a reply.
    pub output: Option<u64>,
    /// Dollars for a token.
    pub price: Option<Price>,
}

impl Facts {
    /// Of a model on the user's own machine, only that it costs nothing.
    pub const FREE: Facts = Facts { window: None, output: None, price: Some(Price::FREE) };
}

const BUNDLED: &str = include_str!("../knowledge/models.toml");

/// Bytes that the user's file may have.
const LARGEST: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    model: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    base: String,
    names: Vec<String>,
    window: Option<u64>,
    output: Option<u64>,
    /// Dollars for a million tokens.
    read: Option<f64>,
    written: Option<f64>,
}

/// What the bundled catalogue and the user's `models.toml` know of a model. `env` looks up a variable.
pub fn facts(base: &str, model: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Facts, String> {
    let bundled = read(BUNDLED, Path::new("the bundled models.toml"))?;
    let own = match config::Places::of(env, None).user.map(|file| file.with_file_name("models.toml")) {
        Some(path) => match files::read_small(&path, LARGEST) {
            Ok(text) => read(&text, &path)?,
            Err(error) if error.kind() == NotFound => Vec::new(),
            Err(error) => return Err(wrong(&path, &error.to_string())),
        },
        None => Vec::new(),
    };
    Ok(own.iter().chain(&bundled).filter(|entry| entry.is_of(base, model)).fold(Facts::default(), |known, entry| {
        let Facts { window, output, price } = entry.facts();
        Facts { window: known.window.or(window), output: known.output.or(output), price: known.price.or(price) }
    }))
}

impl Entry {
    fn is_of(&self, base: &str, model: &str) -> bool {
        self.base.trim_end_matches('/') == base.trim_end_matches('/') && self.names.iter().any(|name| name == model)
    }

    fn facts(&self) -> Facts {
        let price =
            self.read.zip(self.written).map(|(read, written)| Price { read: read / 1e6, written: written / 1e6 });
        Facts { window: self.window, output: self.output, price }
    }

    /// What makes no sense about it.
    fn wrong(&self) -> Option<String> {
        let name = self.names.first().map_or("a model", String::as_str);
        let prices = [self.read, self.written];
        if self.read.is_some() != self.written.is_some() {
            Some(format!("{name}: read and written go together"))
        } else if prices.iter().flatten().any(|price| !price.is_finite() || *price < 0.0) {
            Some(format!("{name}: a price is a number from 0"))
        } else if self.window == Some(0) || self.output == Some(0) {
            Some(format!("{name}: what is unknown is left out, not 0"))
        } else {
            None
        }
    }
}

fn read(text: &str, path: &Path) -> Result<Vec<Entry>, String> {
    let file: File = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        wrong(path, &format!("line {line}: {}", error.message()))
    })?;
    match file.model.iter().find_map(Entry::wrong) {
        Some(why) => Err(wrong(path, &why)),
        None => Ok(file.model),
    }
}

fn wrong(path: &Path, why: &str) -> String {
    format!("{}: {why}; correct the file", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANTHROPIC: &str = "https://api.anthropic.com/v1";

    /// What is known with such a file of the user's.
    fn with(text: &str, base: &str, model: &str) -> Result<Facts, String> {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("tunesmith");
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("models.toml"), text).unwrap();
        let place = home.path().display().to_string();
        let known = facts(base, model, &|name| (name == "XDG_CONFIG_HOME").then(|| place.clone()));
        known.map_err(|why| why.replace(&format!("{}/", directory.display()), ""))
    }

    #[test]
    fn the_bundled_catalogue_is_sound_and_the_rest_is_unknown() {
        let known = |base, model| facts(base, model, &|_| None).unwrap();
        let price = Price { read: 1.0 / 1e6, written: 5.0 / 1e6 };
        let haiku = Facts { window: Some(200_000), output: Some(64_000), price: Some(price) };
        assert_eq!(known(ANTHROPIC, "claude-haiku-4-5"), haiku);
        assert_eq!(known("https://api.anthropic.com/v1/", "claude-haiku-4-5-20251001"), haiku);
        assert_eq!(known(ANTHROPIC, "claude-haiku"), Facts::default());
        // The same name elsewhere may be anything.
        assert_eq!(known("https://api.example.com/v1", "claude-haiku-4-5"), Facts::default());
        let gpt = known("https://api.openai.com/v1", "gpt-5");
        assert_eq!(gpt, Facts { window: Some(400_000), output: None, price: None });
    }

    #[test]
    fn the_users_file_goes_first_field_by_field() {
        let own = "[[model]]\nbase = \"https://api.anthropic.com/v1\"\nnames = [\"claude-haiku-4-5\", \"new\"]\nwindow = 8192\n";
        let known = with(own, ANTHROPIC, "claude-haiku-4-5").unwrap();
        assert_eq!((known.window, known.output, known.price.is_some()), (Some(8192), Some(64_000), true));
        assert_eq!(with(own, ANTHROPIC, "new"), Ok(Facts { window: Some(8192), ..Facts::default() }));
        assert_eq!(with("", ANTHROPIC, "new"), Ok(Facts::default()));
    }

    #[test]
    fn a_wrong_file_says_what_to_correct() {
        let entry = |rest: &str| format!("[[model]]\nbase = \"http://h/v1\"\nnames = [\"m\"]\n{rest}");
        for (text, why) in [
            (entry("prize = 1"), "models.toml: line 4: unknown field `prize`"),
            (entry("read = 1.0"), "models.toml: m: read and written go together; correct the file"),
            (entry("read = -1.0\nwritten = 1.0"), "models.toml: m: a price is a number from 0; correct the file"),
            (entry("read = nan\nwritten = 1.0"), "models.toml: m: a price is a number from 0; correct the file"),
            (entry("window = 0"), "models.toml: m: what is unknown is left out, not 0; correct the file"),
            (entry("window = -1"), "models.toml: line 4: "),
        ] {
            let said = with(&text, "http://h/v1", "m").unwrap_err();
            assert!(said.starts_with(why), "{said}");
        }
    }
}
