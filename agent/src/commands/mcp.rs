//! `tunesmith mcp`: our tools for other agents.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use rmcp::{ServiceExt, transport::stdio_pipes};
use tokio::net::TcpListener;
use tunesmith_harness::{figures::counted, text::visible};
use tunesmith_sandbox::{Cancel, Workdir};
use tunesmith_tools::{
    bases::{self, Base, BaseError, NANO},
    registry,
};

use super::{numbers::positive, require::Require, run::Sandboxes, runs::Kept, usage};
use crate::{
    config::Config,
    mcp::{
        http,
        serve::{Server, Shop},
    },
    run::{DATA, Failure, Served},
};

const EXAMPLE: &str = "\
Examples:
  tunesmith mcp --file tickets.csv                          over standard input and output, as agents start it
  tunesmith mcp --file tickets.csv --http 127.0.0.1:8765    over streamable HTTP, for those who have the printed token

The rows are sealed as for a run: callers work on the open ones, in data/train.jsonl of a directory of their own. Jobs are
confined, without network and without keys. Calls are done one after the other.";

/// Serve the tools to other agents, over the Model Context Protocol
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// Serve streamable HTTP at this address, for example 127.0.0.1:8765 [default: standard input and output]
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// A name by which others may reach this machine, without which --http is for this machine alone; may be repeated
    #[arg(long = "host", value_name = "NAME", requires = "http")]
    hosts: Vec<String>,
    /// Rows to work on: files, folders and patterns, as for run; may be repeated
    #[arg(long = "file", value_name = "PATH")]
    files: Vec<PathBuf>,
    /// Model to start from: nano, a directory or a .gguf file [default: nano]
    #[arg(long, value_name = "MODEL")]
    base: Option<String>,
    #[command(flatten)]
    kept: Kept,
    /// Time for each call
    #[arg(long, value_name = "N", default_value = "60", value_parser = positive)]
    minutes: f64,
    /// Seed of everything random
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    require: Require,
}

/// Serves until the caller has gone or the command is cancelled.
pub async fn main(args: Args, cancel: &Cancel) -> Result<u8, Failure> {
    let config = Config::here()?;
    config.note().iter().for_each(|note| eprintln!("note: {}", visible(note)));
    let listener = match &args.http {
        Some(address) => Some(listen(*address, !args.hosts.is_empty()).await?),
        None => None,
    };
    let jobs = args.require.jobs(Sandboxes::On)?;
    let base = args.base.or(config.values.base).unwrap_or_else(|| NANO.into());
    let base = match bases::resolve(&base, Path::new("")) {
        Err(BaseError::HubId(id)) => {
            return Err(usage(format!(
                "{id} is on the Hub; fetch it first with: tunesmith hub download {id} --out DIR"
            )));
        }
        found => found.map_err(|error| usage(error.to_string()))?,
    };
    let dir = args.kept.dir()?;
    let base = if let Base::Path(path) = base { Base::Path(super::work::input(&path)?) } else { base };
    let served = Served::new(&dir, &args.files, base, Timestamp::now())?;
    let about = about(&served);
    eprintln!("{}: {}", visible(&served.run.dir().display().to_string()), visible(&about));
    let work = served.run.work();
    let shop = Shop {
        registry: registry::all(),
        dir: Workdir::open(&work).map_err(|error| Failure::new(70, error))?,
        jobs,
        base: served.base,
        seed: args.seed,
        limit: Duration::from_secs_f64(args.minutes * 60.0),
        about,
    };
    let server = Server::new(shop);
    match listener {
        Some(listener) => over_http(server, listener, &args.hosts, cancel).await?,
        None => over_stdio(server, cancel).await?,
    }
    Ok(0)
}

/// What a caller is told first.
fn about(served: &Served) -> String {
    let data = DATA.trim_start_matches("work/");
    match &served.rows {
        Some(rows) => format!(
            "Fine-tunes small language models. {} to work on in {data}; {} more are sealed, to measure the result on.",
            counted(rows.open, "row"),
            rows.sealed
        ),
        None => {
            "Fine-tunes small language models. There are no rows yet: write them into the workdir with shell.".into()
        }
    }
}

/// An address beyond this machine needs the names by which it may be reached.
async fn listen(address: SocketAddr, named: bool) -> Result<TcpListener, Failure> {
    if !http::is_local(&address) && !named {
        let why = format!("--http {address}: others could reach that address; say by which name with --host NAME");
        return Err(usage(why));
    }
    TcpListener::bind(address).await.map_err(|error| Failure::new(5, format!("--http {address}: {error}")))
}

async fn over_http(server: Server, listener: TcpListener, hosts: &[String], cancel: &Cancel) -> Result<(), Failure> {
    let failed = |error| Failure::new(70, error);
    let (token, address) = (http::token().map_err(failed)?, listener.local_addr().map_err(failed)?);
    // The one secret that is meant to be read, so it does not go the way on which secrets are hidden.
    let mut out = io::stdout();
    writeln!(out, "url    http://{address}{}\ntoken  {token}", http::PATH)
        .and_then(|()| out.flush())
        .map_err(failed)?;
    http::serve(server, listener, hosts, &token, cancel).await.map_err(failed)
}

async fn over_stdio(server: Server, cancel: &Cancel) -> Result<(), Failure> {
    let failed = |error: String| Failure::new(5, format!("the caller cannot be served: {error}"));
    let service = tokio::select! {
        service = server.serve(stdio_pipes()) => service.map_err(|error| failed(error.to_string()))?,
        () = cancel.cancelled() => return Ok(()),
    };
    let stop = service.cancellation_token();
    tokio::select! {
        ended = service.waiting() => drop(ended.map_err(|error| failed(error.to_string()))?),
        () = cancel.cancelled() => stop.cancel(),
    }
    Ok(())
}
