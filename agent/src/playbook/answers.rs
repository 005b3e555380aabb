//! Answers that stand in several columns: which columns a request lists as what is to be taken out of a text.

use serde_json::Value;
use tunesmith_harness::{recipe::Row, task::JobKind};

use super::{
    columns::{is_form, named, parts},
    request::Wanted,
    words::Words,
};

/// Rows that are looked at.
const LOOKED_AT: usize = 200;
/// Words that may stand between two columns of a list: "name, the arrival date and ...".
const BETWEEN: usize = 4;
/// Share of rows whose text must hold a column's value, and share of the columns of which that must be so: dates and sums
/// are often written another way.
const HELD: f64 = 0.3;
const HELD_COLUMNS: f64 = 0.5;
/// Words for all columns beside the text.
const ALL: [&str; 2] = [
    "all|every|other|others|remaining|rest .. columns|fields|boxes|cells",
    "these|those|same|following|all two|three|four|five|six things|facts|values|details|fields|figures",
];
/// Words behind and before a column that say it is none of them.
const UNIMPORTANT: &str = "not|isnt|arent important|needed|relevant|wanted|interesting|necessary";
const DENIED: &str = "dont|not|never|ignore|except|skip|without|care";

impl Wanted {
    /// The columns whose values are taken out of a text together; none where the answer is one column.
    pub fn answers(&self, request: &str, columns: &[String], rows: &[Row]) -> Vec<String> {
        let rows = &rows[..rows.len().min(LOOKED_AT)];
        if self.kinds != [JobKind::Extraction] || columns.iter().any(|column| is_json(rows, column)) {
            return Vec::new();
        }
        let Some(text) = columns.iter().max_by_key(|column| length(rows, column)) else { return Vec::new() };
        let words = Words::new(request);
        let others: Vec<&String> = columns.iter().filter(|column| *column != text).collect();
        let mut found = listed(&words, &others);
        if found.len() < 2 && ALL.iter().any(|all| words.wants(all)) {
            let meant = |column: &&String| share_held(rows, text, column) >= HELD || spoken(&words, column).is_some();
            found = others.into_iter().filter(meant).collect();
        }
        found.retain(|column| spoken(&words, column) != Some(false));
        let held = found.iter().filter(|column| share_held(rows, text, column) >= HELD).count();
        let clear = found.len() >= 2 && held as f64 >= found.len() as f64 * HELD_COLUMNS;
        // The order of the file.
        let chosen = columns.iter().filter(|column| clear && found.contains(column) && filled(rows, column));
        chosen.cloned().collect()
    }
}

/// The columns that one sentence names one after the other.
fn listed<'a>(words: &Words, columns: &[&'a String]) -> Vec<&'a String> {
    let texts: Vec<&str> = words.list.iter().map(|word| word.text.as_str()).collect();
    let (mut best, mut open, mut last): (Vec<&String>, Vec<&String>, usize) = Default::default();
    for at in 0..texts.len() {
        let hit = columns.iter().copied().find_map(|column| Some((column, named(&texts[at..], &parts(column))?)));
        let ended = words.list[last.saturating_sub(1).min(at)..at].iter().any(|word| word.ends);
        if ended || at > last + BETWEEN {
            open.clear();
        }
        let Some((column, taken)) = hit else { continue };
        if !open.contains(&column) {
            open.push(column);
        }
        last = at + taken;
        if open.len() > best.len() {
            best = open.clone();
        }
    }
    best
}

/// Whether the request speaks of a column by one of its words and does not deny it; `None` where it does not speak of it.
fn spoken(words: &Words, column: &str) -> Option<bool> {
    let own: Vec<String> = parts(column).into_iter().filter(|part| part.len() > 2).collect();
    let places = (0..words.list.len()).filter(|at| own.iter().any(|part| is_form(part, words.word(*at))));
    let denied = |at: usize| {
        let before = words.list[..at].iter().rev().take(4).take_while(|word| !word.ends);
        let end = (at..words.list.len()).find(|at| words.list[*at].ends).unwrap_or(words.list.len());
        let behind =
            Words { text: String::new(), list: words.list[at..(at + 7).min(end + 1).min(words.list.len())].to_vec() };
        before.into_iter().any(|word| DENIED.split('|').any(|denial| word.text == denial)) || behind.has(UNIMPORTANT)
    };
    let places: Vec<usize> = places.collect();
    (!places.is_empty()).then(|| !places.into_iter().all(denied))
}

fn cell<'a>(row: &'a Row, column: &str) -> Option<std::borrow::Cow<'a, str>> {
    match row.get(column)? {
        Value::Null => None,
        Value::String(text) => Some(text.trim().into()).filter(|text: &std::borrow::Cow<'_, str>| !text.is_empty()),
        other => Some(other.to_string().into()),
    }
}

fn is_json(rows: &[Row], column: &str) -> bool {
    let object = |row: &Row| match row.get(column) {
        Some(Value::Object(_)) => true,
        Some(Value::String(text)) => {
            text.trim_start().starts_with('{')
                && serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object())
        }
        _ => false,
    };
    rows.iter().any(object)
}

/// Characters of all cells.
fn length(rows: &[Row], column: &str) -> usize {
    rows.iter().filter_map(|row| Some(cell(row, column)?.chars().count())).sum()
}

fn filled(rows: &[Row], column: &str) -> bool {
    rows.iter().any(|row| cell(row, column).is_some())
}

/// The share of rows with a value whose text holds it.
fn share_held(rows: &[Row], text: &str, column: &str) -> f64 {
    let pairs = rows.iter().filter_map(|row| Some((cell(row, text)?, cell(row, column)?)));
    let (mut held, mut all) = (0u32, 0u32);
    for (text, value) in pairs {
        held += u32::from(text.to_lowercase().contains(&value.to_lowercase()));
        all += 1;
    }
    f64::from(held) / f64::from(all.max(1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::playbook::request;

    fn answers(request: &str) -> Vec<String> {
        let columns = ["received", "email_text", "guest", "arrival", "nights", "room"];
        let row = |at: usize| {
            let text = format!("Hi, Ann {at} here, a twin from 3 May for {at} nights please. It is our third stay.");
            let row = json!({"received": "2024-01-02", "email_text": text, "guest": format!("Ann {at}"),
                "arrival": "03/05", "nights": at.to_string(), "room": "twin"});
            row.as_object().unwrap().clone()
        };
        let rows: Vec<Row> = (2..9).map(row).collect();
        request::read(request).unwrap().answers(request, &columns.map(str::to_owned), &rows)
    }

    #[test]
    fn columns_that_a_sentence_lists_are_answered_together() {
        let all = ["guest", "arrival", "nights", "room"];
        assert_eq!(answers("extract the guest name, the arrival, nights and room from each mail"), all);
        assert_eq!(answers("Extract the guest and the nights from the mail."), ["guest", "nights"]);
        let told = "extract the same three things as are typed from each mail into the sheet: what they are called, how long they stay, \
                    where they sleep";
        assert_eq!(answers(told), ["guest", "nights", "room"]);
        assert_eq!(answers("extract all the fields from the mail, I don't care which room"), ["guest", "nights"]);
        // One value is one column, and other kinds of jobs have one answer.
        assert!(answers("extract the guest from the mail").is_empty());
        assert!(answers("sort the mails by guest, arrival, nights and room").is_empty());
        // What does not stand in the text is not taken out of it.
        assert!(answers("extract arrival and received").is_empty());
    }
}
