//! The models that write and judge rows, as the user names them.

use std::path::Path;

use tunesmith_harness::{
    ask::{Ask, Price},
    text::visible,
};
use tunesmith_sandbox::{Cancel, Local};
use tunesmith_tools::bases;

use crate::{
    commands::{
        usage,
        work::{Bench, failure},
    },
    model::{ChatModel, asker::Asker, local::LocalModel, openai, spec::Planner},
    run::{self, Failure},
};

/// A model that the user named.
pub enum Named {
    /// A model in files.
    Local(String),
    /// One that can plan as well.
    Planner(Planner),
}

impl Named {
    /// What it is called.
    pub fn name(&self) -> String {
        match self {
            Named::Local(path) => format!("local:{path}"),
            Named::Planner(planner) => planner.name(),
        }
    }

    /// What it costs, where that is known.
    pub fn price(&self) -> Option<Price> {
        match self {
            Named::Local(_) => Some(Price::FREE),
            Named::Planner(planner) => planner.price(&|name| std::env::var(name).ok()),
        }
    }
}

/// The model that a spec names; `option` is where it stands.
pub fn named(option: &str, spec: Option<&str>) -> Result<Option<Named>, Failure> {
    let Some(spec) = spec else { return Ok(None) };
    if let Some(model) = spec.trim().strip_prefix("local:") {
        bases::resolve(model, Path::new("")).map_err(|error| usage(format!("{option}: {error}")))?;
        return Ok(Some(Named::Local(model.into())));
    }
    match run::named(spec).map_err(|error| usage(format!("{option}: {}", error.message)))? {
        Planner::Playbook => Err(usage(format!("{option}: the playbook is no language model; name one"))),
        Planner::Hosted(hosted) if hosted.base.contains('?') => {
            Err(usage(format!("{option}: an address must not hold a query; keys belong into variables")))
        }
        planner => Ok(Some(Named::Planner(planner))),
    }
}

/// What speaks to a model that can plan.
pub fn open(named: Option<&Named>, jobs: &Local, seed: u64) -> Result<Option<Box<dyn ChatModel>>, Failure> {
    let Some(Named::Planner(planner)) = named else { return Ok(None) };
    let opened = planner.open(&|name| std::env::var(name).ok(), jobs, seed);
    let model = opened.map_err(|error| Failure::new(5, error.message.replace(", or use --planner playbook", "")))?;
    if let Planner::Hosted(hosted) = planner
        && !openai::is_loopback(&hosted.base)
    {
        eprintln!("seed rows and questions are sent to {} ({})", visible(&hosted.base), visible(&hosted.model));
    }
    Ok(model)
}

/// What answers questions.
pub async fn ask<'a>(
    named: Option<Named>,
    model: Option<&'a dyn ChatModel>,
    bench: &'a Bench<'_>,
    (price, cancel): (Option<Price>, &Cancel),
) -> Result<Option<Box<dyn Ask + 'a>>, Failure> {
    Ok(match (named, model) {
        (Some(Named::Planner(planner)), Some(model)) => Some(Box::new(Asker {
            model,
            name: planner.name(),
            price: price.or(planner.price(&|name| std::env::var(name).ok())),
            budget: None,
            cancel: cancel.clone(),
        })),
        (Some(Named::Local(given)), _) => {
            let base = bench.model(&given).await?;
            let opened = LocalModel::open(&given, base, bench.private()?, bench.jobs(), cancel).await;
            Some(Box::new(opened.map_err(failure)?))
        }
        _ => None,
    })
}
