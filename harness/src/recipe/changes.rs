//! What is changed in a row before it is read: declarative, so that sealed rows are changed in the same way.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Row;

mod cleaning;
mod template;

pub use cleaning::Clean;
use template::Template;

/// Longest text that a change may make, in bytes: that of a row, see [`crate::rows::MAX_ROW`].
const LONGEST: usize = crate::rows::MAX_ROW;
/// Bytes that a compiled pattern may take.
const PATTERN: usize = 1 << 20;

/// What is changed in a row, in this order: columns are set, patterns replaced, texts cleaned.
///
/// The column of the answer is never changed, and nothing is made of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Changes {
    /// Columns that are made of others: `{column}` stands for what is in a column, `{{` and `}}` for braces. All see the
    /// row as it was.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Patterns that are replaced in texts, one after another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replace: Vec<Replace>,
    /// How texts are cleaned.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub clean: BTreeSet<Clean>,
    #[serde(skip)]
    compiled: Compiled,
}

/// A pattern that is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replace {
    /// Column; all texts if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Regular expression.
    pub pattern: String,
    /// Text in its place; $1 is a group.
    #[serde(default)]
    pub with: String,
}

/// Templates and patterns, ready to be used; made when they are first needed. It says nothing that the texts do not say.
#[derive(Clone, Default)]
struct Compiled(OnceLock<Result<Arc<Ready>, String>>);

struct Ready {
    set: Vec<(String, Template)>,
    replace: Vec<(Option<String>, Regex, String)>,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("_")
    }
}

impl PartialEq for Compiled {
    fn eq(&self, _: &Compiled) -> bool {
        true
    }
}

impl Changes {
    /// Changes from their parts.
    pub fn new(set: BTreeMap<String, String>, replace: Vec<Replace>, clean: BTreeSet<Clean>) -> Changes {
        Changes { set, replace, clean, compiled: Compiled::default() }
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.replace.is_empty() && self.clean.is_empty()
    }

    /// What is wrong with the templates and patterns, or with a change of the answer's column.
    pub fn check(&self, target: Option<&str>) -> Result<(), String> {
        let ready = self.ready()?;
        let Some(target) = target else { return Ok(()) };
        if self.set.contains_key(target) {
            return Err(format!("set: {target:?} is the answer's column, which stays as it is; set another column"));
        }
        if let Some((column, _)) = ready.set.iter().find(|(_, template)| template.columns().any(|name| name == target))
        {
            return Err(format!("set: {column:?} is made of {target:?}, the answer, which no input may hold"));
        }
        match self.replace.iter().find(|replace| replace.column.as_deref() == Some(target)) {
            Some(_) => {
                Err(format!("replace: {target:?} is the answer's column, which stays as it is; name another one"))
            }
            None => Ok(()),
        }
    }

    /// The columns that templates are made of and patterns are looked for in.
    pub fn columns(&self) -> Result<BTreeSet<String>, String> {
        let ready = self.ready()?;
        let read = ready.set.iter().flat_map(|(_, template)| template.columns()).map(str::to_owned);
        Ok(read.chain(self.replace.iter().filter_map(|replace| replace.column.clone())).collect())
    }

    /// Changes a row. The answer's column, `target`, stays as it is and counts as empty for all others.
    pub fn apply(&self, row: &mut Row, target: Option<&str>) -> Result<(), String> {
        let ready = self.ready()?;
        let is_target = |name: &str| target == Some(name);
        let made = ready.set.iter().filter(|(column, _)| !is_target(column)).map(|(column, template)| {
            let cell = |name: &str| row.get(name).filter(|_| !is_target(name));
            Ok((column, bounded(template.fill(cell), column)?))
        });
        let made: Vec<(&String, String)> = made.collect::<Result<_, String>>()?;
        for (column, text) in made {
            row.insert(column.clone(), text.into());
        }
        for (column, pattern, with) in &ready.replace {
            let named = |name: &str| column.as_deref().is_none_or(|column| column == name);
            for (name, value) in row.iter_mut().filter(|(name, _)| named(name) && !is_target(name)) {
                texts(value, &mut |text| match pattern.replace_all(text, with) {
                    Cow::Borrowed(_) => Ok(None),
                    Cow::Owned(replaced) => bounded(replaced, name).map(Some),
                })?;
            }
        }
        for (name, value) in row.iter_mut().filter(|(name, _)| !self.clean.is_empty() && !is_target(name)) {
            texts(value, &mut |text| match cleaning::all(text, &self.clean) {
                Cow::Borrowed(_) => Ok(None),
                Cow::Owned(cleaned) => bounded(cleaned, name).map(Some),
            })?;
        }
        Ok(())
    }

    fn ready(&self) -> Result<&Ready, String> {
        self.compiled.0.get_or_init(|| self.compile().map(Arc::new)).as_deref().map_err(Clone::clone)
    }

    fn compile(&self) -> Result<Ready, String> {
        let template = |(column, text): (&String, &String)| {
            let template = Template::parse(text).map_err(|why| format!("set: {column:?}: {why}"))?;
            Ok((column.clone(), template))
        };
        let pattern = |replace: &Replace| {
            let pattern = pattern(&replace.pattern).map_err(|why| format!("replace: {why}"))?;
            Ok((replace.column.clone(), pattern, replace.with.clone()))
        };
        Ok(Ready {
            set: self.set.iter().map(template).collect::<Result<_, String>>()?,
            replace: self.replace.iter().map(pattern).collect::<Result<_, String>>()?,
        })
    }
}

/// A regular expression of bounded size; of what is wrong with one, the last line says it.
pub fn pattern(text: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(text).size_limit(PATTERN).build().map_err(|error| {
        let said = error.to_string();
        let why = said.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        format!("{text:?} is not a pattern: {why}")
    })
}

/// Changes each text within a value.
fn texts(value: &mut Value, change: &mut impl FnMut(&str) -> Result<Option<String>, String>) -> Result<(), String> {
    match value {
        Value::String(text) => {
            if let Some(changed) = change(text)? {
                *text = changed;
            }
            Ok(())
        }
        Value::Array(items) => items.iter_mut().try_for_each(|item| texts(item, change)),
        Value::Object(fields) => fields.values_mut().try_for_each(|field| texts(field, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

fn bounded(text: String, column: &str) -> Result<String, String> {
    match text.len() {
        0..=LONGEST => Ok(text),
        _ => Err(format!("column {column:?} becomes longer than {} MB", LONGEST >> 20)),
    }
}

#[cfg(test)]
mod tests;
