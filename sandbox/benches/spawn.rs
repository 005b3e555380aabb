//! What confinement costs per command, against a bare spawn and against bubblewrap, all sides interleaved in one run.
//!
//! ```text
//! cargo bench -p tunesmith-sandbox --bench spawn [-- --rounds N] [--supervisor PROGRAM]
//! ```
//!
//! Every side runs `/usr/bin/true` from start to end once per round; sides take turns, each round begins with another one, and
//! figures are medians over all rounds but the first. This program is the supervisor itself unless `--supervisor` names
//! another one, for example `target/release/tunesmith`: the larger it is, the more its own start costs, which the side
//! `floor` shows. Nothing is asserted about times; the last line says whether the goal holds here.
//!
//! Bubblewrap is the side to compare with: `apt-get install bubblewrap`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use tunesmith_sandbox::{Job, Local, Mechanism, Status, Workdir, init_main};

type Outcome<T> = Result<T, Box<dyn Error>>;

const TRUE: &str = "/usr/bin/true";
/// The most that all layers together may add to a command.
const GOAL: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    if let Some(code) = init_main() {
        return code;
    }
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let all = arguments.len();
    arguments.retain(|argument| argument != "--bench");
    if arguments.len() == all {
        println!("skipped: `cargo test` runs no benchmark, `cargo bench` does");
        return ExitCode::SUCCESS;
    }
    match Options::parse(&arguments).and_then(|options| compare(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What the command line asks for.
struct Options {
    rounds: usize,
    supervisor: PathBuf,
}

impl Options {
    fn parse(arguments: &[String]) -> Outcome<Self> {
        let mut options = Options { rounds: 200, supervisor: std::env::current_exe()? };
        for pair in arguments.chunks(2) {
            match pair {
                [name, value] if name == "--rounds" => {
                    let rounds = value.parse().ok().filter(|rounds| *rounds >= 100);
                    options.rounds = rounds.ok_or(format!("--rounds is {value}; give a number of at least 100"))?;
                }
                [name, value] if name == "--supervisor" => options.supervisor = Path::new(value).canonicalize()?,
                _ => {
                    return Err(format!("{} is unknown; there are --rounds N and --supervisor PROGRAM", pair[0]).into());
                }
            }
        }
        Ok(options)
    }
}

/// One way to run a command, and how long each run took.
struct Side {
    name: &'static str,
    way: Way,
    times: Vec<Duration>,
}

enum Way {
    /// A program as it is, and whether it succeeds.
    Bare(Command, bool),
    /// Under a supervisor.
    Under(Local),
}

impl Side {
    fn bare(name: &'static str, program: &Path, arguments: &[&str], succeeds: bool) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Side { name, way: Way::Bare(command, succeeds), times: Vec::new() }
    }

    fn under(name: &'static str, local: Local) -> Self {
        Side { name, way: Way::Under(local), times: Vec::new() }
    }

    /// Runs the command once.
    async fn measure(&mut self, dir: &Workdir) -> Outcome<()> {
        let start = Instant::now();
        let fine = match &mut self.way {
            Way::Bare(command, succeeds) => command.status()?.success() == *succeeds,
            Way::Under(local) => local.spawn(dir, Job::new([TRUE]))?.wait().await.success(),
        };
        self.times.push(start.elapsed());
        if fine { Ok(()) } else { Err(format!("{TRUE} failed on the side `{}`", self.name).into()) }
    }

    /// The time that a share of all runs stayed below, without the first one, which warms up.
    fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.times.get(1..).unwrap_or_default().to_vec();
        sorted.sort();
        let at = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
        sorted.get(at).copied().unwrap_or_default()
    }

    fn median(&self) -> Duration {
        self.quantile(0.5)
    }
}

/// Runs all sides in turns and prints what they took.
#[tokio::main(flavor = "current_thread")]
async fn compare(options: &Options) -> Outcome<()> {
    let place = tempfile::tempdir()?;
    let dir = Workdir::open(place.path())?;
    let local = Local::with_init(options.supervisor.clone());
    let mut sides = sides(&local, &options.supervisor, &dir);
    for round in 0..=options.rounds {
        let count = sides.len();
        for turn in 0..count {
            sides[(round + turn) % count].measure(&dir).await?;
        }
    }
    let bytes = std::fs::metadata(&options.supervisor)?.len();
    println!(
        "{} rounds; the supervisor is {} with {:.1} MB",
        options.rounds,
        options.supervisor.display(),
        bytes as f64 / 1e6
    );
    for (layer, status) in local.layers().iter().filter(|(_, status)| *status != Status::Enforced) {
        println!("  not fully in force: {layer}: {status}");
    }
    print(&sides);
    Ok(())
}

/// The first side is what all others are compared with.
fn sides(local: &Local, supervisor: &Path, dir: &Workdir) -> Vec<Side> {
    let without = |mechanism| local.clone().without(mechanism);
    let mut sides = vec![
        Side::bare("bare", Path::new(TRUE), &[], true),
        // Without a socket for its input it gives up at once, after its own start.
        Side::bare("floor", supervisor, &["sandbox-init", "open"], false),
        Side::under("supervisor only", local.clone().unconfined()),
        Side::under("all layers", local.clone()),
        Side::under("no namespaces", without(Mechanism::Namespaces)),
        Side::under("no Landlock", without(Mechanism::Landlock)),
        Side::under("neither", without(Mechanism::Namespaces).without(Mechanism::Landlock)),
    ];
    match bubblewrap(dir) {
        Ok(side) => sides.push(side),
        Err(why) => println!("no comparison with bubblewrap: {why}"),
    }
    sides
}

/// Debian's bubblewrap with about the same view: programs and libraries, a workdir, and a /proc and /dev of its own.
fn bubblewrap(dir: &Workdir) -> Outcome<Side> {
    let work = dir.path().to_str().ok_or("the directory for temporary files has a name that is no text")?;
    let mut arguments = vec!["--unshare-all", "--die-with-parent", "--ro-bind", "/usr", "/usr"];
    for folder in ["/lib", "/lib64", "/bin"] {
        arguments.extend(["--ro-bind-try", folder, folder]);
    }
    arguments.extend(["--proc", "/proc", "--dev", "/dev", "--bind", work, work, "--chdir", work, TRUE]);
    let tried = Command::new("bwrap").args(&arguments).output();
    let tried = tried.map_err(|error| format!("{error}; install it with `apt-get install bubblewrap`"))?;
    if !tried.status.success() {
        return Err(String::from_utf8_lossy(&tried.stderr).trim().into());
    }
    Ok(Side::bare("bwrap", Path::new("bwrap"), &arguments, true))
}

fn print(sides: &[Side]) {
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let Some(bare) = sides.first().map(Side::median) else { return };
    println!("{:<16} {:>8} {:>8} {:>8} {:>8} {:>8}", "ms", "10 %", "median", "90 %", "added", "x bare");
    for side in sides {
        // The fastest tenth is what it costs on a machine with nothing else to do.
        let [quick, median, slow] = [0.1, 0.5, 0.9].map(|share| millis(side.quantile(share)));
        let (added, ratio) = (median - millis(bare), median / millis(bare));
        println!("{:<16} {quick:>8.2} {median:>8.2} {slow:>8.2} {added:>8.2} {ratio:>8.2}", side.name);
    }
    let Some(full) = sides.iter().find(|side| side.name == "all layers") else { return };
    let added = full.median().saturating_sub(bare);
    let verdict = if added <= GOAL { "holds" } else { "does not hold" };
    println!("goal: all layers add at most {:.0} ms: {verdict}, {:.2} ms", millis(GOAL), millis(added));
}
