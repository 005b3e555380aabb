//! What one process measures of itself, and what many of them amount to.

use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::{LENGTH, ROWS, shared::median};

/// One process's figures, printed as one line of JSON.
#[derive(Default, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds of each step.
    pub seconds: Vec<f64>,
    /// Seconds that all its threads computed in each step.
    pub cpu: Vec<f64>,
    /// Pages that the system had to give it in each step.
    pub faults: Vec<u64>,
    /// Calls of the allocator in each step, where they are counted.
    #[serde(default)]
    pub allocations: Vec<u64>,
    /// Largest resident memory since it started.
    pub peak_bytes: u64,
}

impl Sample {
    /// Prints it for the parent.
    pub fn print(&self) {
        println!("{}", serde_json::json!(self));
    }

    /// Reads the last line of what a child printed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let line = text.trim_end().lines().last().unwrap_or_default();
        serde_json::from_str(line).map_err(|e| format!("a child printed {line:?}: {e}"))
    }
}

/// Figures of one side over all rounds.
pub struct Samples {
    /// The side.
    pub name: &'static str,
    seconds: Vec<f64>,
    cpu: Vec<f64>,
    faults: Vec<f64>,
    allocations: Vec<f64>,
    peaks: Vec<f64>,
}

impl Samples {
    /// None yet.
    pub fn new(name: &'static str) -> Self {
        let none = Vec::new;
        Samples { name, seconds: none(), cpu: none(), faults: none(), allocations: none(), peaks: none() }
    }

    /// Adds a process's figures without its first step, which warms up.
    pub fn add(&mut self, sample: Sample) {
        eprintln!("  {}: {:.2?} s", self.name, sample.seconds);
        self.seconds.extend(sample.seconds.iter().skip(1));
        self.cpu.extend(sample.cpu.iter().skip(1));
        self.faults.extend(sample.faults.iter().skip(1).map(|n| *n as f64));
        self.allocations.extend(sample.allocations.iter().skip(1).map(|n| *n as f64));
        self.peaks.push(sample.peak_bytes as f64);
    }

    /// Of the median step.
    pub fn tokens_per_second(&self) -> f64 {
        (ROWS * LENGTH) as f64 / median(self.seconds.clone())
    }

    /// Seconds of computing per token in the median step.
    pub fn cpu_per_token(&self) -> f64 {
        median(self.cpu.clone()) / (ROWS * LENGTH) as f64
    }

    /// Page faults in the median step.
    pub fn faults(&self) -> f64 {
        median(self.faults.clone())
    }

    /// Calls of the allocator in the median step; `None` where they are not counted.
    pub fn allocations(&self) -> Option<f64> {
        (!self.allocations.is_empty()).then(|| median(self.allocations.clone()))
    }

    /// Median of the processes' peaks.
    pub fn peak_bytes(&self) -> f64 {
        median(self.peaks.clone())
    }
}

/// What a command prints; an error when it fails. Its messages go to the terminal.
pub fn output(command: &mut Command) -> Result<String, String> {
    let output = command.stderr(Stdio::inherit()).output().map_err(|e| format!("{command:?}: {e}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{command:?}: {}", output.status)),
    }
}

/// What the system has counted for this process so far.
pub struct Counted {
    /// Seconds computed in user mode and in the system, by all threads.
    pub cpu: f64,
    /// Page faults, with and without reading.
    pub faults: u64,
}

impl Counted {
    /// Reads `/proc/self/stat`.
    pub fn now() -> Result<Self, String> {
        let stat = std::fs::read_to_string("/proc/self/stat").map_err(|e| format!("/proc/self/stat: {e}"))?;
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let field = |i: usize| after_name.split_whitespace().nth(i).and_then(|n| n.parse::<u64>().ok());
        let sum = |a, b| field(a)?.checked_add(field(b)?);
        let (faults, ticks) = sum(7, 9).zip(sum(11, 12)).ok_or("unexpected /proc/self/stat")?;
        // Linux counts time in hundredths of a second on every platform that is supported.
        Ok(Counted { cpu: ticks as f64 / 100.0, faults })
    }
}

/// Largest resident memory of this process since it was started.
pub fn peak_bytes() -> Result<u64, String> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|e| format!("/proc/self/status: {e}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| "no VmHWM in /proc/self/status".into())
}
