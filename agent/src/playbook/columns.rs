//! Which column is read and which is answered, by the request's own words.
//!
//! A column is meant by its name, by a word for the same thing, by its place ("the last column") or by values that stand
//! in it ("billing, shipping or returns"). Words around say which side it is on. What stays open is asked.

use tunesmith_harness::task::JobKind;
use tunesmith_tools::data_inspect::{Cells, Column};

use super::words::Words;
use names::{is_answer, is_id, is_input};
use said::{Said, Sure};

mod input;
mod names;
mod raw;
mod said;
mod target;

pub(super) use names::{is_form, named, parts};
pub use raw::{is_alone, raw};

/// The two columns, and which words or which lack of others decided so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// What is read, where there are several: all of them, one below the other.
    pub inputs: Vec<String>,
    /// What is answered.
    pub target: String,
    /// Why the answer is that one.
    pub why: String,
}

/// What is known before columns are chosen.
pub struct Seen<'a> {
    /// The request.
    pub words: &'a Words,
    /// The kinds of jobs that it allows; none: any.
    pub kinds: &'a [JobKind],
    /// The columns of the data.
    pub columns: &'a [Column],
    /// Rows.
    pub rows: usize,
}

/// Chooses the columns. The error is a question to the user.
pub fn choose(seen: &Seen<'_>) -> Result<Chosen, String> {
    let said: Vec<Said> = (0..seen.columns.len()).map(|at| seen.labels_are_answered(at, seen.said(at))).collect();
    seen.unknown()?;
    let usable: Vec<usize> = (0..seen.columns.len()).filter(|at| seen.usable(*at, said[*at])).collect();
    let (target, why) = seen.target(&usable, &said)?;
    let inputs = seen.input(target, &usable, &said)?;
    let input = inputs[0];
    inputs.iter().chain([&target]).try_for_each(|at| seen.is_of_words(*at))?;
    if seen.columns[input].cells == Cells::Json
        && seen.columns[target].cells != Cells::Json
        && said[input].read < Sure::Explicit
    {
        return Err(seen.ask(&[input, target], "is the answer"));
    }
    let name = |at: usize| seen.columns[at].name.clone();
    Ok(Chosen { inputs: inputs.into_iter().map(name).collect(), target: name(target), why })
}

impl Seen<'_> {
    /// A column that can be read or answered: with values, and no number, date or address of its row, unless it is named.
    fn usable(&self, at: usize, said: Said) -> bool {
        let column = &self.columns[at];
        let named = said.read.max(said.named).max(said.answered) >= Sure::Named;
        // Chats are no cells of a table.
        let chats = column.types.contains_key("list");
        !chats && !said.denied && column.cells != Cells::Empty && column.distinct > 1 && (named || !is_id(column))
    }

    /// Refuses a column whose cells name files: what is in pictures and recordings cannot be read.
    fn is_of_words(&self, at: usize) -> Result<(), String> {
        const FILES: [&str; 14] = [
            ".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".wav", ".mp3", ".ogg", ".flac", ".m4a", ".mp4", ".mov",
            ".pdf",
        ];
        let column = &self.columns[at];
        let names = |text: &String| FILES.iter().any(|ending| text.to_lowercase().ends_with(ending));
        if column.examples.is_empty() || !column.examples.iter().all(names) {
            return Ok(());
        }
        let example = column.examples.first().map_or("", String::as_str);
        Err(format!(
            "column {:?} names files of pictures, sound or pages ({example:?}); the playbook learns from texts only, so give \
             what is in them as text",
            column.name
        ))
    }

    /// Whether the answer can be of the kinds that are asked for.
    fn fits(&self, at: usize, said: Said) -> bool {
        let column = &self.columns[at];
        let named = said.answered.max(said.named) > Sure::Not;
        if self.kinds.is_empty() {
            return true;
        }
        self.kinds.iter().any(|kind| match kind {
            JobKind::Classification => column.holds_labels(self.rows),
            // Raw text has no answer.
            JobKind::Pretraining => false,
            JobKind::Extraction => column.cells == Cells::Json || named && !column.holds_labels(self.rows),
            JobKind::Generation => {
                let text = column.cells == Cells::Text && !column.holds_labels(self.rows);
                named || text || column.cells == Cells::Json || is_answer(&column.name)
            }
        })
    }

    /// Whether a column is long text beside which others are short: that is read, whatever it is called.
    fn is_read(&self, at: usize) -> bool {
        let own = &self.columns[at];
        let others =
            self.columns.iter().filter(|other| other.name != own.name && !is_id(other) && other.cells != Cells::Empty);
        let generates = self.kinds.iter().any(|kind| *kind != JobKind::Classification);
        let (name, labels) = (is_input(&own.name), own.holds_labels(self.rows));
        name && !labels
            || !generates
                && !labels
                && others.clone().all(|other| other.holds_labels(self.rows) || 2 * other.lengths[1] < own.lengths[1])
    }

    /// Where there are texts to read, a column of labels is not read ("sort junk from real mail").
    fn labels_are_answered(&self, at: usize, said: Said) -> Said {
        let texts = (0..self.columns.len()).any(|other| other != at && self.is_text(other));
        let json = self.columns[at].cells == Cells::Json && self.kinds.contains(&JobKind::Extraction);
        let labels = self.columns[at].holds_labels(self.rows) || json;
        if !labels || !texts || said.read == Sure::Explicit {
            return said;
        }
        Said { read: Sure::Not, named: said.named.max(said.read), aside: said.read > said.named, ..said }
    }

    fn is_text(&self, at: usize) -> bool {
        let column = &self.columns[at];
        column.cells == Cells::Text && !column.holds_labels(self.rows) && column.lengths[1] >= 8
    }

    fn name(&self, at: usize) -> &str {
        &self.columns[at].name
    }

    fn ask(&self, among: &[usize], what: &str) -> String {
        let all: Vec<String> = self.columns.iter().map(|column| format!("{:?}", column.name)).collect();
        let names: Vec<String> = among.iter().map(|at| format!("{:?}", self.name(*at))).collect();
        let or = if names.len() == all.len() { String::new() } else { format!(" ({})", names.join(" or ")) };
        format!(
            "it is not clear which column {what}{or}; the data has {}: say it in the request, for example \"predict the {} \
             column from the {} column\"",
            all.join(", "),
            self.columns.last().map_or("", |column| &column.name),
            self.columns.first().map_or("", |column| &column.name)
        )
    }

    /// Refuses a column that the request names and the data has not.
    fn unknown(&self) -> Result<(), String> {
        for found in self.words.all("column|columns|field") {
            let place = found.start;
            let quoted = |at: usize| self.words.list.get(at).filter(|word| word.quoted && !word.text.is_empty());
            let near = [place.checked_sub(1), Some(place + 1), Some(place + 2)];
            let missing = near.into_iter().flatten().filter_map(quoted).find(|word| !self.is_known(&word.text));
            if let Some(word) = missing {
                let all: Vec<String> = self.columns.iter().map(|column| format!("{:?}", column.name)).collect();
                return Err(format!("there is no column {:?}; the data has {}", word.text, all.join(", ")));
            }
        }
        Ok(())
    }

    fn is_known(&self, word: &str) -> bool {
        self.columns.iter().any(|column| column.name.to_lowercase().contains(word))
    }
}

#[cfg(test)]
mod tests;
