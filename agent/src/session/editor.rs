//! The line that a person types: editing, history, completion.

use std::{
    borrow::Cow,
    fs, io,
    path::{Path, PathBuf},
};

use rustyline::{
    Behavior, CompletionType, Config, Context, Helper,
    completion::{Completer, Pair},
    error::ReadlineError,
    highlight::Highlighter,
    hint::Hinter,
    history::{FileHistory, History},
    validate::Validator,
};
use tunesmith_harness::redact::redacted;

use super::command::{HELP, name};
use crate::{config::Places, run::Failure};

/// Lines that are kept.
const KEPT: usize = 1_000;
/// Bytes of a history that is read.
const LARGEST: u64 = 4 << 20;

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line.
    Words(String),
    /// Ctrl-C.
    Stop,
    /// What was typed cannot be read.
    Unread,
    /// Ctrl-D, or the terminal is gone.
    End,
}

/// Reads lines, on a thread of its own.
pub struct Editor {
    /// Not here while a line is read.
    inner: Option<rustyline::Editor<Completions, FileHistory>>,
    /// Where lines are kept between sessions.
    history: Option<PathBuf>,
}

impl Editor {
    /// An editor with the lines of earlier sessions.
    pub fn new() -> Result<Self, Failure> {
        let broken = |error: ReadlineError| Failure::new(70, format!("the terminal cannot be used: {error}"));
        let config = Config::builder()
            .max_history_size(KEPT)
            .and_then(|config| config.history_ignore_dups(true))
            .map_err(broken)?
            .completion_type(CompletionType::List)
            .behavior(Behavior::Stdio)
            .build();
        let mut inner = rustyline::Editor::with_config(config).map_err(broken)?;
        inner.set_helper(Some(Completions::default()));
        let env = |name: &str| std::env::var(name).ok();
        let history = Places::of(&env, None).state.and_then(|state| Some(state.parent()?.join("history")));
        // A first session has none.
        let readable =
            |path: &&PathBuf| fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() < LARGEST);
        history.iter().filter(readable).for_each(|path| drop(inner.load_history(path)));
        Ok(Editor { inner: Some(inner), history })
    }

    /// The next line, which is kept without secrets. `runs` is where the names of runs are.
    pub async fn line(&mut self, prompt: &'static str, runs: PathBuf) -> Line {
        let Some(mut inner) = self.inner.take() else { return Line::End };
        if let Some(helper) = inner.helper_mut() {
            helper.runs = runs;
        }
        let read = tokio::task::spawn_blocking(move || {
            let line = inner.readline(prompt);
            (inner, line)
        });
        let Ok((mut inner, line)) = read.await else { return Line::End };
        if let Ok(line) = &line {
            self.keep(&mut inner, line);
        }
        self.inner = Some(inner);
        match line {
            Ok(line) => Line::Words(line),
            Err(ReadlineError::Interrupted) => Line::Stop,
            Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => Line::Unread,
            Err(_) => Line::End,
        }
    }

    /// The answer to a question, which is not kept; `None` where there is none.
    pub async fn answer(&mut self, question: &str) -> Option<String> {
        let mut inner = self.inner.take()?;
        let question = question.to_owned();
        let read = tokio::task::spawn_blocking(move || {
            let line = inner.readline(&question);
            (inner, line)
        });
        let (inner, line) = read.await.ok()?;
        self.inner = Some(inner);
        line.ok().map(|line| line.trim().to_lowercase())
    }

    /// That lines cannot be kept is no reason not to talk.
    fn keep(&self, inner: &mut rustyline::Editor<Completions, FileHistory>, line: &str) {
        if line.trim().is_empty() || !inner.add_history_entry(redacted(line.trim())).unwrap_or(false) {
            return;
        }
        if let Some(path) = &self.history {
            let _ = path.parent().map(fs::create_dir_all);
            let _ = inner.history_mut().save(path);
        }
    }
}

/// Completes commands, their values, and names of files.
#[derive(Default)]
struct Completions {
    runs: PathBuf,
}

impl Completions {
    /// Where the word to complete begins, and what it may become.
    fn of(&self, line: &str) -> (usize, Vec<String>) {
        let start = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let word = &line[start..];
        let within = |all: Vec<String>| all.into_iter().filter(|one| one.starts_with(word)).collect::<Vec<_>>();
        if let Some(path) = word.strip_prefix('@') {
            return (start + 1, paths(path));
        }
        match line.split_whitespace().next() {
            Some(_) if start == 0 && word.starts_with('/') => {
                (0, within(HELP.iter().map(|line| name(line).to_owned()).collect()))
            }
            Some("/file" | "/base") => (start, paths(word)),
            Some("/runs") => (start, within(entries(&self.runs).into_iter().map(|(name, _)| name).collect())),
            Some(command) if command.starts_with('/') => (start, within(values(command))),
            _ => (start, Vec::new()),
        }
    }
}

/// What a command takes, where that is one of a few words.
fn values(command: &str) -> Vec<String> {
    let words: &[&str] = match command {
        "/approve" => &["ask", "auto", "never", "scope", "network:", "publish:"],
        "/share" => &["none", "samples"],
        "/budget" => &["minutes", "usd", "tokens", "steps", "disk"],
        "/model" => &["playbook", "openai:", "anthropic:", "gemini:", "hf:", "together:", "ollama:", "vllm:", "url:"],
        "/goal" => &["none"],
        _ => &[],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Files and directories whose path begins so.
fn paths(begun: &str) -> Vec<String> {
    let (dir, name) = begun.rsplit_once('/').map_or(("", begun), |(dir, name)| (dir, name));
    let place = match (dir, begun.starts_with('/')) {
        ("", true) => Path::new("/"),
        ("", false) => Path::new("."),
        (dir, _) => Path::new(dir),
    };
    let head = &begun[..begun.len() - name.len()];
    let hidden = |found: &str| found.starts_with('.') && !name.starts_with('.');
    let found = entries(place).into_iter().filter(|(found, _)| found.starts_with(name) && !hidden(found));
    found.map(|(found, is_dir)| format!("{head}{found}{}", if is_dir { "/" } else { "" })).collect()
}

/// Names in a directory that can be typed, in order, and whether each is a directory.
fn entries(dir: &Path) -> Vec<(String, bool)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let named = entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path().is_dir())));
    let mut named: Vec<_> = named.filter(|(name, _)| !name.chars().any(char::is_control)).collect();
    named.sort();
    named
}

impl Completer for Completions {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, found) = self.of(&line[..pos]);
        Ok((start, found.into_iter().map(|one| Pair { display: one.clone(), replacement: one }).collect()))
    }
}

impl Hinter for Completions {
    type Hint = String;
}

impl Highlighter for Completions {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        Cow::Borrowed(prompt)
    }
}

impl Validator for Completions {}

impl Helper for Completions {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_values_files_and_runs_are_completed() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["data/a.csv", "data/b.csv", "data/.hidden", "runs/20260101-x/run.json"] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let completions = Completions { runs: dir.path().join("runs") };
        let of = |line: &str| completions.of(line);
        let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(of("/b"), (0, all(&["/budget", "/base"])));
        assert_eq!(of("/approve a"), (9, all(&["ask", "auto"])));
        assert_eq!(of("/runs 2026"), (6, all(&["20260101-x"])));
        let data = dir.path().join("data").display().to_string();
        assert_eq!(of(&format!("sort @{data}/")).1, [format!("{data}/a.csv"), format!("{data}/b.csv")]);
        assert_eq!(of(&format!("/file {data}/.h")).1, [format!("{data}/.hidden")]);
        assert_eq!(of(&format!("/file {}", &data[..data.len() - 2])).1, [format!("{data}/")]);
        assert_eq!(of("sort my mails"), (8, Vec::new()));
    }
}
