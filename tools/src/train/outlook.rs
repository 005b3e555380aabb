//! What a training run will take, said before it starts, and what memory this machine has for it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tunesmith_harness::figures::{bytes, counted, duration};
use tunesmith_lm::train::{
    Forecast,
    memory::{Estimate, Plan},
};

use crate::memory::{kilobytes, status};

/// What a training run is expected to take.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outlook {
    /// Most bytes that the process will hold.
    pub memory: u64,
    /// Seconds of all steps with their evaluations.
    pub seconds: f64,
    /// Optimizer steps, when nothing stops it early.
    pub steps: usize,
    /// Tokens of these steps.
    pub tokens: usize,
    /// How steps are cut into parts.
    pub plan: Plan,
    /// Bytes by what takes them.
    pub parts: Estimate,
    /// Most bytes that there are for it; null where that is unknown.
    pub limit: Option<u64>,
}

impl Outlook {
    /// The outlook of a forecast.
    pub fn new(forecast: Forecast, limit: Option<u64>) -> Self {
        let Forecast { plan, memory, steps, tokens, seconds } = forecast;
        Outlook { memory: memory.total, seconds, steps, tokens, plan, parts: memory, limit }
    }

    /// What is said of it, each in one line; the second where steps are not cut into parts of `asked` tokens.
    pub fn lines(&self, asked: usize) -> Vec<String> {
        let (memory, time) = (bytes(self.memory), duration(self.seconds));
        let mut lines = vec![format!("estimate: {memory} of memory, {time} for {}", counted(self.steps, "step"))];
        let limit = self.limit.map_or_else(String::new, |limit| format!(": to fit into {}", bytes(limit)));
        lines.extend(changed(Some(asked), self.plan).map(|change| format!("{change}{limit}")));
        lines
    }
}

/// How `plan` differs from parts of `asked` tokens whose layers keep everything; `None` where it does not.
pub fn changed(asked: Option<usize>, plan: Plan) -> Option<String> {
    let smaller = asked.filter(|asked| *asked != plan.micro_tokens);
    let smaller = smaller.map(|asked| format!("micro-batches of {} instead of {asked} tokens", plan.micro_tokens));
    let twice = plan.recompute.then(|| "layers computed twice".to_owned());
    let both: Vec<String> = smaller.into_iter().chain(twice).collect();
    (!both.is_empty()).then(|| both.join(", "))
}

/// Share of the memory that is available that training may take.
const SHARE: f64 = 0.9;
/// Bytes available below which memory is short.
const SHORT: u64 = 128 << 20;

/// Memory of this process, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Held {
    /// Resident now.
    pub resident: u64,
    /// Of that, what is in no file.
    pub own: u64,
    /// Most that was resident.
    pub peak: u64,
}

impl Held {
    /// What it is now; zeros where the system does not say.
    pub fn now() -> Self {
        let [resident, own, peak] = ["VmRSS:", "RssAnon:", "VmHWM:"].map(|name| status(name).unwrap_or(0));
        Held { resident, own, peak }
    }
}

/// Most bytes that this process may hold: what it holds and most of what is available, or `own` where that is less.
pub fn limit(own: Option<u64>) -> Option<u64> {
    let there = available().map(|bytes| Held::now().resident + (bytes as f64 * SHARE) as u64);
    there.into_iter().chain(own).min()
}

/// Whether the process holds more than `limit`, or hardly anything is available any more.
pub fn short(limit: Option<u64>) -> bool {
    limit.is_some_and(|limit| Held::now().resident > limit) || available().is_some_and(|bytes| bytes < SHORT)
}

/// Bytes that may still be taken, of the machine's and of each control group's that limits this process.
fn available() -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| kilobytes(&text, "MemAvailable:"));
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let groups = groups.lines().filter_map(group).flat_map(|(dir, files)| {
        // A container sees its own group at the root; outside of one, groups above limit as well.
        dir.ancestors().map(|dir| left(dir, files)).collect::<Vec<_>>()
    });
    machine.into_iter().chain(groups.flatten()).min()
}

/// Names of the files that hold a group's limit and usage, and of the pages that the system can take back at once.
type Files = [&'static str; 3];

/// The directory of a memory group, from a line of `/proc/self/cgroup`.
fn group(line: &str) -> Option<(PathBuf, Files)> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
    match controllers {
        "" => Some((Path::new("/sys/fs/cgroup").join(path), ["memory.max", "memory.current", "inactive_file "])),
        _ if controllers.split(',').any(|name| name == "memory") => {
            let files = ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "];
            Some((Path::new("/sys/fs/cgroup/memory").join(path), files))
        }
        _ => None,
    }
}

fn left(dir: &Path, [limit, usage, free]: Files) -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let stat = read("memory.stat").unwrap_or_default();
    let free = stat.lines().find_map(|line| line.strip_prefix(free)?.trim().parse::<u64>().ok()).unwrap_or(0);
    Some(number(limit)?.saturating_sub(number(usage)?.saturating_sub(free)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn outlook(plan: Plan) -> Outlook {
        let memory = Estimate { total: 1_400_000_000, ..Estimate::default() };
        let forecast = Forecast { plan, memory, steps: 20, tokens: 9000, seconds: 200.0 };
        Outlook::new(forecast, Some(2_000_000_000))
    }

    #[test]
    fn an_outlook_is_a_line_and_another_where_steps_are_cut_otherwise() {
        let plan = |micro_tokens, recompute| outlook(Plan { micro_tokens, recompute }).lines(4096);
        let first = "estimate: 1.40 GB of memory, 3 min 20 s for 20 steps".to_owned();
        assert_eq!(plan(4096, false), std::slice::from_ref(&first));
        let second =
            "micro-batches of 512 instead of 4096 tokens, layers computed twice: to fit into 2.00 GB".to_owned();
        assert_eq!(plan(512, true), [first, second]);
    }

    #[test]
    fn what_is_left_of_a_group_is_its_limit_without_what_cannot_be_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let (_, files) = group("0::/job").unwrap();
        assert_eq!(left(dir.path(), files), None);
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("memory.current", "700\n");
        write("memory.max", "max\n");
        assert_eq!(left(dir.path(), files), None);
        write("memory.max", "1000\n");
        write("memory.stat", "anon 100\ninactive_file 200\n");
        assert_eq!(left(dir.path(), files), Some(500));
        let (first, files) = group("4:cpu,memory:/a/b").unwrap();
        assert_eq!((first.to_str().unwrap(), files[0]), ("/sys/fs/cgroup/memory/a/b", "memory.limit_in_bytes"));
        assert_eq!(group("1:cpu:/a"), None);
    }
}
