//! `tunesmith sandbox`: any command, confined as a run's jobs are.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    time::Duration,
};

use serde_json::json;
use tunesmith_harness::text::visible;
use tunesmith_sandbox::{Cancel, Ended, Finished, Job, Limit, Line, Local, Net, Workdir};

use super::{numbers::positive, print_json, stop::CANCELLED, unprinted, usage};
use crate::run::Failure;

/// All hosts.
const EVERYTHING: &str = "*";

/// Run a command confined to a directory, without network
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  tunesmith sandbox --timeout 10 --memory 1G -- python3 script.py\n\nThe exit code is the \
command's; 128 and the number where a signal ended it, 124 where a limit did."
)]
pub struct Args {
    /// Directory that the command may write
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Seconds until it is stopped
    #[arg(long, value_name = "S", default_value = "600", value_parser = positive)]
    timeout: f64,
    /// Most memory, for example 512M or 2G [default: three quarters of the machine's]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,
    /// Allow the network: HOST, HOST:PORT or *.DOMAIN, through a proxy for http and https that the command's environment
    /// names; may be repeated; everything without a value
    #[arg(long, value_name = "HOST", num_args(0..=1), default_missing_value = EVERYTHING)]
    net: Vec<String>,
    /// Hand on a variable of the environment; may be repeated
    #[arg(long = "env", value_name = "NAME")]
    env: Vec<String>,
    /// A file or directory that may be read as well; may be repeated
    #[arg(long = "read", value_name = "PATH")]
    reads: Vec<PathBuf>,
    /// Print one JSON object at the end, instead of the output as it comes
    #[arg(long)]
    json: bool,
    /// The command and its arguments
    #[arg(required = true, last = true)]
    command: Vec<String>,
}

/// Runs it.
pub async fn main(args: Args, cancel: &Cancel) -> Result<u8, Failure> {
    let dir = Workdir::open(&args.dir).map_err(|error| usage(format!("{}: {error}", args.dir.display())))?;
    let mut job = Job::new(args.command);
    for name in &args.env {
        let value = std::env::var(name).map_err(|error| usage(format!("--env {name}: {error}")))?;
        job.env.insert(name.clone(), value);
    }
    job.reads = args.reads.iter().map(|path| super::work::input(path)).collect::<Result<_, _>>()?;
    job.net = match args.net {
        hosts if hosts.is_empty() => Net::None,
        hosts if hosts.iter().any(|host| host == EVERYTHING) => Net::Full,
        hosts => Net::Hosts(hosts),
    };
    job.limits.wall = Some(Duration::from_secs_f64(args.timeout));
    job.limits.memory = args.memory.or(job.limits.memory);
    let mut running = Local::new().spawn(&dir, job).map_err(|error| usage(error.to_string()))?;
    running.cancel_on(cancel);
    let (mut lines, mut lost) = (Vec::new(), None);
    while let Some(line) = running.lines.recv().await {
        if args.json {
            lines.push(line);
        } else if let Err(error) = pass_on(&line) {
            lost = lost.or(unprinted(&error));
        }
    }
    let finished = running.wait().await;
    super::work::tidy(&dir);
    let exit = exit_code(&finished);
    if args.json {
        print_json(&shown(&finished, &lines))?;
    } else {
        let refused = finished.refused_hosts.iter();
        let refused = refused.map(|host| format!("the command may not reach {host}; allow it with --net {host}"));
        refused.chain(trouble(&finished)).for_each(|why| eprintln!("{}", visible(&why)));
    }
    lost.map_or(Ok(exit), Err)
}

/// A terminal gets no control characters from a command that is not trusted; a file gets the bytes.
fn pass_on(line: &Line) -> io::Result<()> {
    match line {
        Line::Out(text) if io::stdout().is_terminal() => writeln!(io::stdout(), "{}", visible(text)),
        Line::Out(text) => writeln!(io::stdout(), "{text}"),
        Line::Err(text) if io::stderr().is_terminal() => writeln!(io::stderr(), "{}", visible(text)),
        Line::Err(text) => writeln!(io::stderr(), "{text}"),
    }
}

fn shown(finished: &Finished, lines: &[Line]) -> serde_json::Value {
    let out: Vec<&str> =
        lines.iter().filter_map(|l| if let Line::Out(text) = l { Some(text.as_str()) } else { None }).collect();
    let err: Vec<&str> =
        lines.iter().filter_map(|l| if let Line::Err(text) = l { Some(text.as_str()) } else { None }).collect();
    let layers: Vec<_> =
        finished.layers.iter().map(|(layer, status)| json!({"layer": layer, "status": status})).collect();
    json!({
        "ended": finished.ended,
        "seconds": finished.wall.as_secs_f64(),
        "cpu_seconds": finished.cpu.map(|cpu| cpu.as_secs_f64()),
        "peaks": finished.peaks,
        "stdout": out,
        "stderr": err,
        "layers": layers,
        "refused_hosts": finished.refused_hosts,
    })
}

fn exit_code(finished: &Finished) -> u8 {
    match &finished.ended {
        Ended::Exit(code) => u8::try_from(*code & 0xff).unwrap_or(1),
        Ended::Signal(number) => u8::try_from(128 + (number & 0x7f)).unwrap_or(128),
        Ended::Limit(_) => 124,
        Ended::Cancelled => CANCELLED,
        Ended::Failed(_) => 70,
    }
}

fn trouble(finished: &Finished) -> Option<String> {
    match &finished.ended {
        Ended::Exit(_) | Ended::Cancelled => None,
        Ended::Signal(number) => Some(format!("the command was ended by signal {number}")),
        Ended::Limit(limit) => Some(match limit {
            Limit::Wall => "the time is up; give more with --timeout".to_owned(),
            Limit::Memory => "the memory limit was reached; give more with --memory".to_owned(),
            other => format!("a limit was reached: {other:?}"),
        }),
        Ended::Failed(why) => Some(format!("the command could not be run: {why}")),
    }
}

/// `512M`, `2G`, `800K`, or bytes.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong = || "write it as a number with K, M or G, for example 512M".to_owned();
    let (digits, factor) = match text.chars().last().map(|c| c.to_ascii_uppercase()) {
        Some('K') => (&text[..text.len() - 1], 1 << 10),
        Some('M') => (&text[..text.len() - 1], 1 << 20),
        Some('G') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(factor).filter(|bytes| *bytes > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(["512M", "2g", "1K", "7"].map(|text| size(text).unwrap()), [512 << 20, 2 << 30, 1024, 7]);
        for wrong in ["", "M", "-1", "0", "1.5G", "99999999999G", "é"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
