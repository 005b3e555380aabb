//! How fast `data_inspect` looks at a file of JSON lines, and in how much memory.
//!
//! ```text
//! cargo bench -p tunesmith-tools --bench inspect [-- MEGABYTES ROUNDS]
//! ```
//!
//! The file is made by a seeded generator: a thousand bytes a row, six columns, one row in fifty repeats another. Each
//! measurement is a process of its own, the kinds take turns, and medians are shown:
//!
//! - `parse`: rows are read and dropped, which is the floor of everything that looks at them;
//! - `pass`: the one pass over all rows (types, missing values, exact duplicates, lengths, balance);
//! - `whole`: the pass, a sample of 50,000 rows, and what is looked for in it.
//!
//! The limits are 100 MB/s for the pass and 500 MB of memory for all. `CPU s` does not depend on what else the machine does:
//! at 100 MB/s on 2 cores there are 2 of them for 100 MB.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    fmt::Write as _,
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    process::Command,
    time::Instant,
};

use tunesmith_harness::rows::{Reading, Source};
use tunesmith_tools::{data_inspect::Job, worker::Live};

const KINDS: [&str; 3] = ["parse", "pass", "whole"];
/// MB/s of the pass at least, and MB of memory at most.
const LIMITS: (f64, f64) = (100.0, 500.0);

fn main() {
    // Cargo adds its own `--bench`.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [kind, file] if KINDS.contains(&kind) => child(kind, Path::new(file)),
        ref numbers => {
            let number = |at: usize, default| numbers.get(at).map_or(default, |word: &&str| word.parse().unwrap());
            compare(number(0, 1_000), number(1, 3));
        }
    }
}

fn compare(megabytes: usize, rounds: usize) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(format!("inspect-{megabytes}.jsonl"));
    let rows = make(&file, megabytes * 1_000_000);
    let size = std::fs::metadata(&file).unwrap().len() as f64 / 1e6;
    println!("{size:.0} MB, {rows} rows, {} threads, medians of {rounds}", rayon::current_num_threads());
    let mut measured: [Vec<[f64; 3]>; 3] = Default::default();
    for _ in 0..rounds {
        for (kind, measured) in KINDS.iter().zip(&mut measured) {
            let out =
                Command::new(std::env::current_exe().unwrap()).args([kind, file.to_str().unwrap()]).output().unwrap();
            let text = String::from_utf8(out.stdout).unwrap();
            let numbers: Vec<f64> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
            measured.push([numbers[0], numbers[1], numbers[2]]);
        }
    }
    std::fs::remove_file(&file).unwrap();
    let median = |values: &[[f64; 3]], of: usize| {
        let mut values: Vec<f64> = values.iter().map(|numbers| numbers[of]).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let floor = median(&measured[0], 0);
    println!("       seconds     MB/s   of parse  of 100 MB/s    CPU s       MB    of 500 MB");
    for (kind, measured) in KINDS.iter().zip(&measured) {
        let (seconds, cpu, memory) = (median(measured, 0), median(measured, 1), median(measured, 2) / 1e6);
        let speed = size / seconds;
        println!(
            "{kind:<5} {seconds:>8.2} {speed:>8.1} {:>10.2} {:>12.2} {cpu:>8.2} {memory:>8.0} {:>12.2}",
            seconds / floor,
            speed / LIMITS.0,
            memory / LIMITS.1
        );
    }
}

/// One measurement: seconds, seconds of all cores together, and bytes of the largest resident set.
fn child(kind: &str, file: &Path) {
    let began = Instant::now();
    let rows = match kind {
        "parse" => {
            let source = Source::file(file, &Reading::default()).unwrap();
            source.map(|batch| batch.rows.len()).map(|rows| rows.unwrap()).sum()
        }
        "pass" => Job { sample: 0, ..Job::of(file) }.run(&mut Live::silent()).unwrap().rows,
        _ => Job::of(file).run(&mut Live::silent()).unwrap().rows,
    };
    let seconds = began.elapsed().as_secs_f64();
    assert!(rows > 0);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    // User and system time, the 14th and the 15th field, in hundredths of a second; the second one, a name, may hold blanks.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let cpu: f64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    println!("{seconds} {} {}", cpu / 100.0, peak.unwrap_or(f64::NAN) * 1024.0);
}

/// Writes rows until there are so many bytes; how many rows.
fn make(path: &Path, bytes: usize) -> usize {
    const WORDS: [&str; 40] = [
        "card",
        "my",
        "the",
        "payment",
        "has",
        "not",
        "arrived",
        "yet",
        "why",
        "was",
        "charged",
        "twice",
        "transfer",
        "to",
        "a",
        "friend",
        "abroad",
        "please",
        "help",
        "me",
        "with",
        "account",
        "limit",
        "and",
        "exchange",
        "rate",
        "which",
        "is",
        "wrong",
        "since",
        "yesterday",
        "évening",
        "cash",
        "withdrawal",
        "pending",
        "refund",
        "of",
        "order",
        "number",
        "today",
    ];
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    let mut state = 7u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let (mut written, mut rows) = (0, 0);
    let (mut line, mut last) = (String::new(), String::new());
    while written < bytes {
        line.clear();
        if next() % 50 == 0 && !last.is_empty() {
            line.push_str(&last);
        } else {
            let _ = write!(line, "{{\"id\": {rows}, \"text\": \"");
            for _ in 0..100 + next() % 80 {
                line.push_str(WORDS[next() % WORDS.len()]);
                line.push(' ');
            }
            let (label, score) = (next() % 77, next() % 100_000);
            let _ = write!(line, "\", \"label\": \"label_{label}\", \"score\": {}.{score:05}, ", next() % 5);
            let _ = write!(line, "\"source\": \"web-{}\", \"tags\": [\"a{}\", \"b\"]}}", next() % 1_000, next() % 9);
            last.clone_from(&line);
        }
        line.push('\n');
        out.write_all(line.as_bytes()).unwrap();
        written += line.len();
        rows += 1;
    }
    out.flush().unwrap();
    rows
}
