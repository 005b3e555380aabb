//! Conversion against llama.cpp's converter and llama-quantize, both sides interleaved in one run.
//!
//! ```text
//! cargo bench -p tunesmith-lm --bench convert [-- --shape NAME] [--rounds N] [--threads N]
//! ```
//!
//! A random model of each shape is written in bf16 in Hugging Face's format. Both sides make an F16 GGUF file of it, and then
//! Q8_0 and Q4_K_M of our F16 file. Every measurement is a process of its own, from its start to its end, so that its peak
//! memory is its own (pages of mapped files count); sides take turns within a round, and figures are medians over the rounds.
//! Ours opens the model and writes the file whole, flushed to the disk; what `tunesmith convert` does besides, hashing and
//! comparing answers, is not in it. Nothing is asserted about absolute times.
//!
//! `TUNESMITH_PEER_LLAMA` is llama.cpp's folder of programs, `TUNESMITH_PEER_CONVERTER` its convert_hf_to_gguf.py, and
//! `TUNESMITH_PEER_PYTHON` a Python with torch and transformers. What is not named is left out.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

mod made;
mod peer;
mod process;
#[path = "../train/shapes.rs"]
mod shapes;
#[path = "../shared/mod.rs"]
mod shared;

use process::{Sample, again};
use shapes::Shape;
use shared::median;
use tunesmith_lm::{
    gguf::{self, Quant},
    model::Model,
};

/// What is measured: the format, and how many times the peer's seconds ours may be.
const WORK: [(Quant, f64); 3] = [(Quant::F16, 0.5), (Quant::Q8_0, 1.2), (Quant::Q4KM, 1.2)];

fn main() -> ExitCode {
    shared::start(run)
}

fn run(arguments: &[String]) -> Result<(), String> {
    match arguments {
        [child, make, name, dir] if child == "--child" && make == "make" => {
            made::make(shapes::find(name)?, Path::new(dir))
        }
        [child, quant, from, to] if child == "--child" => convert(quant, Path::new(from), Path::new(to)),
        _ => {
            let options = Options::parse(arguments)?;
            let peers = peer::Peers::find();
            options.shapes.iter().try_for_each(|shape| compare(shape, &options, &peers))
        }
    }
}

/// Our side: opens a model and writes it.
fn convert(quant: &str, from: &Path, to: &Path) -> Result<(), String> {
    let quant = WORK.iter().find(|(known, _)| known.name() == quant).ok_or("unknown child")?.0;
    let model = Model::open_once(from).map_err(|e| e.to_string())?;
    gguf::write(to, &model, quant).map(drop).map_err(|e| e.to_string())
}

/// What the command line asks for.
struct Options {
    shapes: Vec<&'static Shape>,
    rounds: usize,
    threads: usize,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Options { shapes: shapes::ALL.iter().collect(), rounds: 5, threads: 2 };
        for option @ (name, value) in shared::pairs(arguments)? {
            match name {
                "--shape" => options.shapes = vec![shapes::find(value)?],
                "--rounds" => options.rounds = shared::number(option)?,
                "--threads" => options.threads = shared::number(option)?,
                _ => return Err(format!("unknown option {name}; there are --shape, --rounds and --threads")),
            }
        }
        Ok(options)
    }
}

/// Both sides' samples of one kind of work.
struct Measured {
    quant: Quant,
    allowed: f64,
    ours: Vec<Sample>,
    theirs: Vec<Sample>,
}

/// Runs both sides on `shape` in turns and prints what they reach.
fn compare(shape: &'static Shape, options: &Options, peers: &peer::Peers) -> Result<(), String> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-convert").join(shape.name);
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let file = |name: &str| dir.join(name);
    let model = file("model");
    again(&["make", shape.name], &[&model], options.threads)?;
    let mut work: Vec<Measured> = WORK
        .map(|(quant, allowed)| Measured { quant, allowed, ours: Vec::new(), theirs: Vec::new() })
        .into_iter()
        .collect();
    let whole = file("ours-f16.gguf");
    for round in 1..=options.rounds {
        eprintln!("{}: round {round} of {}", shape.name, options.rounds);
        for measured in &mut work {
            let name = measured.quant.name();
            let from: &PathBuf = if measured.quant == Quant::F16 { &model } else { &whole };
            let (ours, theirs) = (file(&format!("ours-{name}.gguf")), file(&format!("theirs-{name}.gguf")));
            measured.ours.push(again(&[name], &[from, &ours], options.threads)?);
            measured.theirs.extend(peers.convert(measured.quant, from, &theirs, options.threads)?);
        }
    }
    report(shape, options.threads, &work)?;
    std::fs::remove_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))
}

/// Prints what both sides reached.
fn report(shape: &Shape, threads: usize, work: &[Measured]) -> Result<(), String> {
    let config = shape.config()?;
    let largest = config.vocab_size * config.hidden_size * 4;
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    println!(
        "\n{}: {} parameters, largest tensor {:.0} MiB as f32, {threads} threads",
        shape.name,
        config.parameters(),
        mib(largest as f64)
    );
    println!(
        "{:8} {:>10} {:>12} {:>8} {:>9} {:>11} {:>8}",
        "", "seconds", "llama.cpp's", "times", "peak MiB", "llama.cpp's", "file MiB"
    );
    let said = |met: bool| if met { "met" } else { "MISSED" };
    let mut goals = Vec::new();
    for Measured { quant, allowed, ours, theirs } in work {
        let of = |samples: &[Sample], of: fn(&Sample) -> f64| median(samples.iter().map(of).collect());
        let times = median(ours.iter().zip(theirs).map(|(ours, theirs)| ours.seconds / theirs.seconds).collect());
        let peak = of(ours, |sample| sample.peak_bytes);
        println!(
            "{:8} {:>10.2} {:>12.2} {times:>8.2} {:>9.0} {:>11.0} {:>8.0}",
            quant.name(),
            of(ours, |sample| sample.seconds),
            of(theirs, |sample| sample.seconds),
            mib(peak),
            mib(of(theirs, |sample| sample.peak_bytes)),
            mib(of(ours, |sample| sample.file_bytes)),
        );
        if !theirs.is_empty() {
            goals.push(format!("{} at most {allowed} times: {}", quant.name(), said(times <= *allowed)));
        }
        let tensors = peak / largest as f64;
        goals.push(format!("{} peak {tensors:.2} largest tensors, at most 2: {}", quant.name(), said(tensors <= 2.0)));
    }
    println!("{}", goals.join("\n"));
    Ok(())
}
