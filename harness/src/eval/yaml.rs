//! YAML 1.1 as PyYAML reads it, on the events of a YAML 1.2 parser.
//!
//! What lm-eval sees is a Python value; here it is a JSON value, with these differences that JSON asks for:
//! keys that are no texts become the text that Python's `str()` gives (`None`, `True`, `1`; so 1 and true stay apart, which
//! are one key in Python); `.inf` and `.nan` become
//! the texts `inf`, `-inf` and `nan`, which Python's `float()` reads; dates and times stay the text that was written;
//! `!function a.b` becomes `{"!function": {"file": "…/a.py", "name": "b"}}`, as [`Field`](super::config::Field) reads it.

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};
use serde_json::{Map, Value, json};

mod scalars;
mod tolerant;

/// Largest text that is read, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting of lists and maps, aliases written out.
pub const MAX_DEPTH: usize = 64;
/// Most values in one document, aliases written out.
pub const MAX_VALUES: usize = 200_000;
/// Most bytes of text in one document, aliases written out.
pub const MAX_TEXT: usize = 16 << 20;
/// Most bytes that are read again after lines were indented, see [`tolerant`].
const MAX_WORK: usize = 32 << 20;

/// Why a text is not read as YAML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct YamlError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there, and what to do.
    pub what: String,
}

/// Reads one document; `!function` names files in `folder`. Nothing at all is null.
pub fn parse(text: &str, folder: &Path) -> Result<Value, YamlError> {
    if text.len() > MAX_BYTES {
        return fail(1, format!("{} bytes are more than the {MAX_BYTES} that are read of a task file", text.len()));
    }
    let mut text = Cow::Borrowed(text.strip_prefix('\u{feff}').unwrap_or(text));
    if text.contains('\r') {
        text = text.replace("\r\n", "\n").replace('\r', "\n").into();
    }
    let mut worked = 0;
    loop {
        let error = match document(&text, folder)? {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        worked += text.len();
        match tolerant::indent(&text, &error) {
            Some(indented) if worked < MAX_WORK => text = indented.into(),
            _ => return fail(error.marker().line(), error.info()),
        }
    }
}

/// The value, or what the parser objects to.
fn document(text: &str, folder: &Path) -> Result<Result<Value, ScanError>, YamlError> {
    let mut builder =
        Builder { folder, open: Vec::new(), anchors: BTreeMap::new(), spent: Cost::default(), root: None };
    let last_line = text.rsplit('\n').next().unwrap_or_default();
    // Only the last scalar can end where the text does, without a line break.
    let unfinished = (!last_line.is_empty()).then(|| {
        Parser::new_from_str(text).map_while(Result::ok).filter(|(event, _)| matches!(event, Event::Scalar(..))).count()
    });
    let (mut documents, mut scalars_seen) = (0, 0);
    for event in Parser::new_from_str(text) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => return Ok(Err(error)),
        };
        let line = span.start.line();
        match event {
            Event::DocumentStart(_) => documents += 1,
            Event::Scalar(text, style, anchor, tag) => {
                scalars_seen += 1;
                let text = if Some(scalars_seen) == unfinished { unbroken(text, style, last_line) } else { text };
                let merges = style == ScalarStyle::Plain && tag.is_none() && text == "<<";
                let value = builder.scalar(&text, style, tag.as_deref(), line)?;
                let cost = Cost { values: 1, bytes: text.len() };
                builder.spend(cost, line)?;
                builder.put(Built { value, height: 0, cost, merges }, anchor, line)?;
            }
            Event::SequenceStart(anchor, tag) => builder.open(Open::List(Vec::new()), anchor, tag.as_deref(), line)?,
            Event::MappingStart(anchor, tag) => {
                let map = Open::Map { own: Vec::new(), merged: Vec::new(), key: None };
                builder.open(map, anchor, tag.as_deref(), line)?;
            }
            Event::SequenceEnd | Event::MappingEnd => builder.close(line)?,
            Event::Alias(anchor) => builder.alias(anchor, line)?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        if documents > 1 {
            return fail(line, "a second document begins; a task file holds one");
        }
    }
    Ok(Ok(builder.root.unwrap_or(Value::Null)))
}

/// PyYAML gives a block text no line break at its end where the file has none; the parser always does.
fn unbroken<'a>(text: Cow<'a, str>, style: ScalarStyle, last_line: &str) -> Cow<'a, str> {
    let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
    match text.strip_suffix('\n') {
        // A comment may stand below it.
        Some(cut) if block && !last_line.trim().is_empty() && cut.ends_with(last_line.trim_start()) => {
            cut.to_owned().into()
        }
        _ => text,
    }
}

fn fail<T>(line: usize, what: impl Into<String>) -> Result<T, YamlError> {
    Err(YamlError { line, what: what.into() })
}

/// What a value takes, aliases written out.
#[derive(Clone, Copy, Default)]
struct Cost {
    values: usize,
    bytes: usize,
}

/// A finished value.
#[derive(Clone)]
struct Built {
    value: Value,
    /// Levels of lists and maps in it.
    height: usize,
    cost: Cost,
    /// Whether it is the plain scalar `<<`.
    merges: bool,
}

/// A list or map whose end has not come yet.
enum Open {
    List(Vec<Value>),
    Map { own: Vec<(String, Value)>, merged: Vec<(String, Value)>, key: Option<Key> },
}

enum Key {
    Name(String),
    Merge,
}

struct Level {
    open: Open,
    anchor: usize,
    height: usize,
    /// What was spent before it.
    before: Cost,
}

struct Builder<'a> {
    folder: &'a Path,
    open: Vec<Level>,
    anchors: BTreeMap<usize, Built>,
    spent: Cost,
    root: Option<Value>,
}

impl Builder<'_> {
    fn scalar(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>, line: usize) -> Result<Value, YamlError> {
        let built = match tag.map(|tag| format!("{}{}", tag.handle, tag.suffix)).as_deref() {
            None if text == "=" && self.at_key() => Ok(text.into()),
            None if style == ScalarStyle::Plain => scalars::plain(text),
            // libyaml resolves what stands after a lone ! as if it were plain.
            Some("!") => scalars::plain(text),
            None => Ok(text.into()),
            Some("!function") => self.function(text),
            Some(tag) => match tag.strip_prefix("tag:yaml.org,2002:") {
                Some(kind) => scalars::tagged(kind, text),
                None => Err(format!("the tag {tag} is not known; a task file uses !function only")),
            },
        };
        built.map_err(|what| YamlError { line, what })
    }

    /// Whether a key comes next.
    fn at_key(&self) -> bool {
        matches!(self.open.last(), Some(Level { open: Open::Map { key: None, .. }, .. }))
    }

    fn function(&self, name: &str) -> Result<Value, String> {
        match name.rsplit_once('.') {
            Some((module, name)) if !module.is_empty() => {
                let file = self.folder.join(format!("{}.py", module.replace('.', "/")));
                Ok(json!({"!function": {"file": file.to_string_lossy(), "name": name}}))
            }
            _ => Err(format!("!function {name} names no file; write !function FILE.NAME")),
        }
    }

    fn spend(&mut self, cost: Cost, line: usize) -> Result<(), YamlError> {
        self.spent.values += cost.values;
        self.spent.bytes += cost.bytes;
        if self.spent.values > MAX_VALUES || self.spent.bytes > MAX_TEXT {
            return fail(
                line,
                format!("more than {MAX_VALUES} values or {MAX_TEXT} bytes of text, aliases written out"),
            );
        }
        Ok(())
    }

    fn open(&mut self, open: Open, anchor: usize, tag: Option<&Tag>, line: usize) -> Result<(), YamlError> {
        let expected = if matches!(open, Open::List(_)) { "seq" } else { "map" };
        if let Some(tag) = tag.map(|tag| format!("{}{}", tag.handle, tag.suffix))
            && tag != "!"
            && tag.strip_prefix("tag:yaml.org,2002:") != Some(expected)
        {
            return fail(line, format!("the tag {tag} is not known here; a task file uses !function FILE.NAME only"));
        }
        self.deep_enough(0, line)?;
        let before = self.spent;
        self.spend(Cost { values: 1, bytes: 0 }, line)?;
        self.open.push(Level { open, anchor, height: 0, before });
        Ok(())
    }

    fn deep_enough(&self, height: usize, line: usize) -> Result<(), YamlError> {
        if self.open.len() + height >= MAX_DEPTH {
            return fail(line, format!("lists and maps are nested more than {MAX_DEPTH} deep"));
        }
        Ok(())
    }

    fn close(&mut self, line: usize) -> Result<(), YamlError> {
        let Some(Level { open, anchor, height, before }) = self.open.pop() else {
            return fail(line, "an end without a beginning");
        };
        let value = match open {
            Open::List(items) => Value::Array(items),
            // As in Python: a later value replaces an earlier one, at the earlier one's place; what is merged in comes first.
            Open::Map { own, merged, .. } => Value::Object(merged.into_iter().chain(own).collect::<Map<_, _>>()),
        };
        let cost =
            Cost { values: self.spent.values - before.values, bytes: self.spent.bytes.saturating_sub(before.bytes) };
        self.put(Built { value, height: height + 1, cost, merges: false }, anchor, line)
    }

    fn alias(&mut self, anchor: usize, line: usize) -> Result<(), YamlError> {
        let Some(built) = self.anchors.get(&anchor) else {
            return fail(line, "an alias stands inside the value that it names");
        };
        let (height, cost) = (built.height, built.cost);
        // Asked before the copy is made: aliases of aliases of aliases grow without bound.
        self.deep_enough(height, line)?;
        self.spend(cost, line)?;
        match self.anchors.get(&anchor).cloned() {
            Some(built) => self.put(built, 0, line),
            None => Ok(()),
        }
    }

    fn put(&mut self, built: Built, anchor: usize, line: usize) -> Result<(), YamlError> {
        if anchor > 0 {
            self.anchors.insert(anchor, built.clone());
            // The copy takes memory too.
            self.spend(built.cost, line)?;
        }
        let Built { value, height, merges, .. } = built;
        let Some(level) = self.open.last_mut() else {
            self.root = Some(value);
            return Ok(());
        };
        level.height = level.height.max(height);
        let told = match &mut level.open {
            Open::List(items) => {
                items.push(value);
                Ok(())
            }
            Open::Map { own, merged, key } => match key.take() {
                None if merges => {
                    *key = Some(Key::Merge);
                    Ok(())
                }
                None => scalars::key(value).map(|name| *key = Some(Key::Name(name))),
                Some(Key::Name(name)) => {
                    own.push((name, value));
                    Ok(())
                }
                Some(Key::Merge) => merge(value).map(|pairs| merged.extend(pairs)),
            },
        };
        told.map_err(|what| YamlError { line, what })
    }
}

/// The pairs that `<<` brings in: of one map, or of a list of maps, of which the first wins.
fn merge(value: Value) -> Result<Vec<(String, Value)>, String> {
    let pairs = |value| match value {
        Value::Object(map) => Ok(map),
        _ => Err("<< takes a map or a list of maps".to_owned()),
    };
    match value {
        Value::Array(items) => {
            let maps = items.into_iter().map(pairs).collect::<Result<Vec<_>, _>>()?;
            Ok(maps.into_iter().rev().flatten().collect())
        }
        other => Ok(pairs(other)?.into_iter().collect()),
    }
}

#[cfg(test)]
mod tests;
