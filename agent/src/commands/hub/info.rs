//! `hub info`.

use tunesmith_harness::figures::{bytes, counted};
use tunesmith_sandbox::Cancel;
use tunesmith_tools::hub::{
    Kind, RepoId,
    info::{Info, RemoteFile},
};

use super::{CANCELLED, fact, failure, kind, repo, terms, unless_cancelled};
use crate::{
    commands::{
        print, print_json,
        table::{NONE, count, table},
    },
    run::Failure,
};

/// `hub info`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  tunesmith hub info HuggingFaceTB/SmolLM2-135M")]
pub struct Args {
    /// OWNER/NAME, or OWNER/NAME@REVISION
    #[arg(value_parser = repo)]
    id: RepoId,
    /// It is a data set
    #[arg(long)]
    dataset: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Files shown.
const FILES: usize = 40;

/// Says it.
pub async fn main(args: Args, cancel: &Cancel) -> Result<u8, Failure> {
    let hub = crate::hub::open().map_err(failure)?;
    let asked = hub.info(kind(args.dataset), &args.id);
    let Some(info) = unless_cancelled(asked, cancel).await? else { return Ok(CANCELLED) };
    match args.json {
        true => print_json(&info)?,
        false => lines(&info).iter().for_each(|line| print(line)),
    }
    Ok(0)
}

fn lines(info: &Info) -> Vec<String> {
    let mut lines = vec![
        fact(info.kind.word(), &info.id),
        fact("revision", format!("{} (commit {})", info.revision, info.commit)),
        fact("licence", terms(&info.licence)),
        fact("access", access(info)),
    ];
    if info.kind == Kind::Model {
        let parameters = info.parameters.map_or_else(|| "unknown".into(), count);
        let types: Vec<&str> = info.types.keys().map(String::as_str).collect();
        let types = if types.is_empty() { String::new() } else { format!(" ({})", types.join(", ")) };
        lines.push(fact("parameters", format!("{parameters}{types}")));
        lines.push(fact("architecture", info.architecture.as_deref().unwrap_or("unknown")));
        lines.push(fact("trainable", trainable(info)));
    }
    let number = |value: Option<u64>| value.map_or_else(|| NONE.to_owned(), count);
    lines.push(fact("popularity", format!("{} downloads, {} likes", number(info.downloads), number(info.likes))));
    lines.extend(info.modified.as_ref().map(|modified| fact("modified", modified)));
    lines.push(fact("files", format!("{}, {}", counted(info.files.len(), "file"), bytes(info.bytes))));
    let hash = |file: &RemoteFile| {
        let named = [("sha256", &file.sha256), ("git", &file.git)];
        let found = named.into_iter().find_map(|(kind, hash)| Some(format!("{kind} {:.12}", hash.as_ref()?)));
        found.unwrap_or_else(|| NONE.into())
    };
    let rows: Vec<Vec<String>> = info
        .files
        .iter()
        .take(FILES)
        .map(|file| vec![format!("  {}", file.path), bytes(file.size), hash(file)])
        .collect();
    lines.extend(table(&rows));
    if info.files.len() > FILES {
        lines.push(format!("  and {} more; --json has all", info.files.len() - FILES));
    }
    lines
}

fn access(info: &Info) -> &'static str {
    match (info.gated, info.private) {
        (Some(true), _) => "gated: its terms must be accepted first",
        (_, Some(true)) => "private",
        (Some(false), _) => "open",
        (None, _) => "unknown",
    }
}

fn trainable(info: &Info) -> String {
    let why = info.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    match info.trainable {
        Some(true) => "yes".into(),
        Some(false) => format!("no{why}"),
        None => format!("unknown{why}"),
    }
}
