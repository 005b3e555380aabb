//! `hub publish`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;
use tunesmith_harness::{
    figures::{bytes, counted},
    text::visible,
};
use tunesmith_sandbox::{Cancel, Workdir};
use tunesmith_tools::{
    hub::{
        Hub, HubError, Kind, RepoId,
        download::Source,
        licence::Terms,
        publish::{Contents, Gathered, Parcel, Published, Refusal, Stated, Wish, rows},
    },
    worker::Work,
};

use super::{CANCELLED, bar::Bar, fact, failure, repo, unless_cancelled};
use crate::{
    commands::{print, print_json, require::Require, table::table, work::Bench},
    run::{Failure, Options},
};

/// `hub publish`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  tunesmith hub publish adapter --to me/tickets --base HuggingFaceTB/SmolLM2-135M --dry-run\n\n\
    Nothing is sent without --allow publish:OWNER/NAME. Links, unknown kinds of files, secrets and the sealed rows of a\n\
    run are refused."
)]
pub struct Args {
    /// Directory of an adapter, a model or rows
    dir: PathBuf,
    /// Where it goes
    #[arg(long, value_name = "OWNER/NAME", value_parser = repo)]
    to: RepoId,
    /// Let everybody see it [default: private]
    #[arg(long)]
    public: bool,
    /// Licence to state [default: what base and data agree on, else other]
    #[arg(long, value_name = "TAG")]
    licence: Option<String>,
    /// Base that it was trained from: a Hub id, whose licence is looked up, a downloaded directory, or a name
    #[arg(long, value_name = "NAME")]
    base: Option<String>,
    /// Licence of the base, where the Hub cannot say
    #[arg(long, value_name = "TAG")]
    base_licence: Option<String>,
    /// Data that it was made of: a Hub id, whose licence is looked up, a downloaded directory, or a name
    #[arg(long, value_name = "NAME")]
    data: Option<String>,
    /// Licence of the data, where the Hub cannot say
    #[arg(long, value_name = "TAG")]
    data_licence: Option<String>,
    /// The run that made it [default: the one whose directory it stands in]
    #[arg(long, value_name = "RUN")]
    run: Option<PathBuf>,
    /// Results of `eval --tasks ... --out` for the card; may be repeated
    #[arg(long, value_name = "DIR")]
    results: Vec<PathBuf>,
    /// What is allowed: publish:OWNER/NAME
    #[arg(long, value_name = "CAPABILITY")]
    allow: Vec<String>,
    /// Say exactly what would be sent, and send nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    require: Require,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Shows, and sends.
pub async fn main(args: Args, cancel: &Cancel) -> Result<u8, Failure> {
    if args.to.revision.is_some() {
        return Err(failure(HubError::Name(args.to.to_string())));
    }
    let hub = crate::hub::open().map_err(failure)?;
    let Some(parcel) = parcel(&args, &hub, cancel).await? else { return Ok(CANCELLED) };
    if !args.json {
        lines(&parcel).iter().for_each(|line| print(line));
    }
    if args.dry_run {
        return if args.json { print_json(&json!({"parcel": parcel, "published": null})).map(|()| 0) } else { Ok(0) };
    }
    let allowed = format!("publish:{}", args.to.id());
    if !args.allow.contains(&allowed) {
        let why = format!(
            "nothing was sent: publishing needs your consent; look at what would be sent, then say --allow {allowed}"
        );
        return Err(Failure::new(5, why));
    }
    let bar = Arc::new(Bar::new(&format!("publishing {}", args.to), parcel.bytes));
    let (shown, name) = (bar.clone(), args.to.to_string());
    let sent = hub.publish(&parcel, Box::new(move |done| shown.at(&name, done)));
    let done = unless_cancelled(sent, cancel).await;
    drop(bar);
    let Some(published) = done? else { return Ok(CANCELLED) };
    if args.json {
        print_json(&json!({"parcel": parcel, "published": published}))?;
    } else {
        print(&fact("published", format!("{} (commit {})", published.url, published.commit)));
        if published.private && !parcel.private {
            print(&fact("access", "still private, as it was before: its settings on the Hub make it public"));
        }
    }
    Ok(0)
}

/// What a run would send, exactly.
pub struct Shipment {
    hub: Hub,
    parcel: Parcel,
}

impl Shipment {
    /// It in words, line by line.
    pub fn lines(&self) -> Vec<String> {
        lines(&self.parcel)
    }

    /// Files and bytes.
    pub fn size(&self) -> (usize, u64) {
        (self.parcel.files.len(), self.parcel.bytes)
    }

    /// Sends it, unless it is there already.
    pub async fn send(&self, cancel: &Cancel) -> Result<Published, Failure> {
        let sent = unless_cancelled(self.hub.publish(&self.parcel, Box::new(|_| {})), cancel).await?;
        sent.ok_or_else(|| Failure::new(CANCELLED, "cancelled"))
    }
}

/// Gathers what a run has made; nothing is sent yet.
pub async fn of_run(
    (made, to, public): (&Path, &RepoId, bool),
    run: &Path,
    options: &Options,
    cancel: &Cancel,
) -> Result<Shipment, Failure> {
    let args = Args {
        dir: made.to_owned(),
        to: to.clone(),
        public,
        licence: None,
        base: options.task.base.clone(),
        base_licence: None,
        data: None,
        data_licence: None,
        run: Some(run.to_owned()),
        results: Vec::new(),
        allow: options.allow.clone(),
        dry_run: false,
        require: Require::default(),
        json: false,
    };
    let hub = crate::hub::open().map_err(failure)?;
    let parcel = parcel(&args, &hub, cancel).await?.ok_or_else(|| Failure::new(CANCELLED, "cancelled"))?;
    Ok(Shipment { hub, parcel })
}

/// What would be sent; `None` where the user cancels.
async fn parcel(args: &Args, hub: &Hub, cancel: &Cancel) -> Result<Option<Parcel>, Failure> {
    let named = async {
        let base = named(hub, Kind::Model, args.base.as_deref(), args.base_licence.as_deref()).await?;
        Ok((base, named(hub, Kind::Dataset, args.data.as_deref(), args.data_licence.as_deref()).await?))
    };
    let Some((base, data)) = unless_cancelled(named, cancel).await? else { return Ok(None) };
    let mut wish = Wish {
        dir: args.dir.clone(),
        to: args.to.clone(),
        public: args.public,
        licence: args.licence.clone(),
        base,
        data,
        run: args.run.clone(),
        results: args.results.clone(),
    };
    let blocked = |refusal: Refusal| Failure::new(5, refusal);
    let gathered = Gathered::of(&wish).map_err(blocked)?;
    if let Some(base) = gathered.base().filter(|_| wish.base == Stated::default()) {
        let Some(terms) = unless_cancelled(told(hub, &base), cancel).await? else { return Ok(None) };
        wish.base.terms = terms;
    }
    let parcel = match gathered.holds_rows() {
        false => gathered.parcel(&wish, None),
        true => {
            let bench = Bench::new(&args.require, cancel)?;
            let place = bench.private()?;
            let found = look(&gathered, &bench, &place).await?;
            gathered.parcel(&wish, Some((&found, place.path())))
        }
    };
    parcel.map(Some).map_err(blocked)
}

/// Looks at rows in a worker.
async fn look(gathered: &Gathered, bench: &Bench<'_>, place: &Workdir) -> Result<rows::Output, Failure> {
    let job = gathered.rows(place.path());
    let reads = job.reads();
    let found = bench.run(&Work::Outgoing(job), place, reads, "look at rows").await;
    // What is in the rows stands in the way of publishing them.
    found.map_err(|failure| Failure { exit: if failure.exit == 2 { 5 } else { failure.exit }, ..failure })
}

/// The name of a base or of data, and its licence: as the user says, else as its download says, else as the Hub says.
async fn named(hub: &Hub, kind: Kind, name: Option<&str>, licence: Option<&str>) -> Result<Stated, HubError> {
    let terms = licence.map(|licence| Terms::of(Some(licence)));
    let Some(name) = name else { return Ok(Stated { terms, ..Stated::default() }) };
    let path = Path::new(name);
    let named = |id: Option<RepoId>, terms| Stated { name: Some(name.to_owned()), id, terms };
    if let Some(source) = Source::of(path) {
        return Ok(named(source.repo(), terms.or(Some(source.licence))));
    }
    let id = Source::origin(path).or_else(|| name.parse().ok().filter(|_| !path.exists()));
    let terms = match (&id, terms) {
        (Some(repo), None) => Some(hub.terms(kind, repo).await?),
        (_, terms) => terms,
    };
    Ok(named(id, terms))
}

/// What the Hub says of a base that nobody named here. What it does not say is unknown, and that is told.
async fn told(hub: &Hub, base: &RepoId) -> Result<Option<Terms>, HubError> {
    let terms = hub.terms(Kind::Model, base).await;
    if let Err(error) = &terms {
        eprintln!("note: the licence of the base is unknown: {}", visible(&error.to_string()));
    }
    Ok(terms.ok())
}

fn lines(parcel: &Parcel) -> Vec<String> {
    let access = if parcel.private { "private" } else { "public: everybody will see it" };
    let size = format!("{}, {}", counted(parcel.files.len(), "file"), bytes(parcel.bytes));
    let mut lines = vec![fact("to", &parcel.to), fact("access", access), fact("sent", size)];
    let rows = parcel.files.iter().map(|file| vec![format!("  {}", file.path), bytes(file.size), file.sha256.clone()]);
    lines.extend(table(&rows.collect::<Vec<_>>()));
    lines.extend(parcel.kept_back.iter().map(|(path, why)| fact("kept back", format!("{path}: {why}"))));
    for part in &parcel.parts {
        let (shown, class) = (part.terms.shown(), part.terms.class.words());
        lines.push(fact(&part.role, format!("{}, licence {shown} ({class})", part.name)));
    }
    lines.push(fact("licence", format!("{} ({})", parcel.licence.licence, parcel.licence.class.words())));
    lines.extend(parcel.licence.limits.iter().map(|limit| fact("limit", limit)));
    if parcel.contents == Contents::Dataset {
        let sealed = match parcel.sealed_checked {
            Some(rows) => format!("none of the {rows} sealed rows of its run is in it"),
            None => "no run is known that it came from, so no sealed rows were looked for; --run names one".into(),
        };
        lines.push(fact("sealed", sealed));
    }
    lines.push(fact("card", "README.md, as it is sent"));
    lines.extend(parcel.card.lines().map(|line| format!("  {}", visible(line))));
    lines
}
