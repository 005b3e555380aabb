//! What the benchmarks have in common: how they start, what their options are read by, and middles.

use std::{path::PathBuf, process::ExitCode};

/// Runs a benchmark with its arguments, but not within `cargo test`, which starts it without `--bench`.
pub fn start(run: fn(&[String]) -> Result<(), String>) -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let all = arguments.len();
    arguments.retain(|argument| argument != "--bench");
    if arguments.len() == all && !arguments.iter().any(|argument| argument == "--child") {
        println!("skipped: `cargo test` runs no benchmark, `cargo bench` does");
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Options with their values.
pub fn pairs(arguments: &[String]) -> Result<Vec<(&str, &str)>, String> {
    let pairs = arguments.chunks(2).map(|pair| match pair {
        [name, value] => Ok((name.as_str(), value.as_str())),
        _ => Err(format!("{} needs a value", pair[0])),
    });
    pairs.collect()
}

/// The number above 0 that an option has.
pub fn number((name, value): (&str, &str)) -> Result<usize, String> {
    match value.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(format!("{name} is {value}, it must be a number above 0")),
    }
}

/// The path of a peer that a variable names; without one that side is left out.
#[allow(dead_code, reason = "not every benchmark leaves its peer out")]
pub fn peer(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    if path.is_none() {
        eprintln!("{name} is not set: that side is left out");
    }
    path
}

/// The middle of some figures; NaN where there is none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}
