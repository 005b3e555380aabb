//! Generation against llama.cpp and transformers, all sides interleaved in one run.
//!
//! ```text
//! cargo bench -p tunesmith-lm --bench infer [-- --shape NAME] [--rounds N] [--tokens N] [--threads N]
//! ```
//!
//! A random model of each shape is written as GGUF files. Measured are tokens per second: of a prompt of 512 tokens, of one
//! stream of greedy tokens, and of 16 streams together. Every measurement is a process of its own; sides take turns within a
//! round, ratios are medians over the rounds. Loading is not in it. Nothing is asserted about absolute times.
//!
//! `TUNESMITH_PEER_LLAMA` is llama.cpp's folder of programs, `TUNESMITH_PEER_PYTHON` a Python with torch and transformers. What is
//! not named is left out. `TUNESMITH_ISA` names the instruction set that ours may use at most.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

#[path = "../convert/made.rs"]
mod made;
mod ours;
mod peer;
#[path = "../train/shapes.rs"]
mod shapes;
#[path = "../shared/mod.rs"]
mod shared;

use peer::Peers;
use serde::{Deserialize, Serialize};
use shapes::Shape;
use shared::median;
use tunesmith_lm::gguf::Quant;

/// Tokens of the prompt.
pub const PROMPT: usize = 512;
/// Streams that are decoded together.
pub const STREAMS: usize = 16;

/// The formats, as llama.cpp's.
const FORMATS: [Quant; 2] = [Quant::F16, Quant::Q8_0];

/// Tokens per second of one process.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Speed {
    /// Of the prompt.
    pub prompt: f64,
    /// Of one stream.
    pub one: f64,
    /// Of [`STREAMS`] streams together; llama.cpp's program measures none.
    pub many: Option<f64>,
}

fn main() -> ExitCode {
    shared::start(run)
}

fn run(arguments: &[String]) -> Result<(), String> {
    if let [child, model, tokens] = arguments
        && child == "--child"
    {
        let speed = ours::measure(Path::new(model), tokens.parse().map_err(|_| "not a number")?)?;
        println!("{}", serde_json::json!(speed));
        return Ok(());
    }
    let options = Options::parse(arguments)?;
    let peers = Peers::find();
    options.shapes.iter().try_for_each(|shape| compare(shape, &options, &peers))
}

/// What the command line asks for.
pub struct Options {
    shapes: Vec<&'static Shape>,
    rounds: usize,
    /// Tokens of each stream.
    pub tokens: usize,
    /// Threads of all sides.
    pub threads: usize,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Options { shapes: shapes::ALL.iter().collect(), rounds: 5, tokens: 32, threads: 2 };
        for option @ (name, value) in shared::pairs(arguments)? {
            match name {
                "--shape" => options.shapes = vec![shapes::find(value)?],
                "--rounds" => options.rounds = shared::number(option)?,
                "--tokens" => options.tokens = shared::number(option)?,
                "--threads" => options.threads = shared::number(option)?,
                _ => return Err(format!("unknown option {name}; there are --shape, --rounds, --tokens and --threads")),
            }
        }
        Ok(options)
    }
}

/// A side, and what it reached in each round.
struct Side {
    name: String,
    speeds: Vec<Speed>,
}

/// Runs all sides on `shape` in turns and prints what they reach.
fn compare(shape: &'static Shape, options: &Options, peers: &Peers) -> Result<(), String> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-infer").join(shape.name);
    let files = ours::files(shape, &dir, &FORMATS)?;
    let mut sides: Vec<Side> = Vec::new();
    for round in 1..=options.rounds {
        eprintln!("{}: round {round} of {}", shape.name, options.rounds);
        for (quant, file) in FORMATS.iter().zip(&files) {
            add(&mut sides, format!("tunesmith {}", quant.name()), Some(ours::again(file, options)?));
            add(&mut sides, format!("llama.cpp {}", quant.name()), peers.llama(file, options)?);
        }
        for dtype in ["bfloat16", "float32"] {
            add(&mut sides, format!("transformers {dtype}"), peers.transformers(shape, dtype, options)?);
        }
    }
    report(shape, options, &sides);
    std::fs::remove_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))
}

fn add(sides: &mut Vec<Side>, name: String, speed: Option<Speed>) {
    let Some(speed) = speed else { return };
    eprintln!("  {name}: {speed:?}");
    match sides.iter_mut().find(|side| side.name == name) {
        Some(side) => side.speeds.push(speed),
        None => sides.push(Side { name, speeds: vec![speed] }),
    }
}

/// Prints what all sides reached, and how ours compare.
fn report(shape: &Shape, options: &Options, sides: &[Side]) {
    println!("\n{}: tokens/s with {} threads, medians of {} rounds", shape.name, options.threads, options.rounds);
    println!("{:24} {:>12} {:>12} {:>12}", "", "prompt 512", "one stream", "16 streams");
    for Side { name, speeds } in sides {
        let of = |of: fn(&Speed) -> Option<f64>| {
            let figures: Vec<f64> = speeds.iter().filter_map(of).collect();
            if figures.is_empty() { "-".into() } else { format!("{:.1}", median(figures)) }
        };
        println!("{name:24} {:>12} {:>12} {:>12}", of(|s| Some(s.prompt)), of(|s| Some(s.one)), of(|s| s.many));
    }
    type Of = fn(&Speed) -> Option<f64>;
    let goals: [(&str, &str, &str, Of, f64); 4] = [
        ("one stream", "tunesmith f16", "llama.cpp f16", |s| Some(s.one), 1.0),
        ("one stream", "tunesmith q8_0", "llama.cpp q8_0", |s| Some(s.one), 1.0),
        ("prompt", "tunesmith f16", "transformers bfloat16", |s| Some(s.prompt), 1.0),
        ("16 streams", "tunesmith f16", "transformers bfloat16", |s| s.many, 2.0),
    ];
    for (what, ours, theirs, of, wanted) in goals {
        let find = |name: &str| sides.iter().find(|side| side.name == name);
        let (Some(ours), Some(theirs)) = (find(ours), find(theirs)) else { continue };
        let pairs = ours.speeds.iter().zip(&theirs.speeds).filter_map(|(a, b)| Some(of(a)? / of(b)?));
        let ratio = median(pairs.collect());
        if ratio.is_nan() {
            continue;
        }
        let said = if ratio >= wanted { "met" } else { "MISSED" };
        println!("{what}: {} is {ratio:.2} times {} (wanted: at least {wanted:.2}: {said})", ours.name, theirs.name);
    }
}

/// What a command prints; an error when it fails.
pub fn output(command: &mut std::process::Command) -> Result<String, String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{command:?}: {}, {}", output.status, said.lines().last().unwrap_or_default())),
    }
}

/// The last line of what a process printed, as figures.
pub fn parse(text: &str) -> Result<Speed, String> {
    let line = text.trim_end().lines().last().unwrap_or_default();
    serde_json::from_str(line).map_err(|e| format!("a process printed {line:?}: {e}"))
}

/// Where the file of a format is.
pub fn file(dir: &Path, quant: Quant) -> PathBuf {
    dir.join(format!("{}.gguf", quant.name()))
}
