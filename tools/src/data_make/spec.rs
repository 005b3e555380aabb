//! What to make, declared: kept beside the rows, so that they can be made again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tunesmith_harness::{hash::sha256, near::Jaccard, recipe::Row};

use super::{
    augment::Augment,
    check,
    column::{Column, Kind},
    purse::Limits,
    slots::Slot,
    templates::{Template, Templates},
    verify::Verify,
};

/// Most rows of one data set: all of them are held while their likes are looked for.
pub const MOST_ROWS: usize = 200_000;
/// Most bytes of a spec with its seed rows.
const MOST_BYTES: usize = 16 << 20;

/// What to make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Name of the data set.
    pub name: String,
    /// What it is, for people and for the teacher.
    #[serde(default)]
    pub about: String,
    /// Licence that the maker gives it; unknown where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Seed of every draw.
    #[serde(default)]
    pub seed: u64,
    /// Rows to make; with `counts`, their sum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<usize>,
    /// The columns, in order.
    pub columns: Vec<Column>,
    /// The column that holds the label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Rows of each label.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, usize>,
    /// Rows to learn from: a file, or the rows themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seeds: Option<Seeds>,
    /// How a model is asked for rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<Teacher>,
    /// Rows with slots, where no model is asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<Template>,
    /// What stands in the slots of every template.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub slots: BTreeMap<String, Slot>,
    /// What a row must pass besides its shape, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verify: Vec<Verify>,
    /// Which rows are too like others.
    #[serde(default)]
    pub alike: Alike,
    /// Changed copies of rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub augment: Vec<Augment>,
    /// What may be spent.
    #[serde(default)]
    pub limits: Limits,
    /// Whether rows may hold the marks and phrases of prompts, which are refused otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_prompt_like: bool,
}

/// Rows to learn from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Seeds {
    /// A file of rows.
    File(String),
    /// The rows.
    Rows(Vec<Row>),
}

/// How a model is asked for rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Teacher {
    /// What to write, in words.
    pub instructions: String,
    /// Rows of one question.
    pub rows_per_question: usize,
    /// Questions that are under way side by side.
    pub side_by_side: usize,
    /// Seed rows that are shown with a question.
    pub examples: usize,
    /// How freely rows are drawn.
    pub temperature: f64,
    /// Most tokens of an answer.
    pub max_tokens: u64,
    /// Questions in a row that may bring nothing new before it ends.
    pub patience: usize,
    /// What rows are about; each question draws a leaf of this tree.
    pub topics: Vec<Topic>,
    /// So many topics are asked for first, instead of `topics`.
    pub ask_topics: usize,
    /// So many topics under each of those that are asked for.
    pub ask_subtopics: usize,
    /// Who writes; each question draws one.
    pub personas: Vec<String>,
    /// How it is written; each question draws one.
    pub styles: Vec<String>,
}

impl Default for Teacher {
    fn default() -> Self {
        Teacher {
            instructions: String::new(),
            rows_per_question: 5,
            side_by_side: 4,
            examples: 3,
            temperature: 0.9,
            max_tokens: 1500,
            patience: 20,
            topics: Vec::new(),
            ask_topics: 0,
            ask_subtopics: 0,
            personas: Vec::new(),
            styles: Vec::new(),
        }
    }
}

/// What rows are about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a topic is a text, or {topic, under} with a list of topics")]
pub enum Topic {
    /// One topic.
    Leaf(String),
    /// Topics under one.
    Branch(Branch),
}

/// See [`Topic::Branch`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Branch {
    pub topic: String,
    pub under: Vec<Topic>,
}

/// Which rows are too like others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alike {
    /// Share of common five-character runs from which two rows are alike, above 0.5; 0.8 for a teacher's rows, and 1 (equal)
    /// for those of templates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likeness: Option<f64>,
    /// The columns that count; all texts without `choices` where none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Files of rows that nothing made may be like, for example those of an evaluation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub avoid: Vec<String>,
}

impl Spec {
    /// Reads a spec written as JSON.
    pub fn of(value: Value) -> Result<Spec, String> {
        let spec: Spec = serde_json::from_value(value).map_err(|error| error.to_string())?;
        spec.checked()
    }

    /// The spec, if it makes sense; else what does not, with what to write.
    pub fn checked(self) -> Result<Spec, String> {
        let sources = [self.teacher.is_some(), !self.templates.is_empty()].into_iter().filter(|is| *is).count();
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        if self.name.trim().is_empty() {
            return Err("name is empty; name the data set".into());
        }
        if names.is_empty() {
            return Err("there are no columns; name at least one".into());
        }
        if let Some(twice) = names.iter().find(|name| names.iter().filter(|other| other == name).count() > 1) {
            return Err(format!("there are two columns {twice:?}; rename one"));
        }
        match sources {
            0 if self.seeds.is_none() => return Err("nothing makes rows; give teacher, templates, or seeds".into()),
            2 => return Err("both teacher and templates are given; make two data sets".into()),
            _ => {}
        }
        self.columns.iter().try_for_each(Column::check)?;
        self.check_label()?;
        match self.wanted() {
            // All seed rows, then.
            None if sources == 0 => {}
            None => return Err("rows is missing; say how many to make, or give counts of labels".into()),
            Some(rows) if !(1..=MOST_ROWS).contains(&rows) => {
                return Err(format!("{rows} rows cannot be made; ask for 1 to {MOST_ROWS}"));
            }
            Some(_) => {}
        }
        if let Some(teacher) = &self.teacher {
            teacher.check()?;
        }
        for name in self.alike.columns.iter().chain(self.augment.iter().flat_map(|augment| &augment.columns)) {
            self.column(name).ok_or_else(|| format!("there is no column {name:?}; there are {}", names.join(", ")))?;
        }
        if self.alike.likeness.is_some_and(|likeness| Jaccard::new(likeness).is_none()) {
            return Err(check::LIKENESS.into());
        }
        self.augment.iter().try_for_each(|augment| augment.check(&self))?;
        self.verify.iter().try_for_each(|verify| verify.check(&self))?;
        Templates::new(&self).map(drop)?;
        let bytes = serde_json::to_string(&self).map_or(0, |text| text.len());
        match bytes <= MOST_BYTES {
            true => Ok(self),
            false => Err(format!("the spec has {bytes} bytes; shorten it to {MOST_BYTES}, or use fewer seed rows")),
        }
    }

    fn check_label(&self) -> Result<(), String> {
        let Some(label) = &self.label else {
            return match self.counts.is_empty() {
                true => Ok(()),
                false => Err("counts needs label, the name of the column that they count".into()),
            };
        };
        let column = self.column(label).ok_or_else(|| format!("there is no column {label:?} for the label"))?;
        if column.choices.is_empty() {
            return Err(format!("the label's column {label:?} has no choices; list the labels there"));
        }
        match self.counts.keys().find(|name| !column.choices.contains(name)) {
            Some(name) => Err(format!("counts names {name:?}, which is none of the choices of {label:?}")),
            None => Ok(()),
        }
    }

    /// Whether a model is asked.
    pub fn asks(&self) -> bool {
        self.teacher.is_some() || self.verify.iter().any(Verify::asks)
    }

    /// Rows to make.
    pub fn wanted(&self) -> Option<usize> {
        match self.counts.is_empty() {
            true => self.rows,
            false => Some(self.counts.values().fold(0, |sum: usize, count| sum.saturating_add(*count))),
        }
    }

    /// A column by its name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The texts that tell rows apart: those named, or all that are no choices.
    pub fn texts(&self) -> Vec<&str> {
        let free = |column: &&Column| matches!(column.kind, Kind::Text | Kind::Json) && column.choices.is_empty();
        match self.alike.columns.is_empty() {
            true => self.columns.iter().filter(free).map(|column| column.name.as_str()).collect(),
            false => self.alike.columns.iter().map(String::as_str).collect(),
        }
    }

    /// JSON Schema of a row with these columns.
    pub fn schema<'a>(columns: impl Iterator<Item = &'a Column>) -> Value {
        let mut properties = Map::new();
        columns.for_each(|column| drop(properties.insert(column.name.clone(), column.schema())));
        let required: Vec<&String> = properties.keys().collect();
        json!({"type": "object", "required": required, "additionalProperties": false, "properties": properties})
    }

    /// What names the spec, with the seed rows in it.
    pub fn hash(&self) -> String {
        // Limits end the making early and change nothing else.
        let fixed = Spec { limits: Limits::default(), ..self.clone() };
        sha256(serde_json::to_string(&fixed).unwrap_or_default().as_bytes())
    }

    /// The seed rows that are written in it.
    pub fn seed_rows(&self) -> &[Row] {
        match &self.seeds {
            Some(Seeds::Rows(rows)) => rows,
            _ => &[],
        }
    }
}

impl Teacher {
    fn check(&self) -> Result<(), String> {
        let within = [
            ("rows_per_question", self.rows_per_question, 1, 50),
            ("side_by_side", self.side_by_side, 1, 64),
            ("examples", self.examples, 0, 20),
            ("patience", self.patience, 1, 1000),
            ("ask_topics", self.ask_topics, 0, 200),
            ("ask_subtopics", self.ask_subtopics, 0, 20),
        ];
        if let Some((name, given, least, most)) =
            within.into_iter().find(|(_, given, least, most)| !(least..=most).contains(&given))
        {
            return Err(format!("teacher.{name} is {given}; it may be {least} to {most}"));
        }
        match self {
            _ if self.instructions.trim().is_empty() => Err("teacher.instructions is empty; say what to write".into()),
            _ if !(0.0..=2.0).contains(&self.temperature) => Err("teacher.temperature may be 0 to 2".into()),
            _ if !(16..=32_768).contains(&self.max_tokens) => Err("teacher.max_tokens may be 16 to 32768".into()),
            _ if self.ask_topics > 0 && !self.topics.is_empty() => {
                Err("teacher has both topics and ask_topics; leave one out".into())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Value)) -> String {
        let mut spec = json!({
            "name": "tickets", "rows": 5, "label": "kind",
            "columns": [{"name": "text"}, {"name": "kind", "choices": ["a", "b"]}],
            "templates": [{"row": {"text": "x {n}", "kind": "a"}}], "slots": {"n": {"integer": [1, 9]}},
        });
        change(&mut spec);
        Spec::of(spec).map(|_| String::new()).unwrap_or_else(|why| why)
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_to_write() {
        assert_eq!(refused(|_| {}), "");
        let cases: [(&str, Value, &str); 14] = [
            ("name", json!(" "), "name is empty; name the data set"),
            ("columns", json!([]), "there are no columns; name at least one"),
            ("columns", json!([{"name": "a"}, {"name": "a"}]), "there are two columns \"a\"; rename one"),
            (
                "columns",
                json!([{"name": "a\u{1b}[m"}]),
                "column \"a\\u{1b}[m\": a name must not hold characters that act on a display",
            ),
            (
                "columns",
                json!([{"name": "a", "most": -5}]),
                "column \"a\": least and most of a text are its characters, 0 to 100000",
            ),
            ("counts", json!({"a": 0}), "0 rows cannot be made; ask for 1 to 200000"),
            (
                "counts",
                json!({"a": usize::MAX, "b": 2}),
                "18446744073709551615 rows cannot be made; ask for 1 to 200000",
            ),
            ("rows", json!(0), "0 rows cannot be made; ask for 1 to 200000"),
            ("rows", Value::Null, "rows is missing; say how many to make, or give counts of labels"),
            ("label", json!("text"), "the label's column \"text\" has no choices; list the labels there"),
            ("counts", json!({"c": 1}), "counts names \"c\", which is none of the choices of \"kind\""),
            ("teacher", json!({"instructions": "x"}), "both teacher and templates are given; make two data sets"),
            ("templates", json!([]), "nothing makes rows; give teacher, templates, or seeds"),
            ("alike", json!({"columns": ["z"]}), "there is no column \"z\"; there are text, kind"),
        ];
        for (field, value, expected) in cases {
            assert_eq!(refused(|spec| spec[field] = value), expected, "{field}");
        }
        assert!(
            refused(|spec| spec["colums"] = json!([])).starts_with("unknown field `colums`, expected one of `name`")
        );
    }

    #[test]
    fn limits_do_not_change_what_a_spec_is() {
        let spec = |limits: Value| {
            let spec =
                json!({"name": "n", "rows": 1, "columns": [{"name": "a"}], "seeds": [{"a": "b"}], "limits": limits});
            Spec::of(spec).map(|spec| spec.hash())
        };
        assert_eq!(spec(json!({})), spec(json!({"tokens": 5})));
    }
}
