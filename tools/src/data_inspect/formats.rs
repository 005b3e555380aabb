//! Which formats for training the columns fit, why, and with which mapping.

use std::collections::BTreeMap;

use serde_json::Value;
use tunesmith_harness::task::JobKind;

use super::{
    chats,
    draw::Drawn,
    output::{Cells, Column, Fit, Problem, Proposal, Shape},
    text::{cell, said},
};

/// Rows of the sample that are looked at.
const ROWS: usize = 10_000;
/// Share of the rows that must be chats for a column to hold chats.
const CHATS: f64 = 0.5;
/// Names of a column of plain texts.
const TEXTS: [&str; 4] = ["text", "content", "document", "body"];
/// Fewest characters, in the middle, of a column of texts to continue that is not named so.
const LONG: usize = 200;

/// How chats are trained on: what the assistant says.
const ASSISTANT: [&str; 5] = ["train", "--objective", "sft", "--set", "train_on=assistant"];

/// What formats are judged by.
pub(super) struct Seen<'a> {
    pub columns: &'a [Column],
    pub sample: &'a [Drawn],
    pub proposal: Option<&'a Proposal>,
    /// The names of the files.
    pub names: &'a [String],
}

/// Every format with whether the columns fit it, and the one that is proposed: the most telling of those that fit.
pub(super) fn fits(seen: &Seen<'_>) -> (Vec<Fit>, Option<Shape>) {
    let seen = &Seen { sample: &seen.sample[..seen.sample.len().min(ROWS)], ..*seen };
    let fits = vec![
        seen.chat(Shape::Messages),
        seen.chat(Shape::Sharegpt),
        seen.preference(),
        seen.alpaca(),
        seen.classification(),
        seen.prompt_completion(),
        seen.text(),
    ];
    let proposed = fits.iter().find(|fit| fit.fits).map(|fit| fit.kind);
    (fits, proposed)
}

fn no(kind: Shape, why: impl Into<String>) -> Fit {
    let (mapping, arguments, problems) = (BTreeMap::new(), Vec::new(), Vec::new());
    Fit { kind, fits: false, why: why.into(), mapping, arguments, problems }
}

fn yes(kind: Shape, why: impl Into<String>, mapping: &[(&str, &str)], arguments: &[&str]) -> Fit {
    Fit {
        fits: true,
        mapping: mapping.iter().map(|(part, column)| ((*part).to_owned(), (*column).to_owned())).collect(),
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        ..no(kind, why)
    }
}

impl Seen<'_> {
    /// The column of a name, whatever its case, if it holds anything.
    fn named(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.cells != Cells::Empty && column.name.eq_ignore_ascii_case(name))
    }

    fn chat(&self, kind: Shape) -> Fit {
        let (speaker, text) = if kind == Shape::Messages { ("role", "content") } else { ("from", "value") };
        let share = |column: &Column| {
            let cells: Vec<&Value> = self.sample.iter().filter_map(|drawn| drawn.row.get(&column.name)).collect();
            let chats = cells.iter().filter(|cell| chats::shape(cell) == Some(kind)).count();
            chats as f64 / cells.len().max(1) as f64
        };
        let holding =
            |column: &&Column| !["chosen", "rejected"].contains(&column.name.as_str()) && share(column) > CHATS;
        let Some(column) = self.columns.iter().filter(|column| column.types.contains_key("list")).find(holding) else {
            return no(kind, format!("no column holds lists of turns with {speaker} and {text}"));
        };
        let name = column.name.as_str();
        let mut fit = match kind {
            Shape::Messages if name == "messages" => {
                yes(kind, "column \"messages\" holds lists of messages with roles", &[("messages", name)], &ASSISTANT)
            }
            Shape::Messages => {
                let why =
                    format!("column {name:?} holds lists of messages with roles; rename it to messages for `train`");
                yes(kind, why, &[("messages", name)], &[])
            }
            _ => {
                let turns = format!("column {name:?} holds lists of turns with from and value");
                let (why, arguments) = match name {
                    "conversations" => (format!("{turns} (human is the user, gpt the assistant)"), &ASSISTANT[..]),
                    _ => (format!("{turns}; rename it to conversations for `train`"), &[][..]),
                };
                let mapping = [("messages", name), ("role", "from"), ("content", "value")];
                yes(kind, why, &self.told(&mapping), arguments)
            }
        };
        fit.problems = self.problems(|drawn| match drawn.row.get(name) {
            None | Some(Value::Null) => Some("no chat"),
            Some(cell) => chats::wrong(cell, kind),
        });
        fit
    }

    /// A mapping with the column that says what the model is told before, where there is one.
    fn told<'a>(&self, mapping: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let system = self.columns.iter().any(|column| column.name == "system" && column.cells == Cells::Text);
        mapping.iter().copied().chain(system.then_some(("system", "system"))).collect()
    }

    fn preference(&self) -> Fit {
        let kind = Shape::Preference;
        let (Some(chosen), Some(rejected)) = (self.named("chosen"), self.named("rejected")) else {
            return no(kind, "there are no columns chosen and rejected");
        };
        let (chosen, rejected) = (chosen.name.as_str(), rejected.name.as_str());
        let prompt = ["prompt", "question", "instruction", "input"].iter().find_map(|name| self.named(name));
        let lists = |name: &str| self.named(name).is_some_and(|column| column.types.contains_key("list"));
        let mut mapping = vec![("chosen", chosen), ("rejected", rejected)];
        mapping.extend(prompt.map(|prompt| ("prompt", prompt.name.as_str())));
        let fitting =
            (chosen, rejected) == ("chosen", "rejected") && prompt.is_none_or(|prompt| prompt.name == "prompt");
        let arguments: &[&str] = if fitting { &["train", "--objective", "dpo"] } else { &[] };
        let why = match (prompt, lists(chosen)) {
            (Some(prompt), _) => format!("there are a better and a worse answer to column {:?}", prompt.name),
            (None, true) => "there are a better and a worse chat; what both begin with is the prompt".to_owned(),
            (None, false) => "there are a better and a worse text; what both begin with is the prompt".to_owned(),
        };
        let mut fit = yes(kind, why, &mapping, arguments);
        fit.problems = self.problems(|drawn| match (drawn.row.get(chosen), drawn.row.get(rejected)) {
            (None | Some(Value::Null), _) | (_, None | Some(Value::Null)) => Some("one of both answers is missing"),
            (Some(a), Some(b)) if a == b => Some("chosen and rejected are the same"),
            (Some(a), Some(b)) if a.is_string() != b.is_string() => Some("one answer is a text and the other a list"),
            (Some(a), Some(b)) if said(a).trim().is_empty() || said(b).trim().is_empty() => Some("an empty answer"),
            (Some(a), Some(b)) if said(a).trim() == said(b).trim() => Some("chosen and rejected differ only in blanks"),
            (Some(a), _) if prompt.is_some_and(|p| cell(&drawn.row, &p.name).is_none()) && a.is_string() => {
                Some("no prompt")
            }
            _ => None,
        });
        fit
    }

    fn alpaca(&self) -> Fit {
        let kind = Shape::Alpaca;
        let (Some(instruction), Some(output)) = (self.named("instruction"), self.named("output")) else {
            return no(kind, "there are no columns instruction and output");
        };
        let mut mapping = vec![("instruction", instruction.name.as_str()), ("output", output.name.as_str())];
        let Some(input) = self.named("input") else {
            return no(kind, "without a column input it is a prompt and its completion");
        };
        mapping.push(("input", input.name.as_str()));
        let fitting = mapping.iter().all(|(part, column)| part == column);
        let why = match fitting {
            true => "there are an instruction, an input to it and an output; instruction and input make one prompt",
            false => {
                "there are an instruction, an input to it and an output; write their names in lower case for `train`"
            }
        };
        let arguments: &[&str] = if fitting { &["train", "--objective", "sft"] } else { &[] };
        let mut fit = yes(kind, why, &self.told(&mapping), arguments);
        fit.problems = self.problems(|drawn| match () {
            () if cell(&drawn.row, &instruction.name).is_none() => Some("no instruction"),
            () if cell(&drawn.row, &output.name).is_none() => Some("no output"),
            () => None,
        });
        fit
    }

    fn classification(&self) -> Fit {
        let kind = Shape::Classification;
        match self.proposal.filter(|proposal| proposal.kind == JobKind::Classification) {
            Some(proposal) => {
                let mapping = [("input", proposal.input.as_str()), ("label", proposal.target.as_str())];
                let mut fit = yes(kind, proposal.why.clone(), &mapping, &[]);
                fit.arguments = prepare("classification", proposal);
                fit.problems = self.pairs(proposal, "no label");
                fit
            }
            None => no(kind, "no column holds a few labels that repeat"),
        }
    }

    fn prompt_completion(&self) -> Fit {
        let kind = Shape::PromptCompletion;
        // Raw text has no answer.
        let Some(proposal) = self.proposal.filter(|proposal| proposal.kind != JobKind::Pretraining) else {
            return no(kind, "no two columns look like a prompt and its answer");
        };
        let mapping = [("prompt", proposal.input.as_str()), ("completion", proposal.target.as_str())];
        let mut fit = yes(kind, proposal.why.clone(), &mapping, &[]);
        let extraction = proposal.kind == JobKind::Extraction;
        fit.arguments = prepare(if extraction { "extraction" } else { "generation" }, proposal);
        fit.problems = self.pairs(proposal, "no completion");
        fit
    }

    fn text(&self) -> Fit {
        let kind = Shape::Text;
        let texts: Vec<&Column> = self.columns.iter().filter(|column| column.cells == Cells::Text).collect();
        let named = TEXTS.iter().find_map(|name| texts.iter().find(|column| column.name.eq_ignore_ascii_case(name)));
        // What is an answer or a question is no text of its own.
        let long = || texts.iter().filter(|column| column.lengths[1] >= LONG).max_by_key(|column| column.lengths[1]);
        let only = || texts.first().filter(|_| texts.len() == 1);
        let answers = self.proposal.is_some_and(|proposal| proposal.kind != JobKind::Pretraining);
        let other = || long().or_else(only).filter(|_| !answers);
        let Some(column) = named.or_else(other) else {
            return no(kind, "no column holds texts of their own");
        };
        let name = column.name.as_str();
        let why = match name {
            "text" => "column \"text\" holds texts to continue".to_owned(),
            _ => format!("column {name:?} holds texts to continue; rename it to text for `train`"),
        };
        let arguments: &[&str] = if name == "text" { &["train", "--objective", "text"] } else { &[] };
        let mut fit = yes(kind, why, &[("text", name)], arguments);
        fit.problems = self.problems(|drawn| cell(&drawn.row, name).is_none().then_some("no text"));
        fit
    }

    fn pairs(&self, proposal: &Proposal, without: &'static str) -> Vec<Problem> {
        self.problems(|drawn| match () {
            () if cell(&drawn.row, &proposal.input).is_none() => Some("no input"),
            () if cell(&drawn.row, &proposal.target).is_none() => Some(without),
            () if proposal.answer_after.as_ref().is_some_and(|marker| {
                cell(&drawn.row, &proposal.target).is_some_and(|text| !text.contains(marker.as_str()))
            }) =>
            {
                Some("no marker before the result")
            }
            () => None,
        })
    }

    /// What is wrong with rows, the most frequent first.
    fn problems(&self, wrong: impl Fn(&Drawn) -> Option<&'static str>) -> Vec<Problem> {
        let mut found: BTreeMap<&str, (usize, &Drawn)> = BTreeMap::new();
        for drawn in self.sample {
            if let Some(why) = wrong(drawn) {
                let entry = found.entry(why).or_insert((0, drawn));
                entry.0 += 1;
                if (drawn.file, drawn.line) < (entry.1.file, entry.1.line) {
                    entry.1 = drawn;
                }
            }
        }
        let mut problems: Vec<Problem> = found
            .into_iter()
            .map(|(why, (rows, first))| Problem {
                why: why.to_owned(),
                rows,
                path: self.names.get(first.file).cloned().unwrap_or_default(),
                line: first.line,
            })
            .collect();
        problems.sort_by_key(|problem| std::cmp::Reverse(problem.rows));
        problems
    }
}

/// The arguments of `data prepare` that read rows as a proposal does.
fn prepare(kind: &str, proposal: &Proposal) -> Vec<String> {
    let mut words = ["data", "prepare", "--kind", kind, "--input", &proposal.input, "--target", &proposal.target]
        .map(str::to_owned)
        .to_vec();
    if let Some(marker) = &proposal.answer_after {
        words.extend(["--answer-after".to_owned(), marker.clone()]);
    }
    words
}
