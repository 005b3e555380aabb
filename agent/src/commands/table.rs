//! Tables for people.

use serde::Serialize;
use tunesmith_harness::text::visible;

/// Rows in columns that line up, two spaces apart; the first column to the left, figures to the right.
pub fn table(rows: &[Vec<String>]) -> Vec<String> {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| visible(cell).into_owned()).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let figures: Vec<bool> =
        (0..columns).map(|at| rows.iter().skip(1).filter_map(|row| row.get(at)).all(|c| figure(c))).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(at, cell)| {
            let pad = " ".repeat(widths[at] - cell.chars().count());
            if figures[at] && at > 0 { format!("{pad}{cell}") } else { format!("{cell}{pad}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn figure(cell: &str) -> bool {
    cell.is_empty() || cell == NONE || cell.starts_with(|c: char| c.is_ascii_digit() || "+-<$".contains(c))
}

/// The word by which a choice is known in JSON.
pub fn word(choice: impl Serialize) -> String {
    let value = serde_json::to_value(choice).unwrap_or_default();
    value.as_str().map(str::to_owned).unwrap_or_default()
}

/// What is not known or does not apply.
pub const NONE: &str = "–";

/// A whole number with its thousands apart: `12 345`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// `text` cut to `most` characters.
pub fn short(text: &str, most: usize) -> String {
    let text = visible(text);
    if text.chars().count() <= most {
        return text.into_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_figures_stand_to_the_right() {
        let rows = [["task", "base", "why"], ["routing", "8.1 %", "a"], ["größe\u{1b}", "100.0 %", "longer"]];
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect();
        let want = ["task            base  why", "routing        8.1 %  a", "größe\\u{1b}  100.0 %  longer"];
        assert_eq!(table(&rows), want);
    }

    #[test]
    fn figures_read_well() {
        assert_eq!([7, 1_234, 1_234_567].map(count), ["7", "1 234", "1 234 567"]);
        assert_eq!(short("abcdef", 4), "abc…");
    }
}
