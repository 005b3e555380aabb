//! `tunesmith sandbox`: any command, confined as a run's jobs are.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    time::Duration,
};

use serde_json::json;
use tunesmith_harness::text::visible;
use tunesmith_sandbox::{Cancel, Ended, Finished, Job, Layer, Limit, Limits, Line, Net, Status, Workdir};
use tunesmith_tools::confined;

use super::{numbers::positive, print_json, require::Require, run::Sandboxes, stop::CANCELLED, unprinted, usage};
use crate::run::Failure;

/// All hosts.
const EVERYTHING: &str = "*";
const EXAMPLE: &str = "\
Example:
  tunesmith sandbox --timeout 10 --memory 1G --require files,network -- python3 script.py

Exit codes:
  the command's own · 128 and the number of the signal that ended it · 124 a limit was reached · 2 usage or bad input
  5 a required layer is missing · 70 the command could not be run · 130 cancelled";

/// Run a command confined to a directory, without network
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
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
    /// Seconds of processor time of all its processes together [default: no limit]
    #[arg(long, value_name = "S", value_parser = positive)]
    cpu: Option<f64>,
    /// Most processes and threads at the same time [default: 512]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    processes: Option<u32>,
    /// Most bytes in the directory [default: 32G]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    disk: Option<u64>,
    /// Most files and directories in the directory [default: 1048576]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    files: Option<u64>,
    /// Size of the largest file [default: 16G]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    file_size: Option<u64>,
    /// Most bytes of output [default: 64M]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    output: Option<u64>,
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
    /// A file or directory that may be written as well; may be repeated
    #[arg(long = "write", value_name = "PATH")]
    writes: Vec<PathBuf>,
    #[command(flatten)]
    require: Require,
    /// Print one JSON object at the end, instead of the output as it comes
    #[arg(long)]
    json: bool,
    /// The command and its arguments
    #[arg(required = true, last = true)]
    command: Vec<String>,
}

/// What is said of a job that lacks a layer.
const REQUIRED: &str = " is required, and it is ";
/// Bytes that are printed at most where all is kept until the end; more with --output.
const JSON_OUTPUT: u64 = 4 << 20;

/// Runs it.
pub async fn main(args: Args, cancel: &Cancel) -> Result<u8, Failure> {
    let dir = Workdir::open(&args.dir).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => usage(format!("{}: there is no such directory; check --dir", args.dir.display())),
        _ => usage(error.to_string()),
    })?;
    let json = args.json;
    let jobs = args.require.jobs(Sandboxes::On)?;
    let job = args.job()?;
    let open = job.net == Net::Full;
    let mut running = jobs.spawn(&dir, job).map_err(|error| usage(error.to_string()))?;
    running.cancel_on(cancel);
    warn(missing(&jobs.missing()));
    let (mut lines, mut lost) = (Vec::new(), None);
    while let Some(line) = running.lines.recv().await {
        if json {
            lines.push(line);
        } else if let Err(error) = pass_on(&line) {
            lost = lost.or(unprinted(&error));
        }
    }
    let finished = running.wait().await;
    let mut found = finished.clone();
    // A network that was asked for is no surprise.
    let network = found.layers.iter_mut().filter(|(layer, _)| open && *layer == Layer::Network);
    network.for_each(|(_, status)| *status = Status::Enforced);
    warn(confined::less(&jobs, &found));
    super::work::tidy(&dir);
    let exit = exit_code(&finished);
    if json {
        print_json(&shown(&finished, &lines))?;
    } else {
        let refused = finished.refused_hosts.iter();
        let refused = refused.map(|host| format!("the command may not reach {host}; allow it with --net {host}"));
        refused.chain(trouble(&finished)).for_each(|why| eprintln!("{}", visible(&why)));
    }
    lost.map_or(Ok(exit), Err)
}

impl Args {
    fn job(self) -> Result<Job, Failure> {
        let mut job = Job::new(self.command);
        for name in self.env {
            let value = std::env::var(&name).map_err(|error| usage(format!("--env {name}: {error}")))?;
            job.env.insert(name, value);
        }
        let there =
            |paths: &[PathBuf]| paths.iter().map(|path| super::work::input(path)).collect::<Result<Vec<_>, _>>();
        job.reads = there(&self.reads)?;
        job.writes = there(&self.writes)?;
        if job.writes.iter().any(|path| path.parent().is_none()) {
            return Err(usage("--write /: the command may write all of it; name a directory below"));
        }
        job.net = match self.net {
            hosts if hosts.is_empty() => Net::None,
            hosts if hosts.iter().any(|host| host == EVERYTHING) => Net::Full,
            hosts => Net::Hosts(hosts),
        };
        let given = job.limits;
        job.limits = Limits {
            wall: Some(Duration::from_secs_f64(self.timeout)),
            cpu: self.cpu.map(Duration::from_secs_f64),
            memory: self.memory.or(given.memory),
            processes: self.processes.or(given.processes),
            file_bytes: self.file_size.or(given.file_bytes),
            files: self.files.or(given.files),
            disk_bytes: self.disk.or(given.disk_bytes),
            // Printed at the end, all of it is held in memory.
            output_bytes: self.output.or(if self.json { Some(JSON_OUTPUT) } else { given.output_bytes }),
        };
        Ok(job)
    }
}

/// What no command should run unnoticed without, and does here.
fn missing(layers: &[(Layer, Status)]) -> Option<String> {
    let names: Vec<String> = layers.iter().map(|(layer, status)| format!("{layer} ({status})")).collect();
    let names = names.join(", ");
    (!layers.is_empty()).then(|| format!("the sandbox is not whole here: {names}; see `tunesmith doctor`"))
}

/// On standard error, where programs that read the output are not disturbed.
fn warn(why: Option<String>) {
    why.iter().for_each(|why| eprintln!("warning: {}", visible(why)));
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
        // Nothing was started without a layer that is required.
        Ended::Failed(why) if why.contains(REQUIRED) => 5,
        Ended::Failed(_) => 70,
    }
}

fn trouble(finished: &Finished) -> Option<String> {
    match &finished.ended {
        Ended::Exit(_) | Ended::Cancelled => None,
        Ended::Signal(number) => Some(format!("the command was ended by signal {number}")),
        Ended::Limit(limit) => Some(
            match limit {
                Limit::Wall => "the time is up; give more with --timeout",
                Limit::Cpu => "the processor time is up; give more with --cpu",
                Limit::Memory => "the memory limit was reached; give more with --memory",
                Limit::Processes => "too many processes or threads; allow more with --processes",
                Limit::FileSize => "a file became too large; allow larger ones with --file-size",
                Limit::Disk => "the directory became too large; allow more with --disk",
                Limit::Files => "too many files in the directory; allow more with --files",
                Limit::Output => "too much output; allow more with --output",
            }
            .to_owned(),
        ),
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
    fn what_is_missing_is_named_in_one_line() {
        assert_eq!(missing(&[]), None);
        let layers = [
            (Layer::Files, Status::Unavailable("no Landlock".into())),
            (Layer::Network, Status::Partial("only TCP".into())),
        ];
        assert_eq!(
            missing(&layers).unwrap(),
            "the sandbox is not whole here: files (unavailable: no Landlock), network (partial: only TCP); see \
             `tunesmith doctor`"
        );
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(["512M", "2g", "1K", "7"].map(|text| size(text).unwrap()), [512 << 20, 2 << 30, 1024, 7]);
        for wrong in ["", "M", "-1", "0", "1.5G", "99999999999G", "é"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
