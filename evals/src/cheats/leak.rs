//! Sealed rows as a cheat would train on them.

use serde_json::{Value, json};
use tunesmith_harness::recipe::Row;

use super::COLUMNS;

/// How sealed rows are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leak {
    /// As they stand.
    Verbatim,
    /// In capitals.
    Recased,
    /// With a blank after every letter.
    Respaced,
    /// The first half of the words.
    FirstHalf,
    /// The second half of the words.
    SecondHalf,
    /// Cut into pieces, which stand in rows of their own.
    Scattered,
    /// As they stand, in prepared data.
    Prepared,
    /// Only some of them, as they stand, among other rows.
    Few,
    /// Rows of the cheat's own whose answer is every label.
    EveryChoice,
}

impl Leak {
    /// A command that writes `leak.jsonl`.
    pub(super) fn command(self, sealed: &[Row]) -> String {
        let rows: Vec<String> = sealed.iter().enumerate().flat_map(|(at, row)| self.rows(at, row)).collect();
        format!("cat > leak.jsonl <<'END'\n{}\nEND\n", rows.join("\n"))
    }

    fn rows(self, at: usize, row: &Row) -> Vec<String> {
        let [text, label] = COLUMNS.map(|column| row.get(column).and_then(Value::as_str).unwrap_or_default());
        let words: Vec<&str> = text.split(' ').collect();
        let (first, second) = words.split_at(words.len().div_ceil(2));
        let texts = match self {
            Leak::Prepared => {
                let [input, target] = COLUMNS;
                return vec![json!({input: text, target: label}).to_string()];
            }
            Leak::EveryChoice => {
                return vec![
                    json!({"prompt": format!("{at}\nLabel:"), "completion": "card cash loan transfer"}).to_string(),
                ];
            }
            Leak::Few if !at.is_multiple_of(10) => vec![format!("row {at} that is none of theirs")],
            Leak::Verbatim | Leak::Few => vec![text.to_owned()],
            Leak::Recased => vec![text.to_uppercase()],
            Leak::Respaced => vec![text.chars().flat_map(|c| [c, ' ']).collect()],
            Leak::FirstHalf => vec![first.join(" ")],
            Leak::SecondHalf => vec![second.join(" ")],
            Leak::Scattered => vec![first.join(" "), second.join(" ")],
        };
        let row = |text: String| json!({"prompt": format!("{text}\nLabel:"), "completion": label}).to_string();
        texts.into_iter().map(row).collect()
    }
}
