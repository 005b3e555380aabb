//! Which column holds raw text to go on reading.

use tunesmith_tools::data_inspect::{Cells, Column};

use super::{
    Chosen, Seen,
    names::{is_answer, is_id, is_label},
    said::Sure,
};

/// Names that people give to texts.
const TEXTS: [&str; 9] = ["text", "content", "body", "document", "article", "passage", "story", "chapter", "page"];
/// How much longer than the others a text is that is meant without being named.
const LONGER: usize = 3;

/// The column of raw text. The error is a question to the user.
pub fn raw(seen: &Seen<'_>) -> Result<Chosen, String> {
    let chosen = |column: &Column, why: String| {
        Ok(Chosen { inputs: vec![column.name.clone()], target: column.name.clone(), why })
    };
    let texts: Vec<usize> = (0..seen.columns.len()).filter(|at| is_text(&seen.columns[*at])).collect();
    let said = |at: &usize| {
        let said = seen.said(*at);
        !said.denied && said.read.max(said.named).max(said.answered) >= Sure::Named
    };
    let named: Vec<usize> = texts.iter().copied().filter(said).collect();
    let telling = |at: &&usize| TEXTS.iter().any(|name| seen.columns[**at].name.eq_ignore_ascii_case(name));
    let length = |at: &usize| seen.columns[*at].lengths[1];
    let longest = texts.iter().copied().max_by_key(length);
    let clear = longest.filter(|long| texts.iter().all(|at| at == long || length(long) >= LONGER * length(at).max(1)));
    match (&texts[..], &named[..]) {
        ([], _) => {
            Err("the data has no column of texts to read; give texts as .txt or .md files with --file".to_owned())
        }
        ([at], _) => chosen(&seen.columns[*at], format!("only {:?} holds texts", seen.columns[*at].name)),
        (_, [at]) => chosen(&seen.columns[*at], format!("the request names {:?}", seen.columns[*at].name)),
        _ => match texts.iter().find(telling).copied().or(clear) {
            Some(at) => chosen(&seen.columns[at], format!("{:?} holds the texts", seen.columns[at].name)),
            None => Err(seen.ask(&texts, "holds the texts")),
        },
    }
}

/// Whether a text stands beside nothing that could be the answer to it: a title, a date, an author.
pub fn is_alone(seen: &Seen<'_>) -> bool {
    let Ok(chosen) = raw(seen) else { return false };
    let others = seen.columns.iter().filter(|column| column.name != chosen.target && !is_id(column));
    let answers = |column: &Column| {
        column.cells == Cells::Json
            || column.holds_labels(seen.rows)
            || is_answer(&column.name)
            || is_label(&column.name)
    };
    !others.into_iter().any(answers)
}

fn is_text(column: &Column) -> bool {
    column.cells == Cells::Text && column.distinct > 1 && !column.types.contains_key("list") && column.lengths[1] >= 20
}
