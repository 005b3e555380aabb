//! A difference of runs in lines for people.

use serde_json::Value;

use super::{Diff, Difference, Step};
use crate::{
    figures::{counted, duration},
    text::{truncate_middle, visible},
};

/// Fields shown of a part, at most.
const FIELDS: usize = 8;
/// Longest value, in characters.
const VALUE: usize = 60;

impl Diff {
    /// The difference in lines; they are safe to show.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, side) in [("A", &self.a), ("B", &self.b)] {
            let (events, took) = (counted(side.events, "event"), duration(side.seconds));
            lines.push(format!("{name}  {}  ({events}, {took})", visible(&side.run)));
        }
        part(&mut lines, "given", &self.setup);
        if !self.steps.iter().all(Step::same) {
            lines.extend([String::new(), "steps".to_owned()]);
            self.steps.iter().for_each(|step| of_step(&mut lines, step));
        }
        part(&mut lines, "result", &self.result);
        if let Some(grade) = self.grade.as_ref().filter(|_| !self.same) {
            lines.push(String::new());
            lines.push(format!("grades: {}", visible(&grade.summary)));
            lines.extend(grade.rows.iter().map(|row| format!("  {}: {}", visible(&row.metric), visible(&row.why))));
        }
        lines.push(String::new());
        lines.extend(self.notes.iter().map(|note| format!("note: {}", visible(note))));
        lines.push(self.summary.clone());
        lines
    }
}

pub(super) fn summary(diff: &Diff) -> String {
    if diff.same {
        return format!("the same: {}, times aside", counted(diff.steps.len(), "step"));
    }
    let differing = diff.steps.iter().filter(|step| !step.same()).count();
    let mut parts = Vec::new();
    if !diff.setup.is_empty() {
        parts.push(format!("in what they were given ({})", names(&diff.setup)));
    }
    if differing > 0 {
        parts.push(format!("in {differing} of {}", counted(diff.steps.len(), "step")));
    }
    if !diff.result.is_empty() {
        parts.push(format!("in the result ({})", names(&diff.result)));
    }
    if parts.is_empty() {
        return "nothing differs in what can be read, but not all can".to_owned();
    }
    format!("they differ {}", parts.join(", "))
}

/// The first parts of the fields that differ, each once.
fn names(differences: &[Difference]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in differences.iter().filter_map(|difference| difference.at.split('/').nth(1)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    visible(&names.join(", ")).into_owned()
}

fn part(lines: &mut Vec<String>, title: &str, differences: &[Difference]) {
    if !differences.is_empty() {
        lines.extend([String::new(), title.to_owned()]);
        fields(lines, "  ", differences);
    }
}

fn of_step(lines: &mut Vec<String>, step: &Step) {
    let number = |number: Option<u32>| number.map_or("–".to_owned(), |number| number.to_string());
    let word = match (step.a, step.b, step.differences.is_empty()) {
        (Some(_), None, _) => "in A alone",
        (None, ..) => "in B alone",
        (.., true) => "same",
        (.., false) => "differs",
    };
    lines.push(format!("  {:>3} {:>3}  {:<13} {word}", number(step.a), number(step.b), visible(&step.tool)));
    fields(lines, "           ", &step.differences);
}

/// The fields that say most first: those that are not deep inside.
fn fields(lines: &mut Vec<String>, indent: &str, differences: &[Difference]) {
    let mut sorted: Vec<&Difference> = differences.iter().collect();
    sorted.sort_by_key(|difference| difference.at.matches('/').count() > 3);
    for difference in sorted.iter().take(FIELDS) {
        let (a, b) = (value(difference.a.as_ref()), value(difference.b.as_ref()));
        lines.push(format!("{indent}{}  {a} → {b}", visible(&difference.at)));
    }
    let more = differences.len().saturating_sub(FIELDS);
    lines.extend((more > 0).then(|| format!("{indent}and {}", counted(more, "more field"))));
}

fn value(value: Option<&Value>) -> String {
    match value {
        None => "–".to_owned(),
        Some(Value::Array(items)) if items.len() > 4 => format!("[{}]", counted(items.len(), "item")),
        Some(value) => visible(&truncate_middle(&value.to_string(), VALUE)).into_owned(),
    }
}
