//! `tunesmith doctor`: what works on this machine, found out by trying where that costs nothing.

mod planner;

use std::path::Path;

use serde::Serialize;
use tunesmith_harness::{figures::bytes, text::visible};
use tunesmith_sandbox::{Check, Local, Status};
use tunesmith_tools::nano;

use super::{
    print, print_json,
    require::{Require, enforced},
    table::table,
};
use crate::{model::spec, run::Failure};

/// Show what works on this machine: sandbox, processor, memory, disk, models, keys
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    require: Require,
    /// Try a language model instead: whether it can plan, found out with up to five small questions
    #[arg(long, value_name = "SPEC", conflicts_with = "required")]
    planner: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What was found; `null` is unknown.
#[derive(Serialize)]
struct Findings {
    version: &'static str,
    sandbox: Vec<Check>,
    processor: Processor,
    memory_bytes: Option<u64>,
    memory_available_bytes: Option<u64>,
    /// Free space where runs would be kept.
    disk_free_bytes: Option<u64>,
    nano: Nano,
    hub: Hub,
    /// Names of the variables that hold keys, and whether each is set. Values are never shown.
    keys: Vec<Key>,
}

#[derive(Serialize)]
struct Processor {
    architecture: &'static str,
    threads: usize,
    features: Vec<&'static str>,
}

#[derive(Serialize)]
struct Nano {
    present: bool,
    problem: Option<String>,
}

#[derive(Serialize)]
struct Hub {
    endpoint: String,
    /// Always unknown: no network call is made.
    reachable: Option<bool>,
}

#[derive(Serialize)]
struct Key {
    name: &'static str,
    set: bool,
}

/// Looks and shows. Exit code 5 says that a base layer of the sandbox, one that is required, or the bundled base is missing.
pub async fn main(args: &Args) -> Result<u8, Failure> {
    if let Some(spec) = &args.planner {
        return planner::main(spec, args.json).await;
    }
    let required = args.require.layers()?;
    let sandbox = Local::new().doctor().await;
    let sandbox = sandbox.map_err(|error| Failure::new(5, format!("the sandbox cannot be tried: {error}")))?;
    let (memory_bytes, memory_available_bytes) = memory();
    let found = Findings {
        version: env!("CARGO_PKG_VERSION"),
        sandbox,
        processor: processor(),
        memory_bytes,
        memory_available_bytes,
        disk_free_bytes: disk(Path::new(".")),
        nano: nano(),
        hub: Hub { endpoint: endpoint(), reachable: None },
        keys: keys(),
    };
    if args.json {
        print_json(&found)?;
    } else {
        found.lines().iter().for_each(|line| print(line));
    }
    let lacking = found.sandbox.iter().filter(|check| required.contains(&check.layer));
    enforced(lacking.map(|check| (check.layer, check.status.clone())))?;
    Ok(if found.well() { 0 } else { 5 })
}

impl Findings {
    fn well(&self) -> bool {
        let missing = |check: &Check| check.layer.is_base() && matches!(check.status, Status::Unavailable(_));
        self.nano.present && !self.sandbox.iter().any(missing)
    }

    fn lines(&self) -> Vec<String> {
        let size = |count: Option<u64>| count.map_or_else(|| "unknown".to_owned(), bytes);
        let mut lines = vec![format!("tunesmith {}", self.version), String::new(), "Sandbox".to_owned()];
        let rows: Vec<Vec<String>> = self
            .sandbox
            .iter()
            .map(|check| vec![format!("  {}", check.layer), check.tried.clone(), check.status.to_string()])
            .collect();
        lines.extend(table(&rows));
        lines.extend([String::new(), "Machine".to_owned()]);
        let Processor { architecture, threads, features } = &self.processor;
        let rows = [
            ("  processor", format!("{architecture}, {threads} threads, {}", features.join(" "))),
            ("  memory", format!("{}, {} available", size(self.memory_bytes), size(self.memory_available_bytes))),
            ("  disk", format!("{} free here", size(self.disk_free_bytes))),
            (
                "  nano",
                match (&self.nano.present, &self.nano.problem) {
                    (true, _) => "bundled".to_owned(),
                    (false, Some(problem)) => format!("missing: {problem}"),
                    (false, None) => "missing".to_owned(),
                },
            ),
            ("  hub", format!("{}, not tried; try `tunesmith hub search models smol`", self.hub.endpoint)),
        ];
        let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
        lines.extend(table(&rows));
        lines.extend([String::new(), "Keys".to_owned()]);
        let word = |key: &Key| if key.set { "set" } else { "not set" }.to_owned();
        let rows: Vec<Vec<String>> = self.keys.iter().map(|key| vec![format!("  {}", key.name), word(key)]).collect();
        lines.extend(table(&rows));
        lines.into_iter().map(|line| visible(&line).into_owned()).collect()
    }
}

fn processor() -> Processor {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Processor { architecture: std::env::consts::ARCH, threads, features: features() }
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    let found = [
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("fma", std::is_x86_feature_detected!("fma")),
        ("avx512f", std::is_x86_feature_detected!("avx512f")),
        ("avx512bf16", std::is_x86_feature_detected!("avx512bf16")),
    ];
    found.into_iter().filter_map(|(name, there)| there.then_some(name)).collect()
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<&'static str> {
    let found = [
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        ("bf16", std::arch::is_aarch64_feature_detected!("bf16")),
        ("sve", std::arch::is_aarch64_feature_detected!("sve")),
    ];
    found.into_iter().filter_map(|(name, there)| there.then_some(name)).collect()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<&'static str> {
    Vec::new()
}

/// Memory in all, and what is available; only Linux says it in a file.
fn memory() -> (Option<u64>, Option<u64>) {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        kilobytes.checked_mul(1024)
    };
    (field("MemTotal:"), field("MemAvailable:"))
}

/// Bytes that a user may still write where `path` is.
fn disk(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

/// Whether the bundled base can be unpacked.
fn nano() -> Nano {
    let unpacked = tempfile::tempdir().map_err(|error| error.to_string());
    let found = unpacked.and_then(|dir| nano::write(&dir.path().join("nano")).map_err(|error| error.to_string()));
    Nano { present: found.is_ok(), problem: found.err() }
}

fn endpoint() -> String {
    std::env::var("HF_ENDPOINT").ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "https://huggingface.co".into())
}

fn keys() -> Vec<Key> {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    spec::keys().into_iter().map(|name| Key { name, set: set(name) }).collect()
}
