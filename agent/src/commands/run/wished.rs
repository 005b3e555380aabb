//! Models and data sets that a request wishes for and that are not here yet.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use tunesmith_harness::{
    budget::{Budget, Caps},
    task::Task,
    text::visible,
};
use tunesmith_sandbox::Cancel;
use tunesmith_tools::{
    bases::{self, Base},
    hub::{Kind, RepoId, download::Choice, search::Filters},
};

use super::{hub, making::Unmade};
use crate::{
    playbook::{
        request::{self, Wanted},
        wishes,
    },
    run::{Failure, Options, named, shown},
};

/// What the request wishes for, where the playbook plans and nothing stands against the plan yet.
fn wanted(options: &Options) -> Result<Option<Wanted>, Failure> {
    let playbook = named(&options.planner)? == crate::run::Planner::Playbook;
    let wanted = request::read(&options.task.request).filter(|_| playbook);
    Ok(wanted.filter(|wanted| wanted.beyond.is_empty() && wanted.questions.is_empty()))
}

/// What to do where what the request wishes for came too late.
pub const LATE: &str = "the time for the run's steps was over before its base and its rows were there; what has come is kept: \
                        give it more --minutes";

/// When all of it must be there: a run's time counts from the beginning, and some of it is kept for the grading.
pub fn deadline(options: &Options) -> Option<Instant> {
    let minutes = options.task.minutes.or_else(|| request::read(&options.task.request)?.minutes);
    let caps = Caps::of(&Task { minutes, ..options.task.clone() });
    Budget::new(caps, options.ahead?.since).deadline_for_steps()
}

/// Names the base and fetches the rows that the request wishes for; gives those that a model is to make up.
pub async fn gather(options: &mut Options, teacher: Option<&str>, cancel: &Cancel) -> Result<Option<Unmade>, Failure> {
    let Some(wanted) = wanted(options)? else { return Ok(None) };
    if options.task.base.is_none() {
        options.task.base = path(&options.task.request)?;
    }
    match options.task.base.clone() {
        Some(base) => options.task.base = Some(among(&wanted, &base)?.unwrap_or(base)),
        None => options.task.base = base(&wanted, options, cancel).await?,
    }
    let unmade = Unmade::of(&wanted, options, teacher)?;
    if let Some(id) = &wanted.dataset {
        let files = rows(id, options, cancel).await?;
        options.task.files = files;
    }
    Ok(unmade)
}

/// A model, or a directory of some, that the request names by its path.
fn path(request: &str) -> Result<Option<String>, Failure> {
    let paths = request::paths(request);
    let holds = |path: &&String| {
        let folders = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_model =
            |path: &Path| path.join("config.json").is_file() || path.extension().is_some_and(|e| e == "gguf");
        is_model(Path::new(path)) || folders.into_iter().any(|path| is_model(&path))
    };
    if let Some(missing) = paths.iter().find(|path| !Path::new(path).exists()) {
        return Err(Failure::new(
            5,
            format!("the request names {}, which is not there; check the path", visible(missing)),
        ));
    }
    Ok(paths.iter().find(holds).cloned())
}

/// The base that the request itself names: a path, an id, or what a search finds.
async fn base(wanted: &Wanted, options: &Options, cancel: &Cancel) -> Result<Option<String>, Failure> {
    match &wanted.base.name {
        Some(name) if name.contains('/') => Ok(Some(name.clone())),
        _ if wanted.base.search => searched(wanted, options, cancel).await.map(Some),
        _ => Ok(None),
    }
}

/// Of a directory with several models, the one that fits best; `None` where `base` is no such directory.
fn among(wanted: &Wanted, base: &str) -> Result<Option<String>, Failure> {
    let folder = Path::new(base);
    if !folder.is_dir() || folder.join("config.json").is_file() {
        return Ok(None);
    }
    let entries = std::fs::read_dir(folder).map_err(|e| Failure::new(2, format!("{}: {e}", shown(folder))))?;
    let mut names: Vec<String> = entries.flatten().map(|entry| entry.path().display().to_string()).collect();
    names.sort();
    let models: Vec<(String, Base)> = names
        .into_iter()
        .filter_map(|name| bases::resolve(&name, Path::new("")).ok().map(|base| (name, base)))
        .collect();
    if models.is_empty() {
        return Ok(None);
    }
    let size = |base: &Base| wishes::parameters(base).unwrap_or(u64::MAX);
    let fitting = models.iter().filter(|(name, base)| wishes::check(wanted, name, base).is_ok());
    // The smallest is trained and shipped soonest, and a larger one can be asked for.
    let chosen = match wanted.base.largest {
        true => fitting.max_by_key(|(_, base)| size(base)),
        false => fitting.min_by_key(|(_, base)| size(base)),
    };
    let Some((name, _)) = chosen else {
        let (count, place) = (models.len(), shown(folder));
        let why = format!("none of the {count} models in {place} is what the request asks for; name one with --base");
        return Err(Failure::new(5, why));
    };
    let wished = match wanted.base.parameters {
        Some(_) => "of the size that was asked for",
        None if wanted.base.largest => "the largest that fits the request",
        None => "the smallest that fits the request",
    };
    eprintln!("base: {} of {} models in {}, {wished}", visible(name), models.len(), shown(folder));
    Ok(Some(name.clone()))
}

/// The most downloaded model of the Hub that can be trained here and fits the request.
async fn searched(wanted: &Wanted, options: &Options, cancel: &Cancel) -> Result<String, Failure> {
    consent(options, "the request has the Hub searched for a base")?;
    let around = wanted.base.parameters;
    let filters = Filters {
        licence: wanted.licence.clone().filter(|licence| licence != "permissive"),
        task: Some("text-generation".into()),
        min_parameters: around.filter(|_| !wanted.base.at_most).map(|n| n / 2),
        max_parameters: Some(match around {
            Some(n) if wanted.base.at_most => n,
            Some(n) => n.saturating_mul(2),
            None => 1_000_000_000,
        }),
        limit: 50,
        ..Filters::default()
    };
    let hub = crate::hub::open().map_err(hub::failure)?;
    let query = wanted.base.name.clone().unwrap_or_default();
    let found = hub::unless_cancelled(hub.search_models(&query, &filters), cancel).await?;
    let found = found.ok_or_else(|| Failure::new(super::super::stop::CANCELLED, "cancelled"))?;
    let free = |hit: &tunesmith_tools::hub::search::Hit| {
        use tunesmith_tools::hub::licence::{Class, Terms};
        wanted.licence.as_deref() != Some("permissive") || Terms::of(hit.licence.as_deref()).class == Class::Permissive
    };
    let hit = found.hits.into_iter().find(|hit| hit.trainable == Some(true) && hit.gated != Some(true) && free(hit));
    let hit = hit.ok_or_else(|| {
        Failure::new(
            5,
            "no model of the Hub that was looked at can be trained here and fits the request; name one with --base",
        )
    })?;
    let licence = hit.licence.as_deref().unwrap_or("not stated");
    eprintln!(
        "base: {} is the most downloaded one that fits the request, licence {}",
        visible(&hit.id),
        visible(licence)
    );
    Ok(hit.id)
}

/// Rows of a data set of the Hub: those to train on, where it is divided.
async fn rows(id: &str, options: &Options, cancel: &Cancel) -> Result<Vec<PathBuf>, Failure> {
    if !options.task.files.is_empty() {
        let why =
            format!("the request names the data set {} and --file gives rows too; leave one of them out", visible(id));
        return Err(Failure::new(5, why));
    }
    consent(options, &format!("the data set {} is on the Hub", visible(id)))?;
    let id: RepoId = id.parse().map_err(hub::failure)?;
    let hub = crate::hub::open().map_err(hub::failure)?;
    let cancelled = || Failure::new(super::super::stop::CANCELLED, "cancelled");
    let choice = Choice::default();
    let plan = hub::unless_cancelled(hub.plan(Kind::Dataset, &id, &choice), cancel).await?.ok_or_else(cancelled)?;
    eprintln!(
        "data: {} at commit {}, licence {}",
        plan.source.id,
        plan.source.commit,
        visible(&hub::terms(&plan.source.licence))
    );
    let on = |_: &str, _: u64| {};
    let path = hub::unless_cancelled(hub.download_cached(&plan, &on), cancel).await?.ok_or_else(cancelled)?;
    let is_rows = |name: &&str| {
        [".csv", ".tsv", ".json", ".jsonl", ".parquet", ".gz", ".zst"].iter().any(|ending| name.ends_with(ending))
    };
    let names: Vec<&str> = plan.source.files.iter().map(|file| file.path.as_str()).filter(is_rows).collect();
    let train: Vec<&str> = names.iter().copied().filter(|name| name.contains("train")).collect();
    let chosen = if train.is_empty() { names } else { train };
    if chosen.is_empty() {
        return Err(Failure::new(
            5,
            format!("the data set {id} has no files of rows that can be read here; name another one"),
        ));
    }
    Ok(chosen.into_iter().map(|name| path.join(name)).collect())
}

/// Whether the user allowed the Hub's host.
pub fn consent(options: &Options, why: &str) -> Result<(), Failure> {
    if crate::hub::allowed(&options.allow) {
        return Ok(());
    }
    let host = crate::hub::host();
    Err(Failure::new(5, format!("{why}: allow it with --allow network:{host}, or leave it out of the request")))
}
