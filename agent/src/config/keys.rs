//! The keys: what each is called in the environment, and what a project's file may do with it before anybody trusts it.

use std::path::{Component, Path, PathBuf};

use toml::Value;

use crate::{commands::sandbox::size, run::STEPS};

/// A key of the settings.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name in the files, with a dot where it is in a table.
    pub name: &'static str,
    /// Its name in the environment.
    pub env: Option<&'static str>,
    /// How its value is written.
    pub kind: Kind,
    /// The value where nobody sets one.
    pub default: Option<&'static str>,
    /// What a project's file may do with it.
    pub project: Rule,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// A number.
    Number,
    /// A list of texts; separated by commas in the environment.
    List,
    /// A table for each name.
    Tables,
}

/// What takes effect from a project's file that nobody has trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Everything.
    Free,
    /// What names nothing outside the project's directory.
    Inside,
    /// A limit that is not above the user's own, or the default.
    Lower,
    /// Nothing: it says who plans, who sees rows, what is allowed, or what is started.
    Trusted,
}

const fn key(
    name: &'static str,
    env: Option<&'static str>,
    kind: Kind,
    default: Option<&'static str>,
    project: Rule,
) -> Key {
    Key { name, env, kind, default, project }
}

/// All of them, in the order in which they are shown.
pub const KEYS: [Key; 15] = [
    key("planner", Some("TUNESMITH_PLANNER"), Kind::Text, Some("playbook"), Rule::Trusted),
    key("share", Some("TUNESMITH_SHARE"), Kind::Text, Some("none"), Rule::Trusted),
    key("approve", Some("TUNESMITH_APPROVE"), Kind::Text, Some("ask"), Rule::Trusted),
    key("allow", Some("TUNESMITH_ALLOW"), Kind::List, None, Rule::Trusted),
    key("base", Some("TUNESMITH_BASE"), Kind::Text, Some("nano"), Rule::Inside),
    key("dir", Some("TUNESMITH_DIR"), Kind::Text, Some("runs"), Rule::Inside),
    key("minutes", Some("TUNESMITH_MINUTES"), Kind::Number, None, Rule::Lower),
    key("usd", Some("TUNESMITH_USD"), Kind::Number, None, Rule::Lower),
    key("tokens", Some("TUNESMITH_TOKENS"), Kind::Number, None, Rule::Lower),
    key("steps", Some("TUNESMITH_STEPS"), Kind::Number, None, Rule::Lower),
    key("disk", Some("TUNESMITH_DISK"), Kind::Text, Some("32G"), Rule::Lower),
    key("goals", Some("TUNESMITH_GOALS"), Kind::List, None, Rule::Free),
    key("sandbox.require", Some("TUNESMITH_REQUIRE"), Kind::List, None, Rule::Trusted),
    key("mcp", None, Kind::Tables, None, Rule::Trusted),
    key("tools", None, Kind::Tables, None, Rule::Trusted),
];

/// The key that a flat name belongs to.
pub fn of(name: &str) -> Option<&'static Key> {
    let outer = name.split_once('.').map(|(outer, _)| outer);
    KEYS.iter().find(|key| key.name == name || key.kind == Kind::Tables && Some(key.name) == outer)
}

impl Kind {
    /// A value as a variable, or the list of keys, says it. What is no number stays a text, which is then refused.
    pub fn read(self, text: &str) -> Value {
        match self {
            Kind::Text | Kind::Tables => Value::String(text.to_owned()),
            Kind::Number => {
                let whole = text.parse().ok().map(Value::Integer);
                whole.or_else(|| text.parse().ok().map(Value::Float)).unwrap_or_else(|| Value::String(text.to_owned()))
            }
            Kind::List => {
                let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
                Value::Array(words.map(|word| Value::String(word.to_owned())).collect())
            }
        }
    }
}

impl Key {
    /// Whether this value may come from a file that nobody has trusted. `before` is what the user says, `dir` where the
    /// file stands.
    pub fn is_harmless(&self, value: &Value, before: Option<&Value>, dir: &Path) -> bool {
        match self.project {
            Rule::Free => true,
            Rule::Trusted => false,
            Rule::Lower => {
                // What a language model may take where nobody says anything.
                let steps = (self.name == "steps").then(|| f64::from(STEPS));
                let most = before.and_then(number).or(steps).or_else(|| number(&self.kind.read(self.default?)));
                number(value).is_some_and(|new| most.is_none_or(|most| new <= most))
            }
            Rule::Inside => value.as_str().is_some_and(|text| {
                // A name without a place, as the bundled base's or one on the Hub.
                let place = Path::new(text);
                let is_name = self.name == "base" && place.is_relative() && !text.starts_with(['.', '~']);
                is_name || is_within(place, dir)
            }),
        }
    }
}

/// A limit, in numbers or as a size in words.
fn number(value: &Value) -> Option<f64> {
    let size = || size(value.as_str()?).ok().map(|bytes| bytes as f64);
    value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64)).or_else(size)
}

/// Whether a path is below `dir`, also by what its links say.
fn is_within(path: &Path, dir: &Path) -> bool {
    let plain = path.components().all(|part| part != Component::ParentDir);
    let there = path.ancestors().find(|path| path.symlink_metadata().is_ok());
    let real = |path: &Path| -> Option<PathBuf> { path.canonicalize().ok() };
    plain && there.and_then(real).zip(real(dir)).is_some_and(|(there, dir)| there.starts_with(dir))
}
