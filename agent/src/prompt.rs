//! What a planner's model is told before it starts. The knowledge itself is data, in `knowledge/`.

use serde::Deserialize;
use serde_json::Value;
use tunesmith_harness::{
    event::Rows,
    figures::bytes,
    recipe::Row,
    redact,
    task::{Bound, Task},
    text::truncate_middle,
};

use crate::show::Share;

/// The last line of a request whose rows are not shared.
pub const PRIVATE: &str = "The rows are private: you work from columns, label names, counts and scores.";

const PLANNER: &str = include_str!("knowledge/planner.md");
const LESSONS: &str = include_str!("knowledge/lessons.toml");

/// One rule of the trade, and how it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lesson {
    /// A short name.
    pub id: String,
    /// The rule.
    pub text: String,
    /// Whether language models are told.
    #[serde(default)]
    pub told: bool,
    /// Detectors and items of the sources that keep it, whoever plans.
    #[serde(default)]
    pub enforced: Vec<String>,
    /// Items of the playbook that act on it.
    #[serde(default)]
    pub playbook: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lessons {
    lesson: Vec<Lesson>,
}

/// All lessons, in the order in which they are taught.
pub fn lessons() -> Result<Vec<Lesson>, toml::de::Error> {
    toml::from_str::<Lessons>(LESSONS).map(|lessons| lessons.lesson)
}

/// The system prompt, with the lessons that nothing else keeps.
pub fn system() -> Result<String, toml::de::Error> {
    let told = lessons()?.into_iter().filter(|lesson| lesson.told);
    let lines: Vec<String> = told.map(|lesson| format!("- {}", lesson.text)).collect();
    Ok(PLANNER.trim_end().replace("{lessons}", &lines.join("\n")))
}

/// The open rows, as the model is told of them.
#[derive(Clone, Copy, Debug)]
pub struct Dataset<'a> {
    /// Where they are, relative to the workdir.
    pub path: &'a str,
    /// How many there are.
    pub rows: Rows,
    /// The columns, in the file's order.
    pub columns: &'a [String],
    /// A few rows, shown only with [`Share::Samples`].
    pub samples: &'a [Row],
}

/// The first user message: the request, the data, and what bounds the work.
pub fn request(task: &Task, base: &str, data: &Dataset<'_>, share: Share) -> String {
    let mut lines = vec![
        format!("Request: {}", task.request),
        format!(
            "Data: {} with {} rows you may use ({} more are sealed), columns {}",
            data.path,
            data.rows.open,
            data.rows.sealed,
            data.columns.iter().map(|column| format!("{column:?}")).collect::<Vec<_>>().join(", ")
        ),
        format!("Base model: {base}"),
    ];
    for goal in &task.goals {
        let (sign, value) = match goal.bound {
            Bound::AtLeast(least) => (">=", least),
            Bound::AtMost(most) => ("<=", most),
        };
        lines.push(format!("Goal: {} {sign} {value} on the sealed rows", goal.metric));
    }
    let limits = [
        task.minutes.map(|minutes| format!("{minutes} minutes")),
        task.steps.map(|steps| format!("{steps} tool calls")),
        task.usd.map(|usd| format!("{usd} US dollars for your own replies")),
        task.tokens.map(|tokens| format!("{tokens} tokens read and written")),
        task.disk.map(|most| format!("{} of disk", bytes(most))),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    if !limits.is_empty() {
        lines.push(format!("Budget: {}", limits.join(", ")));
    }
    match share {
        Share::None => lines.push(PRIVATE.to_owned()),
        Share::Samples => {
            // Before it is cut, while a secret is still in one piece.
            let rows = data.samples.iter().map(|row| redact::value(Value::Object(row.clone())).to_string());
            lines.extend(rows.map(|row| format!("Sample row: {}", truncate_middle(&row, 400))));
        }
    }
    lines.join("\n")
}
