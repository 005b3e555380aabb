//! What a table could be used for: which column is the input, which the answer, and what kind of job that is.

use tunesmith_harness::task::JobKind;

use super::{
    draw::Drawn,
    output::{Cells, Column, Proposal},
    text::cell,
};

/// Values up to which a column is described by its most frequent ones.
pub(super) const MOST_LABELS: usize = Column::MOST_LABELS;

/// Names that people give to inputs, most telling first.
const INPUTS: [&str; 18] = [
    "prompt",
    "question",
    "instruction",
    "input",
    "text",
    "message",
    "sentence",
    "query",
    "utterance",
    "content",
    "body",
    "review",
    "comment",
    "document",
    "ticket",
    "email",
    "description",
    "source",
];

/// Names of answers that are one of a few labels.
const LABELS: [&str; 12] = [
    "label",
    "labels",
    "intent",
    "category",
    "class",
    "sentiment",
    "topic",
    "tag",
    "type",
    "department",
    "queue",
    "language",
];

/// Names of other answers.
const ANSWERS: [&str; 10] =
    ["completion", "answer", "output", "response", "target", "reply", "json", "expected", "result", "summary"];

const ROWS_OF_LABEL: usize = Column::ROWS_OF_LABEL;
const LABEL_LENGTH: usize = Column::LABEL_LENGTH;

/// Characters of the middle one of texts that can be read on; shorter ones are names and cries.
const SHORTEST_TEXT: usize = 20;

/// Names of columns that hold whole chats.
pub(super) const CHATS: [&str; 7] =
    ["messages", "conversations", "conversation", "chat", "dialogue", "dialog", "turns"];

/// Whether a name says what its column is for.
pub(super) fn is_telling(name: &str) -> bool {
    let names = || INPUTS.iter().chain(&LABELS).chain(&ANSWERS).chain(&CHATS).chain(&["chosen", "rejected"]);
    names().any(|telling| name.eq_ignore_ascii_case(telling))
}

/// The columns that the user names as input and answer.
pub(super) type Roles<'a> = (Option<&'a str>, Option<&'a str>);

/// A proposal with what needs attention, or why there is none and what is needed.
pub(super) fn propose(
    columns: &[Column],
    rows: usize,
    sample: &[Drawn],
    given: Roles<'_>,
) -> Result<(Proposal, Option<String>), String> {
    let filled: Vec<&Column> = columns.iter().filter(|c| c.cells != Cells::Empty).collect();
    let same = given.0.filter(|input| given.1 == Some(*input));
    let texts = match (&filled[..], same) {
        (_, Some(name)) => filled.iter().find(|column| column.name == name),
        ([only], None) => Some(only),
        _ => None,
    };
    let is_text =
        |texts: &&&Column| texts.cells == Cells::Text && !texts.holds_labels(rows) && texts.lengths[1] >= SHORTEST_TEXT;
    if let Some(texts) = texts.filter(is_text) {
        let note =
            "raw text without answers can only be read on; for anything else, give the answers in a second column";
        return Ok((raw(texts), same.is_none().then(|| note.to_owned())));
    }
    if let [only] = filled[..] {
        return Err(format!(
            "only column {:?} holds values; training needs an input and, in a second column, the answer to it",
            only.name
        ));
    }
    if let Some(chat) = filled.iter().find(|c| ["messages", "conversations"].contains(&c.name.to_lowercase().as_str()))
    {
        return Err(format!(
            "column {:?} holds whole chats; write the user's turn and the answer as two columns, for example prompt and completion",
            chat.name
        ));
    }
    let (input, target) = roles(&filled, given)?;
    let labelled = LABELS.contains(&target.name.to_lowercase().as_str());
    let cells = rows - target.missing;
    if target.distinct == 1 {
        return Err(format!(
            "column {:?} has the same value in every row, so there is nothing to learn; give rows with different answers, or \
             rename the column of the answer to completion",
            target.name
        ));
    }
    let marked = share(sample, target, |cell| cell.contains("####"));
    let few = target.holds_labels(rows);
    let (kind, answer_after, why) = if target.cells == Cells::Json {
        (JobKind::Extraction, None, "the answers are JSON objects".to_owned())
    } else if marked > 0.95 {
        // Before labels: a few hundred worked answers repeat, and are no less worked for that.
        (JobKind::Generation, Some("####".to_owned()), "the answers are texts with the result after ####".to_owned())
    } else if few {
        (JobKind::Classification, None, format!("the answers are {} different labels", target.distinct))
    } else if labelled {
        return Err(no_labels(target, cells));
    } else {
        (JobKind::Generation, None, format!("the answers are free texts ({} different)", target.distinct))
    };
    let metric = kind.metric().to_owned();
    let lost = input.missing.max(target.missing);
    let note = (lost > 0).then(|| format!("{lost} of {rows} rows lack the input or the answer"));
    let (input, target) = (input.name.clone(), target.name.clone());
    Ok((Proposal { kind, input, target, answer_after, metric, why }, note))
}

/// The use of texts that stand alone.
fn raw(texts: &Column) -> Proposal {
    let kind = JobKind::Pretraining;
    let why = format!("{:?} holds texts to go on reading", texts.name);
    let (name, metric) = (texts.name.clone(), kind.metric().to_owned());
    Proposal { kind, input: name.clone(), target: name, answer_after: None, metric, why }
}

/// Why a column that is named like labels holds none.
fn no_labels(target: &Column, cells: usize) -> String {
    let Column { name, distinct, .. } = target;
    let rename = "or rename the column of the answer to completion";
    if *distinct > MOST_LABELS {
        format!(
            "column {name:?} has {distinct} different values in {cells} rows, too many to learn as labels (at most \
             {MOST_LABELS}); join rare labels, {rename}"
        )
    } else if target.lengths[3] > LABEL_LENGTH {
        format!(
            "column {name:?} has values of more than {LABEL_LENGTH} characters, too long for labels; shorten them, {rename}"
        )
    } else {
        format!(
            "column {name:?} has {distinct} different values in {cells} rows, too few rows to learn them as labels (each needs \
             {ROWS_OF_LABEL} or more); give more rows, join rare labels, {rename}"
        )
    }
}

/// Which column is the input and which the answer: by name, else by what they hold.
fn roles<'a>(columns: &[&'a Column], given: Roles<'_>) -> Result<(&'a Column, &'a Column), String> {
    let find = |name: &str| {
        let names = || columns.iter().map(|c| format!("{:?}", c.name)).collect::<Vec<_>>().join(", ");
        let found = columns.iter().find(|c| c.name == name).copied();
        found.ok_or_else(|| format!("no column {name:?} holds values; there are {}", names()))
    };
    let (given_input, given_target) = (given.0.map(find).transpose()?, given.1.map(find).transpose()?);
    let named = |names: &[&str], not: Option<&Column>| {
        let mut found = names.iter().filter_map(|name| columns.iter().find(|c| c.name.eq_ignore_ascii_case(name)));
        found.find(|c| not.is_none_or(|not| c.name != not.name)).copied()
    };
    let repeated = |c: &&Column| c.distinct > 1 && !c.labels.is_empty() && c.lengths[3] <= LABEL_LENGTH;
    // The last of them: people put answers behind what they answer.
    let named_target = || named(&ANSWERS, given_input).or_else(|| named(&LABELS, given_input));
    let target = given_target.or_else(named_target);
    let input = given_input.or_else(|| named(&INPUTS, target)).or_else(|| {
        let others = columns.iter().filter(|c| target.is_none_or(|t| t.name != c.name));
        others.filter(|c| !is_id(c)).max_by_key(|c| c.lengths[1]).copied()
    });
    let Some(input) = input else {
        return Err(
            "no column looks like an input; rename the input's and the answer's columns to prompt and completion"
                .into(),
        );
    };
    let others = || columns.iter().filter(|c| c.name != input.name && !is_id(c)).copied();
    let target = target.or_else(|| others().rfind(repeated)).or_else(|| others().next_back());
    match target {
        Some(target) => Ok((input, target)),
        None => Err(format!(
            "no column looks like the answer to {:?}; rename the answer's column to completion",
            input.name
        )),
    }
}

/// Numbers that differ in every row, or a name that says so.
fn is_id(column: &Column) -> bool {
    let name = column.name.to_lowercase();
    let unique = column.labels.is_empty() && column.cells == Cells::Number;
    name == "id"
        || name == "index"
        || name.ends_with("_id")
        || unique && (name.is_empty() || name.starts_with("unnamed"))
}

fn share(sample: &[Drawn], column: &Column, holds: impl Fn(&str) -> bool) -> f64 {
    let cells: Vec<_> = sample.iter().filter_map(|drawn| cell(&drawn.row, &column.name)).collect();
    cells.iter().filter(|cell| holds(cell)).count() as f64 / cells.len().max(1) as f64
}
