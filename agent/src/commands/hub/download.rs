//! `hub download`.

use std::path::{Path, PathBuf};

use serde_json::json;
use tunesmith_harness::{
    figures::{bytes, counted},
    text::visible,
};
use tunesmith_sandbox::Cancel;
use tunesmith_tools::{
    bases::{self, BaseError},
    hub::{
        self, RepoId,
        download::{Choice, Plan},
    },
};

use super::{CANCELLED, bar::Bar, fact, failure, kind, repo, terms, unless_cancelled};
use crate::{
    commands::{print, print_json, table::table},
    run::Failure,
};

/// `hub download`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  tunesmith hub download HuggingFaceTB/SmolLM2-135M --out smollm\n\n\
    Of a model, what it is read from is downloaded: safetensors, JSON and the tokenizer's files; never pickles.")]
pub struct Args {
    /// OWNER/NAME, or OWNER/NAME@REVISION
    #[arg(value_parser = repo)]
    id: RepoId,
    /// It is a data set
    #[arg(long)]
    dataset: bool,
    /// New directory [default: the Hub's cache, HF_HUB_CACHE]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Only this file; may be repeated
    #[arg(long, value_name = "PATH")]
    file: Vec<String>,
    /// All files, also those that can run code when they are read
    #[arg(long, conflicts_with = "file")]
    all: bool,
    /// Say what would be downloaded, and download nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Files named that are left out.
const SHOWN: usize = 10;

/// Downloads.
pub async fn main(args: Args, cancel: &Cancel) -> Result<u8, Failure> {
    let hub = crate::hub::open().map_err(failure)?;
    let choice = Choice { all: args.all, only: args.file };
    let planned = hub.plan(kind(args.dataset), &args.id, &choice);
    let Some(plan) = unless_cancelled(planned, cancel).await? else { return Ok(CANCELLED) };
    if !args.json {
        lines(&plan).iter().for_each(|line| print(line));
    }
    if args.dry_run {
        return if args.json { print_json(&plan).map(|()| 0) } else { Ok(0) };
    }
    let bar = Bar::new(&format!("downloading {}", plan.source.id), plan.bytes);
    let on = |file: &str, done: u64| bar.at(file, done);
    let work = async {
        match &args.out {
            Some(out) => hub.download(&plan, out, &on).await.map(|()| out.clone()),
            None => hub.download_cached(&plan, &on).await,
        }
    };
    let path = unless_cancelled(work, cancel).await;
    drop(bar);
    let Some(path) = path? else { return Ok(CANCELLED) };
    if args.json {
        print_json(&json!({"path": path, "source": plan.source, "bytes": plan.bytes, "left_out": plan.left_out}))?;
    } else {
        print(&fact("in", path.display()));
    }
    Ok(0)
}

fn lines(plan: &Plan) -> Vec<String> {
    let source = &plan.source;
    let size = format!("{}, {}", counted(source.files.len(), "file"), bytes(plan.bytes));
    let mut lines = vec![
        fact(source.kind.word(), &source.id),
        fact("commit", &source.commit),
        fact("licence", terms(&source.licence)),
        fact("download", size),
    ];
    if !plan.left_out.is_empty() {
        let all: u64 = plan.left_out.iter().map(|file| file.size).sum();
        lines.push(fact("left out", format!("{}, {}", counted(plan.left_out.len(), "file"), bytes(all))));
        let shown = plan.left_out.iter().take(SHOWN);
        let rows: Vec<Vec<String>> =
            shown.map(|file| vec![format!("  {}", file.path), bytes(file.size), file.why.clone()]).collect();
        lines.extend(table(&rows));
        if plan.left_out.len() > SHOWN {
            lines.push(format!("  and {} more; --json has all", plan.left_out.len() - SHOWN));
        }
    }
    lines
}

/// A base from the Hub.
pub struct Base {
    /// Its id with the commit.
    pub id: RepoId,
    /// Where its files are.
    pub path: PathBuf,
}

/// The base of a run, where it is named by its id and not here: downloaded, where the user allows the Hub's host.
pub async fn allowed(name: Option<&str>, allow: &[String], cancel: &Cancel) -> Result<Option<Base>, Failure> {
    let Some(Err(BaseError::HubId(id))) = name.map(|name| bases::resolve(name, Path::new(""))) else { return Ok(None) };
    if !crate::hub::allowed(allow) {
        let host = crate::hub::host();
        let why = format!("the base {id} is on the Hub: allow it with --allow network:{host}, or download it first");
        return Err(Failure::new(5, why));
    }
    base(&id, cancel).await.map(Some)
}

/// A base named by its id, from the cache or else from the Hub, and what is said of it. Never another one.
pub async fn base(id: &RepoId, cancel: &Cancel) -> Result<Base, Failure> {
    let hub = crate::hub::open().map_err(failure)?;
    if let Some((path, commit)) = hub.cached(id).filter(|_| hub.is_offline()) {
        eprintln!("base: {} at commit {commit}, from the cache", visible(&id.to_string()));
        return Ok(Base { id: RepoId { revision: Some(commit), ..id.clone() }, path });
    }
    let cancelled = || Failure::new(CANCELLED, "cancelled");
    let plan = unless_cancelled(hub.plan(hub::Kind::Model, id, &Choice::default()), cancel).await?;
    let plan = plan.ok_or_else(cancelled)?;
    let licence = terms(&plan.source.licence);
    eprintln!("base: {} at commit {}, licence {}", plan.source.id, plan.source.commit, visible(&licence));
    let bar = Bar::new(&format!("downloading {}", plan.source.id), plan.bytes);
    let on = |file: &str, done: u64| bar.at(file, done);
    let path = unless_cancelled(hub.download_cached(&plan, &on), cancel).await?.ok_or_else(cancelled)?;
    Ok(Base { id: RepoId { revision: Some(plan.source.commit), ..id.clone() }, path })
}
