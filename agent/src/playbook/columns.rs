//! Which column is read and which is answered, by the request's own words.
//!
//! A column is meant by its name, by a word for the same thing, by its place ("the last column") or by values that stand
//! in it ("billing, shipping or returns"). Words around say which side it is on. What stays open is asked.

use tunesmith_harness::task::JobKind;
use tunesmith_tools::data_inspect::{Cells, Column};

use super::words::Words;
use names::{is_answer, is_id, is_input, is_label};
use said::{Said, Sure};

mod names;
mod said;

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

    fn target(&self, usable: &[usize], said: &[Said]) -> Result<(usize, String), String> {
        let mut fitting: Vec<usize> = usable.iter().copied().filter(|at| self.fits(*at, said[*at])).collect();
        // Several values are taken out of a text as a JSON object, where there are such.
        let is_json = |at: &usize| self.columns[*at].cells == Cells::Json;
        let other = fitting.iter().any(|at| !is_json(at) && said[*at].answered >= Sure::Named);
        if self.kinds.contains(&JobKind::Extraction) && fitting.iter().any(is_json) && !other {
            fitting.retain(is_json);
        }
        // What is asked for and cannot be learned is not replaced by what can.
        let asked = |at: &usize| said[*at].answered >= Sure::Named && !self.is_text(*at) && !fitting.contains(at);
        let unfit = usable.iter().copied().find(asked);
        if let Some(at) = unfit.filter(|_| !fitting.iter().any(|at| said[*at].answered >= Sure::Named)) {
            return Err(format!(
                "the request names {:?} as the answer, and it holds no {} ({} different values in {} rows)",
                self.name(at),
                if self.kinds.contains(&JobKind::Classification) {
                    "labels that repeat often enough"
                } else {
                    "answers of that kind"
                },
                self.columns[at].distinct,
                self.rows
            ));
        }
        // What is only read is not answered.
        let answerable =
            || fitting.iter().copied().filter(|at| said[*at].read < Sure::Named || said[*at].answered > said[*at].read);
        let best = answerable().map(|at| said[at].answered).max().unwrap_or_default();
        let top: Vec<usize> = answerable().filter(|at| best > Sure::Not && said[*at].answered == best).collect();
        match top[..] {
            [at] => return Ok((at, format!("the request names {:?} as the answer", self.name(at)))),
            [] => {}
            _ => return Err(self.ask(&top, "is the answer; the request could mean several")),
        }
        // Named without a side: it is the answer where it is no text that is read.
        let named: Vec<usize> = answerable()
            .filter(|at| said[*at].named > Sure::Not && said[*at].read == Sure::Not && !self.is_read(*at))
            // A text that is only named may be the one that is read.
            .filter(|at| self.columns[*at].holds_labels(self.rows) || is_json(at) || is_answer(self.name(*at)))
            .collect();
        let middle: Vec<usize> = named.iter().copied().filter(|at| !said[*at].aside).collect();
        let named = if middle.len() == 1 { middle } else { named };
        let telling: Vec<usize> = named.iter().copied().filter(|at| is_answer(self.name(*at))).collect();
        if let ([at], _) | (_, [at]) = (&named[..], &telling[..]) {
            return Ok((*at, format!("the request names {:?}", self.name(*at))));
        }
        let left: Vec<usize> = answerable().filter(|at| said[*at].read == Sure::Not && !self.is_read(*at)).collect();
        match left[..] {
            [at] if usable.len() == 2
                || is_answer(self.name(at))
                || is_label(self.name(at))
                || said[at].named.max(said[at].answered) > Sure::Not =>
            {
                return Ok((at, format!("only {:?} can be the answer", self.name(at))));
            }
            [] => {}
            _ => {
                let json: Vec<usize> = left.iter().copied().filter(is_json).collect();
                if let [at] = json[..] {
                    return Ok((at, format!("{:?} holds what is taken out of a text", self.name(at))));
                }
                let telling: Vec<usize> = left.iter().copied().filter(|at| is_answer(self.name(*at))).collect();
                if let [at] = telling[..] {
                    return Ok((at, format!("{:?} is named like an answer", self.name(at))));
                }
                return Err(self.ask(&left, "is the answer"));
            }
        }
        // Two texts, of which one is the answer to the other.
        let texts: Vec<usize> = answerable().collect();
        let telling: Vec<usize> = texts.iter().copied().filter(|at| is_answer(self.name(*at))).collect();
        match (&telling[..], &texts[..]) {
            ([at], _) => Ok((*at, format!("{:?} is named like an answer", self.name(*at)))),
            (_, [.., at]) if usable.len() == 2 && texts.len() == 1 => {
                Ok((*at, format!("only {:?} can be the answer", self.name(*at))))
            }
            (_, [first, second])
                if usable.len() == 2 && is_input(self.name(*first)) && !is_input(self.name(*second)) =>
            {
                Ok((*second, format!("{:?} is named like what is read", self.name(*first))))
            }
            _ => Err(self.ask(usable, "is the answer")),
        }
    }

    fn input(&self, target: usize, usable: &[usize], said: &[Said]) -> Result<Vec<usize>, String> {
        let others: Vec<usize> = usable.iter().copied().filter(|at| *at != target).collect();
        // Where there are texts, one of them is read, unless another column is said to be.
        // Short texts repeat too: "from the subject together with the body".
        let beside = |at: &usize| said[*at].aside && said[*at].joined && said[*at].named >= Sure::Named;
        let text = |at: &usize| self.is_text(*at) || said[*at].read == Sure::Explicit || beside(at);
        let candidates: Vec<usize> = others.iter().copied().filter(text).collect();
        let candidates = if candidates.is_empty() { others.clone() } else { candidates };
        let best = candidates.iter().map(|at| said[*at].read).max().unwrap_or_default();
        let read: Vec<usize> = candidates
            .iter()
            .copied()
            .filter(|at| best >= Sure::Named && (said[*at].read == best || beside(at)))
            .collect();
        match read[..] {
            [at] => return Ok(vec![at]),
            [] => {}
            _ if read.iter().all(|at| self.is_text(*at) || beside(at)) => return Ok(read),
            _ => return Err(self.ask(&read, "is read")),
        }
        if let [at] = others[..] {
            return Ok(vec![at]);
        }
        let texts: Vec<usize> = others.iter().copied().filter(|at| self.is_text(*at)).collect();
        let length = |at: &usize| self.columns[*at].lengths[1];
        let alike: Vec<usize> =
            texts.iter().copied().filter(|at| said[*at].read.max(said[*at].named) > Sure::Not).collect();
        let telling = texts.iter().copied().filter(|at| is_input(self.name(*at)));
        let telling: Vec<usize> = telling.collect();
        let longest = texts.iter().copied().max_by_key(length);
        let clear = |long: &usize| texts.iter().all(|at| at == long || length(long) >= 3 * length(at).max(1));
        match (&texts[..], &alike[..], &telling[..]) {
            ([], ..) => Err(format!(
                "{} columns of short values beside {:?}, and the playbook learns from one column of text; write each row as a \
                 text in one column",
                others.len(),
                self.name(target)
            )),
            ([at], ..) | (_, [at], _) => Ok(vec![*at]),
            _ if longest.as_ref().is_some_and(clear) => Ok(vec![longest.unwrap_or(texts[0])]),
            (_, _, [at]) => Ok(vec![*at]),
            _ => Err(self.ask(&texts, "is read")),
        }
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
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;
    use tunesmith_harness::task::JobKind::{Classification, Extraction, Generation};

    use super::*;

    /// A column of 300 rows: labels where there are some, else different texts of this length.
    fn column(name: &str, length: usize, labels: &[&str]) -> Column {
        let counts: Vec<_> = labels.iter().map(|label| json!({"label": label, "rows": 300 / labels.len()})).collect();
        let distinct = if labels.is_empty() { 300 } else { labels.len() };
        let lengths = [length, length, length, length];
        let column = json!({"name": name, "cells": "text", "missing": 0, "distinct": distinct, "lengths": lengths,
            "labels": counts, "examples": [], "types": {"text": 300}});
        serde_json::from_value(column).unwrap()
    }

    fn chosen(request: &str, kinds: &[JobKind], columns: &[Column]) -> Result<(String, String), String> {
        let words = Words::new(request);
        choose(&Seen { words: &words, kinds, columns, rows: 300 })
            .map(|chosen| (chosen.inputs.join("+"), chosen.target))
    }

    fn pair(input: &str, target: &str) -> Result<(String, String), String> {
        Ok((input.to_owned(), target.to_owned()))
    }

    fn tickets() -> [Column; 5] {
        [
            column("id", 4, &[]),
            column("created_at", 10, &[]),
            column("complaint", 120, &[]),
            column("dept", 7, &["billing", "shipping", "returns"]),
            column("priority", 4, &["high", "low"]),
        ]
    }

    #[test]
    fn the_requests_own_words_choose_among_columns() {
        let columns = tickets();
        for (request, want) in [
            ("sort them by the `dept` column", "dept"),
            ("predict which team a complaint should go to", "dept"),
            ("tell me how urgent a complaint is", "priority"),
            ("decide whether it is about billing, shipping or returns", "dept"),
            ("learn the last column from the complaint", "priority"),
            ("from the complaint to the department, whatever its priority is", "dept"),
            ("work out the priority of each complaint", "priority"),
            ("train it on the department", "dept"),
        ] {
            assert_eq!(chosen(request, &[Classification], &columns), pair("complaint", want), "{request}");
        }
    }

    #[test]
    fn what_stays_open_is_asked_and_no_plan_is_made() {
        let columns = tickets();
        let why = chosen("classify these", &[Classification], &columns).unwrap_err();
        assert!(why.starts_with("it is not clear which column is the answer (\"dept\" or \"priority\")"), "{why}");
        let why = chosen("predict the `mood` column", &[Classification], &columns).unwrap_err();
        assert!(why.starts_with("there is no column \"mood\"; the data has \"id\", "), "{why}");
        let both = chosen("predict the dept and predict the priority", &[Classification], &columns);
        assert!(both.unwrap_err().contains("could mean several"));
        let figures = [
            column("age", 2, &["20", "30", "40"]),
            column("plan", 5, &["basic", "gold"]),
            column("left", 3, &["yes", "no"]),
        ];
        let why = chosen("predict who has left", &[Classification], &figures).unwrap_err();
        assert!(why.contains("one column of text"), "{why}");
    }

    #[test]
    fn two_texts_are_told_apart_by_what_is_said_and_by_their_names() {
        let faq = [column("question", 60, &[]), column("answer", 90, &[]), column("topic", 6, &["a b", "c d"])];
        assert_eq!(chosen("a bot that answers questions like we do", &[Generation], &faq), pair("question", "answer"));
        let words = [column("en", 40, &[]), column("de", 42, &[])];
        assert_eq!(chosen("translate from English to German", &[Generation], &words), pair("en", "de"));
        assert_eq!(chosen("translate German into English", &[Generation], &words), pair("de", "en"));
        assert_eq!(chosen("learn German to English", &[Generation], &words), pair("de", "en"));
        assert_eq!(chosen("our English letters in German", &[Generation], &words), pair("en", "de"));
        let calls = [column("user_says", 40, &[]), column("function_call", 42, &[])];
        let got = chosen("the user says a thing and it should answer with the function call", &[Extraction], &calls);
        assert_eq!(got, pair("user_says", "function_call"));
        let styles = [column("rough", 40, &[]), column("polite", 42, &[])];
        assert_eq!(chosen("make my rough drafts polite", &[Generation], &styles), pair("rough", "polite"));
        assert!(chosen("teach it this", &[], &[column("x", 40, &[]), column("y", 42, &[])]).is_err());
    }

    #[test]
    fn what_is_asked_for_and_cannot_be_learned_is_not_replaced_by_something_else() {
        let people = [column("name", 12, &[]), column("age", 2, &[]), column("city", 4, &["Rome", "Oslo"])];
        let why = chosen("classify people by age", &[Classification], &people).unwrap_err();
        assert!(why.starts_with("the request names \"age\" as the answer, and it holds no labels"), "{why}");
        assert!(chosen("classify people", &[Classification], &people).is_err());
        let sums = [column("sum", 9, &[]), column("result", 3, &[])];
        assert_eq!(chosen("a model that does sums", &[Generation], &sums), pair("sum", "result"));
    }

    #[test]
    fn terse_words_denials_and_several_texts_are_read_too() {
        let columns = [
            column("question", 60, &[]),
            column("ddl", 90, &[]),
            column("sql", 50, &[]),
            column("author", 6, &["ann", "bob"]),
        ];
        assert_eq!(chosen("question + ddl -> sql", &[Generation], &columns), pair("question+ddl", "sql"));
        let got = chosen("given the question together with the ddl, write the sql", &[Generation], &columns);
        assert_eq!(got, pair("question+ddl", "sql"));
        let got = chosen("question in, sql out", &[Generation], &columns);
        assert_eq!(got, pair("question", "sql"));
        let guesses =
            [column("txt", 60, &[]), column("old_guess", 4, &["junk", "ok"]), column("lbl", 4, &["junk", "ok"])];
        let got = chosen("which is junk? don't use old_guess, the right answer is in lbl", &[Classification], &guesses);
        assert_eq!(got, pair("txt", "lbl"));
    }

    #[test]
    fn the_suites_requests_fit_their_columns() {
        let labels: &[&str] = &["a b", "c d", "e f"];
        for (request, input, target, values) in [
            (
                "Fine-tune a small model to rewrite these diary lines so that they tell what the writer does.",
                "line",
                "told",
                &[][..],
            ),
            ("Fine-tune a small model to answer these multiple choice questions.", "question", "answer", labels),
            (
                "Fine-tune a small model to route what listeners write to our radio station to the right desk.",
                "message",
                "desk",
                labels,
            ),
            (
                "Fine-tune a small model to lay out the words in the form that each line asks for.",
                "line",
                "laid_out",
                &[],
            ),
            ("Train a small model on these tales so that it goes on where a text breaks off.", "text", "rest", &[]),
            (
                "Fine-tune a small model to rewrite each command as a report that it has been done.",
                "command",
                "report",
                &[],
            ),
            (
                "Fine-tune a small model to route these messages from museum visitors to the right team.",
                "message",
                "team",
                labels,
            ),
        ] {
            let wanted = crate::playbook::request::read(request).unwrap();
            assert_eq!((wanted.beyond, wanted.questions), (vec![], vec![]), "{request}");
            let columns = [column(input, 60, &[]), column(target, 50, values)];
            assert_eq!(chosen(request, &wanted.kinds, &columns), pair(input, target), "{request}");
        }
    }

    #[test]
    fn names_of_pictures_are_no_texts() {
        let mut photo = column("photo", 12, &[]);
        photo.examples = vec!["a.JPG".into(), "b.jpg".into()];
        let why = chosen("which tree", &[Classification], &[photo, column("tree", 4, &["oak", "elm"])]).unwrap_err();
        assert!(why.starts_with("column \"photo\" names files of pictures, sound or pages (\"a.JPG\")"), "{why}");
    }

    #[test]
    fn one_value_may_be_taken_out_of_a_text() {
        let mails = [column("email", 200, &[]), column("order_number", 8, &[]), column("customer", 12, &[])];
        let got = chosen("pull the order number out of each email", &[Extraction], &mails);
        assert_eq!(got, pair("email", "order_number"));
    }
}
