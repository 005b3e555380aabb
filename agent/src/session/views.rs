//! Where things stand, in words.

use std::path::{Path, PathBuf};

use tunesmith_harness::{
    figures::{bytes, counted, duration},
    log,
    report::Report,
    run::Run,
    task::Goal,
    text::{visible, visible_lines},
};

use crate::{
    commands::{
        run::Shares,
        table::{count, word},
    },
    config::Values,
    ledger::Ledger,
    run::{self, Failure, turns::Undone},
    show::Share,
};

pub fn files(files: &[PathBuf]) -> String {
    let names: Vec<String> = files.iter().map(|file| visible(&file.display().to_string()).into_owned()).collect();
    if names.is_empty() { "no files; name some with @".to_owned() } else { format!("files: {}", names.join(", ")) }
}

/// Who plans, and what is known of the model.
pub fn planner(spec: &str, stopped: bool) -> Result<String, Failure> {
    let planner = run::named(spec)?;
    let facts = planner.facts(&|name| std::env::var(name).ok()).map_err(|why| Failure::new(2, why))?;
    let mut parts = vec![format!("planner: {}", visible(spec))];
    if let run::Planner::Hosted(_) = planner {
        parts.push(match facts.window {
            Some(window) => format!("window {} tokens", count(window)),
            None => "its window is not known".to_owned(),
        });
        parts.push(match facts.price {
            Some(price) if price.read <= 0.0 && price.written <= 0.0 => "free".to_owned(),
            Some(price) => {
                format!(
                    "${:.2} and ${:.2} for a million tokens read and written",
                    price.read * 1e6,
                    price.written * 1e6
                )
            }
            None => "its price is not known".to_owned(),
        });
        parts.push(format!("`tunesmith doctor --planner {}` tries it", visible(spec)));
    }
    if stopped {
        parts.push("the run that is stopped keeps its own".to_owned());
    }
    Ok(parts.join("; "))
}

pub fn approve(set: &Values) -> String {
    let who = set.approve.map_or_else(|| "ask".to_owned(), choice);
    let allowed = if set.allow.is_empty() { "nothing more".to_owned() } else { set.allow.join(", ") };
    format!("approve: {who}; allowed: {}", visible(&allowed))
}

pub fn share(share: Option<Shares>) -> String {
    format!("share: {}", share.map_or_else(|| "not decided; asked when a model plans".to_owned(), choice))
}

fn choice(value: impl clap::ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

pub fn goals(goals: &[Goal]) -> String {
    if goals.is_empty() {
        return "goals: a gain above zero, or what the task says".to_owned();
    }
    let goals: Vec<String> = goals.iter().map(Goal::to_string).collect();
    format!("goals: {}", goals.join(", "))
}

pub fn budget(set: &Values) -> String {
    let minutes = set.minutes.map_or_else(|| "no limit of time".to_owned(), |minutes| format!("{minutes} minutes"));
    let usd = set.usd.map_or_else(|| "no limit of money".to_owned(), |usd| format!("${usd}"));
    let tokens =
        set.tokens.map_or_else(|| "any number of tokens".to_owned(), |most| format!("{} tokens", count(most.get())));
    let steps = set.steps.map_or_else(
        || "no limit of steps (100 for a language model)".to_owned(),
        |steps| counted(steps.get() as usize, "step"),
    );
    let disk = bytes(set.disk.unwrap_or(run::DISK));
    format!("a run may use: {minutes}, {usd}, {tokens}, {steps}, {disk} of disk")
}

/// What a run has used.
pub fn used(dir: &Path) -> Result<String, Failure> {
    let run = Run::open(dir).map_err(|error| Failure::new(2, error))?;
    let report = Report::fold(&log::read(&run.log())?);
    let tokens = report.cost.tokens.map_or_else(|| "unknown tokens".to_owned(), |n| format!("{} tokens", count(n)));
    let usd = report.cost.usd.map_or_else(|| "unknown dollars".to_owned(), |usd| format!("${usd:.2}"));
    let steps = counted(report.steps.len(), "step");
    Ok(format!("the last run has used: {}, {usd}, {steps}, {tokens}", duration(report.cost.seconds)))
}

/// Where a run stands, and what it came to.
pub fn plan(run: &Run) -> Result<String, Failure> {
    let events = log::read(&run.log())?;
    let ledger = Ledger::of(events.iter().map(|event| &event.kind), Share::Samples);
    let report = Report::fold(&events);
    let mut text = format!("{}\n{}", ledger.request, ledger.text(""));
    if let Some(outcome) = report.outcome {
        text += &format!("\nended: {} ({})", word(outcome), report.why);
    }
    Ok(visible_lines(&text).into_owned())
}

pub fn undone(undone: &Undone) -> String {
    let files = if undone.files {
        "the workdir is what it was before"
    } else {
        "the workdir stays as it is, because no copy of it was kept"
    };
    let steps = counted(undone.steps as usize, "step");
    format!("taken back: {:?} with {steps}; {files}; what it cost stays spent", visible(&undone.text))
}
