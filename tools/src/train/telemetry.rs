//! What is written down while training goes on: `log.jsonl`, TensorBoard's event files, and the live figures. Nothing
//! here is a result, so nothing here may end a run.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use serde_json::{Map, Value, json};
use tunesmith_lm::{
    events::Events,
    train::{Progress, StorageWarning},
};

use super::warning;
use crate::{memory::status, worker::Tick};

/// The log, one line for each step.
const LOG: &str = "log.jsonl";
/// No line of it is longer, in bytes.
const LINE: u64 = 1 << 16;
/// The directory of TensorBoard's event files.
const RUNS: &str = "runs";

/// The fields of the log that TensorBoard is shown, with its names.
const TAGS: [(&str, &str); 9] = [
    ("loss", "train/loss"),
    ("epoch", "train/epoch"),
    ("learning_rate", "train/learning_rate"),
    ("grad_norm", "train/grad_norm"),
    ("tokens_per_second", "train/tokens_per_second"),
    ("utilisation", "train/utilisation"),
    ("peak_rss_bytes", "train/peak_rss_bytes"),
    ("valid_loss", "eval/loss"),
    ("valid_exact", "eval/exact_match"),
];

/// Follows one process of a training run.
pub(super) struct Telemetry {
    out: PathBuf,
    log: Output<File>,
    events: Output<Events>,
    began: Instant,
    started_at: f64,
    /// Floating-point operations for each token, and those per second that the machine reaches.
    cost: Option<(f64, f64)>,
    /// Tokens and seconds before this step.
    before: (usize, f64),
    /// Tokens and seconds so far.
    so_far: (usize, f64),
    /// What could not be written.
    pub(super) warnings: Vec<StorageWarning>,
    /// The step before the first one of this process.
    pub(super) resumed_from: Option<usize>,
}

/// A file that is opened when the first step is known, and given up when it cannot be written.
enum Output<T> {
    Closed,
    Open(T),
    Lost,
}

impl Telemetry {
    /// For the directory `out`; `started_at` is the Unix time of now.
    pub(super) fn new(out: &Path, started_at: f64, cost: Option<(f64, f64)>) -> Self {
        Telemetry {
            out: out.to_owned(),
            log: Output::Closed,
            events: Output::Closed,
            began: Instant::now(),
            started_at,
            cost,
            before: (0, 0.0),
            so_far: (0, 0.0),
            warnings: Vec::new(),
            resumed_from: None,
        }
    }

    /// Writes a step down and says what is shown of it.
    pub(super) fn step(&mut self, progress: &Progress) -> Tick {
        self.resumed_from.get_or_insert(progress.step - 1);
        self.so_far = (progress.tokens, progress.seconds);
        let rate = rate(self.before, self.so_far);
        self.before = self.so_far;
        let line = self.line(progress, rate);
        let mut told = progress.warnings.clone();
        told.extend(self.write_log(progress.step, &line));
        told.extend(self.write_events(progress.step, &line));
        self.warnings.extend(told.iter().skip(progress.warnings.len()).cloned());
        Tick {
            what: "train".into(),
            done: progress.step,
            total: progress.total,
            loss: Some(progress.loss),
            valid_loss: progress.valid_loss,
            tokens: Some(progress.tokens),
            utilisation: self.utilisation(),
            peak_memory: peak_memory(),
            warning: warning(&told),
            ..Tick::default()
        }
    }

    /// Tokens per second of the steps so far, without what is between them.
    pub(super) fn tokens_per_second(&self) -> f64 {
        rate((0, 0.0), self.so_far)
    }

    /// Share of the machine's measured arithmetic that the steps so far used.
    pub(super) fn utilisation(&self) -> Option<f64> {
        let (flops, peak) = self.cost?;
        (self.so_far.0 > 0).then(|| self.tokens_per_second() * flops / peak)
    }

    fn line(&self, progress: &Progress, rate: f64) -> Map<String, Value> {
        let mut line = Map::new();
        let mut put = |name: &str, value: Value| drop(line.insert(name.to_owned(), value));
        put("step", json!(progress.step));
        put("epoch", json!(progress.epoch));
        put("loss", json!(progress.loss));
        put("learning_rate", json!(progress.learning_rate));
        put("grad_norm", json!(progress.grad_norm));
        put("tokens", json!(progress.all_tokens));
        put("tokens_per_second", json!(rate));
        if let Some((flops, peak)) = self.cost {
            put("utilisation", json!(rate * flops / peak));
        }
        if let Some(bytes) = peak_memory() {
            put("peak_rss_bytes", json!(bytes));
        }
        if progress.evaluated {
            put("valid_loss", json!(progress.valid_loss));
            put("valid_exact", json!(progress.valid_exact));
        }
        line
    }

    fn write_log(&mut self, step: usize, line: &Map<String, Value>) -> Option<StorageWarning> {
        let text = format!("{}\n", Value::Object(line.clone()));
        let path = self.out.join(LOG);
        self.log.write(LOG, || open_log(&path, step), |file| file.write_all(text.as_bytes()))
    }

    fn write_events(&mut self, step: usize, line: &Map<String, Value>) -> Option<StorageWarning> {
        let at = self.started_at + self.began.elapsed().as_secs_f64();
        let values = TAGS.iter().filter_map(|(field, tag)| Some((*tag, line.get(*field)?.as_f64()?)));
        let values: Vec<(&str, f64)> = values.collect();
        let dir = self.out.join(RUNS);
        self.events.write(RUNS, || Events::create(&dir, at, step), |events| events.scalars(at, step, &values))
    }
}

impl<T> Output<T> {
    /// Opens where that was not done, then writes; says so once where it cannot be done.
    fn write(
        &mut self,
        file: &str,
        open: impl FnOnce() -> io::Result<T>,
        write: impl FnOnce(&mut T) -> io::Result<()>,
    ) -> Option<StorageWarning> {
        if let Output::Closed = self {
            match open() {
                Ok(opened) => *self = Output::Open(opened),
                Err(error) => return Some(self.lose(file, &error)),
            }
        }
        match self {
            Output::Open(opened) => write(opened).err().map(|error| self.lose(file, &error)),
            Output::Closed | Output::Lost => None,
        }
    }

    fn lose(&mut self, file: &str, error: &io::Error) -> StorageWarning {
        *self = Output::Lost;
        StorageWarning::TelemetryNotWritten { file: file.to_owned(), why: error.to_string() }
    }
}

/// Opens the log at the line of `step`. Lines from there on are of an interrupted process and are taken away: the run
/// takes these steps again.
fn open_log(path: &Path, step: usize) -> io::Result<File> {
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    let (mut reader, mut kept, mut line) = (BufReader::new(&file), 0, Vec::new());
    while reader.by_ref().take(LINE).read_until(b'\n', &mut line)? > 0 {
        let number = serde_json::from_slice::<Value>(&line).ok().and_then(|line| line.get("step")?.as_u64());
        if !line.ends_with(b"\n") || number.is_none_or(|number| number >= step as u64) {
            break;
        }
        kept += line.len() as u64;
        line.clear();
    }
    file.set_len(kept)?;
    file.seek(SeekFrom::Start(kept))?;
    Ok(file)
}

/// Tokens per second between two points; zero where there was no time between them.
fn rate((tokens, seconds): (usize, f64), (now, then): (usize, f64)) -> f64 {
    if then > seconds { (now - tokens) as f64 / (then - seconds) } else { 0.0 }
}

/// Most memory that this process has held so far, in bytes; `None` where the system does not say.
pub(super) fn peak_memory() -> Option<u64> {
    status("VmHWM:")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn progress(step: usize) -> Progress {
        Progress {
            step,
            total: 9,
            epoch: step as f64 / 3.0,
            loss: 1.5,
            learning_rate: 1e-3,
            grad_norm: 0.5,
            valid_loss: Some(2.0),
            valid_exact: Some(0.25),
            evaluated: step == 3,
            tokens: step * 100,
            all_tokens: step * 100,
            seconds: step as f64 * 0.5,
            plan: Default::default(),
            warnings: Vec::new(),
            signals: Vec::new(),
        }
    }

    #[test]
    fn a_step_is_a_line_with_every_figure() {
        let dir = tempfile::tempdir().unwrap();
        let mut telemetry = Telemetry::new(dir.path(), 0.0, Some((1e6, 1e9)));
        let tick = telemetry.step(&progress(1));
        assert_eq!((tick.utilisation, telemetry.tokens_per_second()), (Some(0.2), 200.0));
        telemetry.step(&progress(3));
        let text = std::fs::read_to_string(dir.path().join(LOG)).unwrap();
        let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for line in &mut lines {
            let peak = line.as_object_mut().unwrap().remove("peak_rss_bytes");
            assert!(cfg!(not(target_os = "linux")) || peak.unwrap().as_u64().unwrap() > 1 << 20);
        }
        let line = |step: usize| {
            json!({"step": step, "epoch": step as f64 / 3.0, "loss": 1.5, "learning_rate": 1e-3, "grad_norm": 0.5,
                "tokens": step * 100, "tokens_per_second": 200.0, "utilisation": 0.2})
        };
        let mut evaluated = line(3);
        evaluated["valid_loss"] = json!(2.0);
        evaluated["valid_exact"] = json!(0.25);
        assert_eq!(lines, [line(1), evaluated]);
        assert_eq!(std::fs::read_dir(dir.path().join(RUNS)).unwrap().count(), 1);
    }

    #[test]
    fn a_resumed_log_has_every_step_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOG);
        let mut first = Telemetry::new(dir.path(), 0.0, None);
        (1..=5).for_each(|step| drop(first.step(&progress(step))));
        // The process died in the middle of a line.
        let torn = format!("{}{{\"step\":6,\"lo", std::fs::read_to_string(&path).unwrap());
        std::fs::write(&path, torn).unwrap();
        let mut second = Telemetry::new(dir.path(), 0.0, None);
        (4..=6).for_each(|step| drop(second.step(&progress(step))));
        assert_eq!((first.resumed_from, second.resumed_from), (Some(0), Some(3)));
        let text = std::fs::read_to_string(&path).unwrap();
        let steps: Vec<u64> =
            text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["step"].as_u64().unwrap()).collect();
        assert_eq!(steps, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_disk_that_is_full_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/full", dir.path().join(LOG)).unwrap();
        let mut telemetry = Telemetry::new(dir.path(), 0.0, None);
        let said: Vec<Option<String>> = (1..=3).map(|step| telemetry.step(&progress(step)).warning).collect();
        assert_eq!(said.iter().flatten().count(), 1, "{said:?}");
        assert!(said[0].as_ref().unwrap().starts_with("log.jsonl was not written any further ("), "{said:?}");
        assert_eq!(telemetry.warnings.len(), 1);
    }
}
