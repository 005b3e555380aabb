//! What is done with rows before they become examples, as it is written in a recipe.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tunesmith_harness::{
    near::Jaccard,
    recipe::{
        Row,
        changes::{Changes, Clean, Replace, pattern},
    },
};

use super::{clean::cell, parts::When};

/// What is done with rows, in this order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Steps {
    /// New column: text in which {column} stands for its cell. The input's column may be set, the target's not.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Patterns to replace, in all texts but the target.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replace: Vec<Replace>,
    /// Cleaning of all texts but the target.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub clean: BTreeSet<Clean>,
    /// Conditions that every row must meet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<Condition>,
    /// Files of eval rows: rows that hold any of them go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub against: Vec<String>,
    /// Rows so much like an earlier one go, by the Jaccard index of five-character runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.5, max = 1))]
    pub near: Option<f64>,
    /// Most rows of a label to train on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub most_per_label: Option<usize>,
    /// Rows of rarer labels are repeated until so many are trained on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub least_per_label: Option<usize>,
    /// Column: rows with the same value stay in one part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Column of times: the latest rows validate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
}

/// What a cell must be; without any field but the column, not empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Column.
    pub column: String,
    /// Any of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_of: Option<BTreeSet<String>>,
    /// None of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none_of: Option<BTreeSet<String>>,
    /// A pattern that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
    /// A pattern that it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacks: Option<String>,
    /// Fewest characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_chars: Option<usize>,
    /// Most characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_chars: Option<usize>,
    /// Least number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Greatest number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

impl Steps {
    /// What is changed in each row, which the grader replays.
    pub fn changes(&self) -> Changes {
        Changes::new(self.set.clone(), self.replace.clone(), self.clean.clone())
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Steps::default()
    }

    /// The likeness above which rows go.
    pub(super) fn likeness(&self) -> anyhow::Result<Option<Jaccard>> {
        let outside = || anyhow::anyhow!("near: must be from 0.5 to 1; below, texts that differ would count as alike");
        self.near.map(|near| Jaccard::new(near).ok_or_else(outside)).transpose()
    }

    /// What is wrong with the steps, before any row is read.
    pub(super) fn check(&self, target: Option<&str>) -> anyhow::Result<()> {
        self.changes().check(target).map_err(anyhow::Error::msg)?;
        self.likeness()?;
        self.tests()?;
        if self.group.is_some() && self.time.is_some() {
            anyhow::bail!("group and time both say how rows are divided; leave one out");
        }
        if self.time.is_some() && self.time.as_deref() == target {
            anyhow::bail!("time: the answer's column is no time to divide by; name another one");
        }
        if self.most_per_label.zip(self.least_per_label).is_some_and(|(most, least)| least > most) {
            anyhow::bail!("least_per_label is above most_per_label; lower it");
        }
        Ok(())
    }

    fn tests(&self) -> anyhow::Result<Vec<Test>> {
        self.keep.iter().map(Test::new).collect()
    }

    /// Whether a row meets all conditions, and has what decides its part; else what it lacks.
    pub(super) fn meets(&self) -> anyhow::Result<impl Fn(&Row) -> Result<(), String> + Send + Sync + use<>> {
        let (tests, group, time) = (self.tests()?, self.group.clone(), self.time.clone());
        Ok(move |row: &Row| {
            let lacks = |column: &String| cell(row, column).is_none().then(|| format!("{column} is empty"));
            let undated = |column: &String| When::of(row.get(column)).is_none().then(|| format!("{column} is no time"));
            let refusal = tests.iter().find_map(|test| test.refusal(row));
            let refusal = refusal.or_else(|| group.as_ref().and_then(lacks));
            refusal.or_else(|| time.as_ref().and_then(undated)).map_or(Ok(()), Err)
        })
    }

    /// Columns that rows must have when they are read, or after they were changed.
    pub(super) fn needs(&self) -> anyhow::Result<Needs> {
        let read = self.changes().columns().map_err(anyhow::Error::msg)?;
        let later = self.keep.iter().map(|condition| &condition.column).chain(&self.group).chain(&self.time);
        Ok(Needs { read, changed: later.filter(|column| !self.set.contains_key(*column)).cloned().collect() })
    }
}

/// Columns that steps ask for.
pub(super) struct Needs {
    /// Of rows as they are read.
    pub read: BTreeSet<String>,
    /// Of changed rows.
    pub changed: BTreeSet<String>,
}

/// A condition with its patterns.
struct Test {
    condition: Condition,
    matches: Option<Regex>,
    lacks: Option<Regex>,
}

impl Test {
    fn new(condition: &Condition) -> anyhow::Result<Test> {
        let pattern = |text: &Option<String>| {
            let made = text.as_deref().map(pattern).transpose();
            made.map_err(|why| anyhow::anyhow!("keep: {:?}: {why}", condition.column))
        };
        let (matches, lacks) = (pattern(&condition.matches)?, pattern(&condition.lacks)?);
        Ok(Test { matches, lacks, condition: condition.clone() })
    }

    /// What a row does not meet.
    fn refusal(&self, row: &Row) -> Option<String> {
        let Condition { column, one_of, none_of, min_chars, max_chars, min, max, .. } = &self.condition;
        let text = cell(row, column).unwrap_or_default();
        // Only counted where it matters: long texts are many.
        let chars = || text.chars().count();
        let number = || match row.get(column) {
            Some(Value::Number(number)) => number.as_f64(),
            _ => text.parse::<f64>().ok().filter(|number| number.is_finite()),
        };
        let unmet = match () {
            () if text.is_empty() && none_of.is_none() && self.lacks.is_none() && max_chars.is_none() => "is empty",
            () if one_of.as_ref().is_some_and(|all| !all.contains(&*text)) => "is none of the values",
            () if none_of.as_ref().is_some_and(|all| all.contains(&*text)) => "is one of the values",
            () if self.matches.as_ref().is_some_and(|pattern| !pattern.is_match(&text)) => "lacks the pattern",
            () if self.lacks.as_ref().is_some_and(|pattern| pattern.is_match(&text)) => "has the pattern",
            () if min_chars.is_some_and(|least| chars() < least) => "is too short",
            () if max_chars.is_some_and(|most| chars() > most) => "is too long",
            () if min.is_some_and(|least| number().is_none_or(|number| number < least)) => "is no such number",
            () if max.is_some_and(|most| number().is_none_or(|number| number > most)) => "is no such number",
            () => return None,
        };
        Some(format!("{column} {unmet}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn refused(condition: Value, cell: Value) -> Option<String> {
        let condition: Condition = serde_json::from_value(condition).unwrap();
        Test::new(&condition).unwrap().refusal(json!({"a": cell}).as_object().unwrap())
    }

    #[test]
    fn each_condition_holds_or_says_why_not() {
        let table = [
            (json!({}), vec![json!("x"), json!(0), json!(false)], vec![json!(" "), json!(null)], "is empty"),
            (json!({"one_of": ["x", "1"]}), vec![json!(" x "), json!(1)], vec![json!("y")], "is none of the values"),
            (json!({"none_of": ["x"]}), vec![json!("y"), json!(null)], vec![json!("x")], "is one of the values"),
            (json!({"matches": "^a+$"}), vec![json!("aa")], vec![json!("ab")], "lacks the pattern"),
            (json!({"lacks": "(?i)spam"}), vec![json!("ham"), json!(null)], vec![json!("a SPAM b")], "has the pattern"),
            (json!({"min_chars": 2}), vec![json!("éé")], vec![json!("é")], "is too short"),
            (json!({"max_chars": 2}), vec![json!("éé"), json!("")], vec![json!("ééé")], "is too long"),
            (
                json!({"min": 2}),
                vec![json!(2), json!("2.5")],
                vec![json!(1), json!("x"), json!("inf")],
                "is no such number",
            ),
            (json!({"max": -2.5}), vec![json!(-3), json!("-2.5")], vec![json!(0), json!([1])], "is no such number"),
        ];
        for (mut condition, fit, unfit, why) in table {
            condition["column"] = json!("a");
            for cell in fit {
                assert_eq!(refused(condition.clone(), cell.clone()), None, "{condition} {cell}");
            }
            for cell in unfit {
                assert_eq!(refused(condition.clone(), cell.clone()), Some(format!("a {why}")), "{condition} {cell}");
            }
        }
    }

    #[test]
    fn steps_that_cannot_be_taken_are_refused_before_any_row_is_read() {
        let table = [
            (json!({"near": 0.4}), "near: must be from 0.5 to 1; below, texts that differ would count as alike"),
            (json!({"keep": [{"column": "a", "lacks": "("}]}), "keep: \"a\": \"(\" is not a pattern: unclosed group"),
            (json!({"group": "a", "time": "b"}), "group and time both say how rows are divided; leave one out"),
            (json!({"time": "t"}), "time: the answer's column is no time to divide by; name another one"),
            (json!({"most_per_label": 2, "least_per_label": 3}), "least_per_label is above most_per_label; lower it"),
            (json!({"set": {"t": "x"}}), "set: \"t\" is the answer's column, which stays as it is; set another column"),
        ];
        for (steps, why) in table {
            let steps: Steps = serde_json::from_value(steps).unwrap();
            assert_eq!(steps.check(Some("t")).unwrap_err().to_string(), why);
        }
        assert!(Steps::default().check(None).is_ok());
    }
}
