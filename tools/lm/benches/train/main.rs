//! LoRA training against PyTorch + PEFT, both sides interleaved in one run.
//!
//! ```text
//! cargo bench -p tunesmith-lm --bench train [-- --shape NAME] [--rounds N] [--steps N] [--threads N] [--sides all]
//! ```
//!
//! One step is what users get: forward, loss over all positions of 4 rows of 256 tokens, backward, clipping and AdamW, with
//! LoRA of rank 16 on all linear layers, in f32. Every measurement is a process of its own, so that its peak memory is its
//! own; sides take turns within a round, and figures are medians over the steps of all rounds without each process's first.
//! Nothing is asserted about absolute times. `--sides all` runs ours from a file in bf16 too, and PyTorch in bfloat16 and with
//! `torch.compile`: they are printed, and no part of what is compared.
//!
//! The Python side runs in an environment that is made below `target/` at first use, or in the Python that
//! `TUNESMITH_PEER_PYTHON` names.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

mod calls;
mod floor;
mod ours;
mod peer;
mod sample;
mod shapes;
#[path = "../shared/mod.rs"]
mod shared;

use floor::Floor;
use sample::{Sample, Samples};
use shapes::Shape;
use tunesmith_lm::{config::Config, kernels::Isa};

/// Rows per step.
pub const ROWS: usize = 4;
/// Tokens per row.
pub const LENGTH: usize = 256;
/// Rank of the adapters.
pub const RANK: usize = 16;

fn main() -> ExitCode {
    shared::start(run)
}

fn run(arguments: &[String]) -> Result<(), String> {
    let options = Options::parse(arguments)?;
    match options.child.as_deref() {
        Some("ours") => return ours::measure(options.shapes()?[0], options.steps, None).map(|sample| sample.print()),
        Some("stored") => {
            return ours::measure(options.shapes()?[0], options.steps, Some(&dir())).map(|sample| sample.print());
        }
        Some("store") => return ours::store(options.shapes()?[0], &dir()),
        Some("peak") => {
            println!("{}", floor::measure_peak());
            return Ok(());
        }
        Some(other) => return Err(format!("unknown child {other}")),
        None => {}
    }
    let peer = peer::Peer::find()?;
    for shape in options.shapes()? {
        compare(shape, &options, &peer)?;
    }
    Ok(())
}

/// What the command line asks for.
struct Options {
    shape: Option<String>,
    rounds: usize,
    steps: usize,
    threads: usize,
    /// Whether all sides are run.
    all: bool,
    /// Set in the processes that this one starts.
    child: Option<String>,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Options { shape: None, rounds: 3, steps: 4, threads: 2, all: false, child: None };
        for option @ (name, value) in shared::pairs(arguments)? {
            match name {
                "--shape" => options.shape = Some(value.to_owned()),
                "--rounds" => options.rounds = shared::number(option)?,
                "--steps" => options.steps = shared::number(option)?.max(2),
                "--threads" => options.threads = shared::number(option)?,
                "--sides" if value == "all" => options.all = true,
                "--child" => options.child = Some(value.to_owned()),
                _ => {
                    return Err(format!(
                        "unknown option {name} {value}; there are --shape, --rounds, --steps, --threads and --sides all"
                    ));
                }
            }
        }
        Ok(options)
    }

    fn shapes(&self) -> Result<Vec<&'static Shape>, String> {
        let Some(name) = &self.shape else { return Ok(shapes::ALL.iter().collect()) };
        Ok(vec![shapes::find(name)?])
    }

    /// Starts this program again as `child`.
    fn again(&self, child: &str, shape: &Shape) -> Result<String, String> {
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut command = std::process::Command::new(program);
        command.args(["--child", child, "--shape", shape.name, "--steps", &self.steps.to_string()]);
        command.env("RAYON_NUM_THREADS", self.threads.to_string());
        sample::output(&mut command)
    }
}

/// Where the weights are that are trained from a file.
fn dir() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-weights")
}

/// Runs all sides on `shape` in turns and prints what they reach.
fn compare(shape: &Shape, options: &Options, peer: &peer::Peer) -> Result<(), String> {
    let config = shape.config()?;
    let (mut ours, mut stored) = (Samples::new("tunesmith"), Samples::new("the same, weights in a bf16 file"));
    let settings = peer.settings(options.all);
    let mut peers: Vec<Samples> = settings.iter().map(|setting| Samples::new(setting.name())).collect();
    let compared = settings.iter().filter(|setting| setting.compared()).count();
    let mut peak = 0.0f64;
    if options.all {
        options.again("store", shape)?;
    }
    for round in 1..=options.rounds {
        eprintln!("{}: round {round} of {}", shape.name, options.rounds);
        let measured = options.again("peak", shape)?;
        peak = peak.max(measured.trim().parse().map_err(|_| format!("not a number: {measured}"))?);
        ours.add(Sample::parse(&options.again("ours", shape)?)?);
        if options.all {
            stored.add(Sample::parse(&options.again("stored", shape)?)?);
        }
        for (setting, side) in settings.iter().zip(&mut peers) {
            side.add(peer.measure(shape, options.steps, options.threads, *setting)?);
        }
    }
    report(shape, &config, (options.threads, peak), (&ours, options.all.then_some(&stored)), (&peers, compared));
    Ok(())
}

/// Prints what all sides reached; of the peer's the first `compared` are compared.
fn report(
    shape: &Shape,
    config: &Config,
    (threads, peak): (usize, f64),
    (ours, stored): (&Samples, Option<&Samples>),
    (peers, compared): (&[Samples], usize),
) {
    let floor = Floor::new(config);
    println!("\n{}: {} parameters, {} trained", shape.name, config.parameters(), floor.trained);
    println!(
        "f32 product peak {peak:.0} GFLOP/s on {} threads; floor {:.3} GFLOP per token, so at most {:.0} tokens/s",
        threads,
        floor.per_token() / 1e9,
        peak * 1e9 / floor.per_token()
    );
    println!(
        "{:36} {:>9} {:>12} {:>13} {:>10} {:>12} {:>11}",
        "", "tokens/s", "utilisation", "CPU ms/token", "peak MiB", "faults/step", "allocations"
    );
    for side in [ours].into_iter().chain(stored).chain(peers) {
        println!(
            "{:36} {:>9.1} {:>11.1}% {:>13.2} {:>10.0} {:>12.0} {:>11}",
            side.name,
            side.tokens_per_second(),
            side.tokens_per_second() * floor.per_token() / (peak * 1e9) * 100.0,
            side.cpu_per_token() * 1e3,
            side.peak_bytes() / (1 << 20) as f64,
            side.faults(),
            side.allocations().map_or("-".into(), |n| format!("{n:.0}")),
        );
    }
    let best = |of: fn(&Samples) -> f64, better: fn(f64, f64) -> f64| {
        peers[..compared].iter().map(of).reduce(better).unwrap_or(f64::NAN)
    };
    let speed = ours.tokens_per_second() / best(Samples::tokens_per_second, f64::max);
    let memory = ours.peak_bytes() / best(Samples::peak_bytes, f64::min);
    let said = |met: bool| if met { "met" } else { "MISSED" };
    let wanted = if Isa::best().name() == "avx2" { 1.0 } else { 1.2 };
    let met = said(speed >= wanted);
    println!("tokens/s against PyTorch's fastest: {speed:.2} times (wanted: at least {wanted:.2}: {met})");
    println!(
        "peak memory against PyTorch's smallest: {memory:.2} times (wanted: at most 0.50: {})",
        said(memory <= 0.5)
    );
}
