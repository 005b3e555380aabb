//! Commands of a session: what begins with a slash.

use std::{
    num::{NonZeroU32, NonZeroU64},
    path::PathBuf,
    str::FromStr,
};

use clap::ValueEnum;
use tunesmith_harness::task::Goal;

use super::words::Words;
use crate::{
    commands::{
        numbers::{amount, positive},
        run::{Approves, Shares, capability, goal},
        sandbox::size,
    },
    run::{Failure, Further},
};

/// What a command asks for; without a value it shows what holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    Help,
    Plan,
    Go,
    Undo,
    New,
    Quit,
    Files(Vec<PathBuf>),
    Base(Option<String>),
    Model(Option<String>),
    Budget(Further),
    Approve(Option<Approves>, Option<String>),
    Share(Option<Shares>),
    Goal(Option<Vec<Goal>>),
    Runs(Option<String>),
}

/// The commands, each with what it takes and does.
pub const HELP: [&str; 14] = [
    "/plan                             where the last run stands: scope, plan, steps, best result",
    "/budget [minutes N|usd N|tokens N|steps N|disk SIZE] what runs may use, and what the last one used",
    "/model [SPEC]                     who plans: playbook, openai:MODEL, ollama:MODEL, url:BASE#MODEL, ...",
    "/approve [ask|auto|never|scope|network:HOST|publish:ORG/NAME]  who approves, and what is allowed",
    "/undo                             take back what you said last to a run, and all that came of it",
    "/go                               go on with the run that was stopped",
    "/runs [NAME]                      list runs, or take one up",
    "/file [PATH ...]                  rows to learn from",
    "/base [MODEL]                     model to start from",
    "/goal [METRIC>=X ...|none]        what must hold on the sealed rows",
    "/share [none|samples]             what a planner's model may see of the rows",
    "/new                              forget the run that was stopped and the files",
    "/help                             this list",
    "/quit                             leave; so does Ctrl-D",
];

/// The name of a command in the list.
pub fn name(line: &str) -> &str {
    line.split([' ', '[']).next().unwrap_or_default()
}

/// Reads a line; `None` where it is no command but words, as a path at their beginning is.
pub fn read(line: &str) -> Result<Option<Command>, Failure> {
    let (first, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    if !first.starts_with('/') || first[1..].contains('/') || std::path::Path::new(first).exists() {
        return Ok(None);
    }
    let rest = rest.trim();
    let value = (!rest.is_empty()).then(|| rest.to_owned());
    let command = match first {
        "/help" | "/?" => Command::Help,
        "/plan" => Command::Plan,
        "/go" => Command::Go,
        "/undo" => Command::Undo,
        "/new" => Command::New,
        "/quit" | "/exit" => Command::Quit,
        "/file" | "/files" => Command::Files(files(rest)),
        "/base" => Command::Base(value),
        "/model" => Command::Model(value),
        "/budget" => Command::Budget(budget(rest)?),
        "/approve" => approve(value)?,
        "/share" => Command::Share(value.map(|value| choice(&value)).transpose()?),
        "/goal" => Command::Goal(value.map(|value| goals(&value)).transpose()?),
        "/runs" => Command::Runs(value),
        other => return Err(unknown(other)),
    };
    Ok(Some(command))
}

/// Paths, each with or without the mark that they have in words; in quotes they may hold spaces.
fn files(text: &str) -> Vec<PathBuf> {
    let marked: Vec<String> = text.split(' ').map(|word| word.trim_start_matches('@').to_owned()).collect();
    let line = marked.join(" ");
    let mut rest = line.trim();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
        let end = quote.and_then(|quote| Some(rest[1..].find(quote)? + 2));
        let end = end.or_else(|| rest.find(char::is_whitespace)).unwrap_or(rest.len());
        found.extend(Words::of(&format!("@{}", &rest[..end])).files);
        rest = rest[end..].trim_start();
    }
    found
}

/// `minutes 10 usd 2`, in any order.
fn budget(text: &str) -> Result<Further, Failure> {
    let mut further = Further::default();
    let words: Vec<&str> = text.split_whitespace().collect();
    for pair in words.chunks(2) {
        let [name, value] = pair else { return Err(wrong(format!("{} has no number; {BUDGET}", pair[0]))) };
        let number = |why: String| wrong(format!("{name} {value}: {why}"));
        match *name {
            "minutes" => further.minutes = Some(positive(value).map_err(number)?),
            "disk" => further.disk = Some(size(value).map_err(number)?),
            "usd" => further.usd = Some(amount(value).map_err(number)?),
            "steps" => further.steps = Some(whole::<NonZeroU32>(value).map_err(number)?.get()),
            "tokens" => further.tokens = Some(whole::<NonZeroU64>(value).map_err(number)?.get()),
            other => return Err(wrong(format!("there is no budget of {other}; {BUDGET}"))),
        }
    }
    Ok(further)
}

fn whole<T: FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| "must be a whole number above 0".to_owned())
}

const BUDGET: &str = "write /budget minutes N, usd N, tokens N, steps N or disk SIZE";

fn approve(value: Option<String>) -> Result<Command, Failure> {
    let Some(value) = value else { return Ok(Command::Approve(None, None)) };
    if let Ok(who) = choice(&value) {
        return Ok(Command::Approve(Some(who), None));
    }
    let allowed =
        capability(&value).map_err(|why| wrong(format!("{value}: use ask, auto or never, or {}", &why[4..])))?;
    Ok(Command::Approve(None, Some(allowed)))
}

fn goals(value: &str) -> Result<Vec<Goal>, Failure> {
    if value == "none" {
        return Ok(Vec::new());
    }
    value.split_whitespace().map(|text| goal(text).map_err(wrong)).collect()
}

fn choice<T: ValueEnum>(value: &str) -> Result<T, Failure> {
    T::from_str(value, true).map_err(|_| {
        let names: Vec<String> = T::value_variants()
            .iter()
            .filter_map(|variant| Some(variant.to_possible_value()?.get_name().to_owned()))
            .collect();
        wrong(format!("{value}: use {}", names.join(" or ")))
    })
}

fn wrong(why: impl ToString) -> Failure {
    Failure::new(2, why.to_string())
}

/// Names the command that is nearest.
fn unknown(given: &str) -> Failure {
    let near = HELP.iter().map(|line| name(line)).find(|known| known.starts_with(given) || given.starts_with(known));
    let near = near.map_or_else(|| ";".to_owned(), |near| format!("; did you mean {near}?"));
    wrong(format!("there is no command {given}{near} /help lists them"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(line: &str) -> Command {
        read(line).unwrap().unwrap()
    }

    #[test]
    fn commands_are_read_with_their_values() {
        let further =
            Further { minutes: Some(10.0), steps: Some(4), tokens: Some(9_000), usd: Some(0.5), disk: Some(2 << 30) };
        assert_eq!(known("/budget minutes 10 usd 0.5 tokens 9000 steps 4 disk 2G"), Command::Budget(further));
        assert_eq!(known("/approve auto"), Command::Approve(Some(Approves::Auto), None));
        assert_eq!(known("/approve network:a.test"), Command::Approve(None, Some("network:a.test".into())));
        assert_eq!(known("/share samples"), Command::Share(Some(Shares::Samples)));
        let files = ["a.csv", "b c.csv", "d.csv"].map(PathBuf::from).to_vec();
        assert_eq!(known("/file a.csv 'b c.csv' @d.csv"), Command::Files(files));
        assert_eq!(known("/goal none"), Command::Goal(Some(Vec::new())));
        assert_eq!(known("/runs  "), Command::Runs(None));
        for line in HELP {
            assert!(matches!(read(name(line)), Ok(Some(_))), "{line}");
        }
        for words in ["", "sort my mails", "/tmp is full, sort it", "/a/b.csv has rows"] {
            assert_eq!(read(words).unwrap(), None, "{words}");
        }
    }

    #[test]
    fn what_is_no_command_says_what_to_write() {
        let why = |line: &str| read(line).unwrap_err().message;
        assert_eq!(why("/mod"), "there is no command /mod; did you mean /model? /help lists them");
        assert_eq!(why("/xyz"), "there is no command /xyz; /help lists them");
        assert_eq!(
            why("/budget minutes"),
            "minutes has no number; write /budget minutes N, usd N, tokens N, steps N or disk SIZE"
        );
        assert_eq!(
            why("/budget hours 2"),
            "there is no budget of hours; write /budget minutes N, usd N, tokens N, steps N or disk SIZE"
        );
        assert_eq!(why("/budget steps 0"), "steps 0: must be a whole number above 0");
        assert_eq!(why("/approve maybe"), "maybe: use ask, auto or never, or scope, network:HOST or publish:ORG/NAME");
        assert_eq!(why("/share all"), "all: use none or samples");
    }
}
