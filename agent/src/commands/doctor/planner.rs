//! `tunesmith doctor --planner SPEC`: whether a model can plan, found out by asking it a handful of small questions.

use std::time::Duration;

use serde::Serialize;
use tunesmith_harness::{ask::Price, text::visible};
use tunesmith_sandbox::Local;

use crate::{
    commands::{print, print_json, table::table, usage},
    model::{
        ChatModel,
        catalogue::Facts,
        openai::{OpenAi, Pace},
        resident::Resident,
        spec::{self, Hosted, Planner},
        trial::{self, Check, Trial},
    },
    run::Failure,
};

/// What was found; `null` is unknown.
#[derive(Serialize)]
struct Findings {
    planner: String,
    /// Dollars for a million tokens.
    price: Option<PerMillion>,
    #[serde(flatten)]
    trial: Trial,
}

#[derive(Serialize)]
struct PerMillion {
    read: f64,
    written: f64,
}

/// Tries a planner and shows what came of it. Exit code 5 says that it cannot plan.
pub async fn main(spec: &str, json: bool) -> Result<u8, Failure> {
    let Opened { model, name, key, facts, source } =
        match spec::parse(spec).map_err(|error| usage(format!("--planner: {error}")))? {
            Planner::Hosted(hosted) => hosted_model(&hosted)?,
            Planner::Local(given) => local_model(given)?,
            Planner::Playbook => {
                return Err(usage("--planner playbook: it is built in and needs no model; nothing to try"));
            }
            Planner::Scripted(_) | Planner::Replay(_) => {
                return Err(usage(format!("--planner {spec}: it says what a file says; nothing to try")));
            }
        };
    eprintln!(
        "{} is asked up to {} questions, each for at most {} tokens; nothing of yours is sent",
        visible(&name),
        trial::QUESTIONS,
        trial::MOST_TOKENS
    );
    let mut trial = trial::of(&*model, source).await;
    trial.checks.insert(0, key);
    trial.checks.push(price(&facts));
    let can_plan = trial.can_plan;
    let price = facts.price.map(|Price { read, written }| PerMillion { read: read * 1e6, written: written * 1e6 });
    let found = Findings { planner: name, price, trial };
    if json {
        print_json(&found)?;
    } else {
        found.lines().iter().for_each(|line| print(&visible(line)));
    }
    Ok(if can_plan { 0 } else { 5 })
}

/// A model that is to be tried.
struct Opened {
    model: Box<dyn ChatModel>,
    name: String,
    key: Check,
    facts: Facts,
    /// Where its window is known from.
    source: &'static str,
}

fn hosted_model(hosted: &Hosted) -> Result<Opened, Failure> {
    let env = |name: &str| std::env::var(name).ok();
    let facts = hosted.facts(&env).map_err(usage)?;
    let endpoint = hosted.endpoint(&env).map_err(|error| Failure::new(5, error.message))?;
    // Whoever waits here has time for one more try, and no more.
    let pace = Pace { head: Duration::from_secs(120), tries: 2, ..Pace::default() };
    let model = OpenAi::with_pace(endpoint, 0, pace).map_err(|error| Failure::new(5, error))?;
    let source = if facts.window.is_some() { "from the catalogue" } else { "told by the server" };
    Ok(Opened { model: Box::new(model), name: model_name(hosted), key: key(hosted, &env), facts, source })
}

fn local_model(given: String) -> Result<Opened, Failure> {
    let model = Resident::open(&given, &Local::new(), 0);
    let model = model.map_err(|error| usage(format!("--planner local: {}", error.message)))?;
    let key = Check { name: "key", works: None, found: "none is needed".to_owned(), advice: None };
    Ok(Opened { model: Box::new(model), name: given, key, facts: Facts::FREE, source: "from its configuration" })
}

fn model_name(hosted: &Hosted) -> String {
    format!("{} at {}", hosted.model, hosted.base)
}

fn key(hosted: &Hosted, env: &dyn Fn(&str) -> Option<String>) -> Check {
    let set = |variable: &&str| env(variable).is_some_and(|value| !value.trim().is_empty());
    let (works, found) = match hosted.key {
        Some(variable) if set(&variable) => (Some(true), format!("{variable} is set")),
        Some(variable) if hosted.needs_key => (Some(false), format!("{variable} is not set")),
        Some(variable) => (None, format!("none; {variable} is not set")),
        None => (None, "none is needed".to_owned()),
    };
    Check { name: "key", works, found, advice: None }
}

fn price(facts: &Facts) -> Check {
    let (works, found, advice) = match facts.price {
        Some(Price::FREE) => (Some(true), "free".to_owned(), None),
        Some(Price { read, written }) => {
            (Some(true), format!("${:.2} read, ${:.2} written, for a million tokens", read * 1e6, written * 1e6), None)
        }
        None => {
            let advice = "--usd holds only where the provider says what a reply costs; put the price into models.toml";
            (None, "unknown".to_owned(), Some(advice.to_owned()))
        }
    };
    Check { name: "price", works, found, advice }
}

impl Findings {
    fn lines(&self) -> Vec<String> {
        let Trial { checks, can_plan, tokens_per_second, tokens, usd } = &self.trial;
        let word = |works: Option<bool>| match works {
            Some(true) => "yes",
            Some(false) => "no",
            None => "",
        };
        let mut rows: Vec<Vec<String>> = checks
            .iter()
            .map(|check| vec![format!("  {}", check.name), word(check.works).to_owned(), check.found.clone()])
            .collect();
        let speed = tokens_per_second.map_or("unknown".to_owned(), |speed| format!("{speed:.1} tokens a second"));
        let spent = tokens.map_or("tokens unknown".to_owned(), |tokens| format!("{tokens} tokens"));
        let paid = usd.map_or("dollars unknown".to_owned(), |usd| format!("${usd:.4}"));
        rows.push(vec!["  speed".into(), String::new(), speed]);
        rows.push(vec!["  spent".into(), String::new(), format!("{spent}, {paid}")]);
        let mut lines = vec![self.planner.clone()];
        lines.extend(table(&rows));
        let verdict = if *can_plan { "It can plan." } else { "It cannot plan." };
        lines.extend([String::new(), verdict.to_owned()]);
        let advice = checks.iter().filter_map(|check| Some(format!("  {}: {}", check.name, check.advice.as_ref()?)));
        lines.extend(advice);
        lines
    }
}
