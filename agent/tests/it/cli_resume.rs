//! Training by hand that is interrupted: killed at any moment, out of space, resumed with other settings.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tunesmith_lm::rng::Rng;

use crate::{
    cli::{Said, base, command, tickets, tunesmith},
    cli_hand::find_worker,
};

/// A directory with prepared rows, and a training of a hundred short steps on them.
struct Place {
    dir: TempDir,
    args: Vec<String>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("rows.csv"), tickets(20)).unwrap();
        let base = base().to_str().unwrap();
        tunesmith(dir.path(), &["data", "prepare", "rows.csv", "--base", base, "--out", "prepared"]).ok();
        let text = "--data prepared --batch-size 4 --epochs 9 --r 4 --patience 0 --save-steps 3";
        let args = ["train", "--base", base].into_iter().chain(text.split(' ')).map(str::to_owned).collect();
        Place { dir, args }
    }

    fn command(&self, out: &str, more: &[&str]) -> Command {
        let mut args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        args.extend(["--out", out]);
        args.extend(more);
        command(self.dir.path(), &args)
    }

    fn run(&self, out: &str, more: &[&str]) -> Said {
        self.command(out, more).output().unwrap().into()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn adapter(&self, out: &str) -> Vec<u8> {
        fs::read(self.path(out).join("adapter_model.safetensors")).unwrap()
    }

    /// What must be the same in the log of a resumed run, line by line.
    fn log(&self, out: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(out).join("log.jsonl")).unwrap();
        let line = |text: &str| {
            let mut line: Value = serde_json::from_str(text).unwrap();
            for measured in ["tokens_per_second", "utilisation", "peak_rss_bytes"] {
                assert!(line.as_object_mut().unwrap().remove(measured).is_some(), "{text}");
            }
            line
        };
        text.lines().map(line).collect()
    }

    /// Starts a run and stops it when it has saved a checkpoint and logged `bytes`.
    fn interrupted(&self, out: &str, bytes: u64) {
        let mut child = self.start(out, &[]);
        let checkpoints = self.path(&format!("{out}.partial/checkpoints"));
        while self.logged(out) < bytes || !holds_checkpoint(&checkpoints) {
            assert!(child.try_wait().unwrap().is_none(), "it ended too soon");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn start(&self, out: &str, more: &[&str]) -> Child {
        let said = File::create(self.path("said")).unwrap();
        self.command(out, more).stdout(Stdio::null()).stderr(said).spawn().unwrap()
    }

    /// Bytes in the log of a run that goes on.
    fn logged(&self, out: &str) -> u64 {
        fs::metadata(self.path(&format!("{out}.partial/adapter/log.jsonl"))).map_or(0, |file| file.len())
    }
}

fn holds_checkpoint(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut all| {
        all.any(|entry| entry.is_ok_and(|entry| entry.path().extension().is_some_and(|e| e == "safetensors")))
    })
}

fn kill(pid: u32) {
    let _ = Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status().unwrap();
}

/// Kills runs at random moments until `kills` were in time; every run that comes to its end must have the same bytes.
/// Gives the number of runs.
fn survive(kills: usize, seed: u64) -> usize {
    let place = Place::new();
    place.run("whole", &[]).ok();
    let (whole, log) = (place.adapter("whole"), place.log("whole"));
    let bytes = fs::metadata(place.path("whole/log.jsonl")).unwrap().len() as usize;
    let mut rng = Rng::new(seed, "kills");
    let (mut killed, mut runs, mut lives) = (0, 0, 0);
    while killed < kills {
        runs += 1;
        let out = format!("run-{runs}");
        // The last life of a run is left alone, so that each comes to its end.
        for life in 0.. {
            lives += 1;
            if life == 4 || killed == kills {
                place.run(&out, &["--resume"]).ok();
                break;
            }
            let mut child = place.start(&out, &["--resume"]);
            let (before, more, spin) = (place.logged(&out), rng.below(bytes / 3) as u64, rng.below(20_000));
            // From the first instruction to the last rename: a third of the kills do not wait for the log.
            let (early, which) = (rng.below(3) == 0, rng.below(3));
            let mut ended = None;
            while !early && place.logged(&out) < before + more {
                ended = child.try_wait().unwrap();
                if ended.is_some() {
                    break;
                }
                std::thread::yield_now();
            }
            (0..if early { spin } else { spin / 20 }).for_each(|_| std::thread::yield_now());
            let worker = find_worker(child.id());
            ended = ended.or(child.try_wait().unwrap());
            if let Some(status) = ended {
                let said = fs::read_to_string(place.path("said")).unwrap();
                assert!(status.success(), "a resumed run failed with {status}: {said}");
                break;
            }
            killed += 1;
            // The worker, its caller, or both.
            worker.filter(|_| which != 1).into_iter().for_each(kill);
            if which != 0 || worker.is_none() {
                child.kill().unwrap();
            }
            child.wait().unwrap();
        }
        assert!(place.adapter(&out) == whole, "run {runs} of seed {seed} has other bytes");
        assert_eq!(place.log(&out), log, "run {runs} of seed {seed} has another log");
        assert!(!place.path(&format!("{out}.partial")).exists());
    }
    println!("{killed} kills in {lives} processes: {runs} of {runs} runs ended with the same bytes and log");
    runs
}

#[test]
#[cfg(target_os = "linux")]
fn ten_kills_at_random_moments_leave_the_same_bytes() {
    assert!(survive(10, 1) >= 2);
}

#[test]
#[cfg(target_os = "linux")]
#[ignore = "minutes: a hundred kills"]
fn soak_a_hundred_kills_leave_the_same_bytes() {
    assert!(survive(100, 2) >= 20);
}

#[test]
#[cfg(target_os = "linux")]
fn an_interrupted_run_is_gone_on_with_only_as_it_was() {
    let place = Place::new();
    place.interrupted("out", 1);
    let half = place.path("out.partial").canonicalize().unwrap();
    let again = place.run("out", &[]);
    let want =
        format!("error: {}: holds what an interrupted run left; go on with --resume, or remove it\n", half.display());
    assert_eq!(again.refused(2), want);
    let other = place.run("out", &["--resume", "--learning-rate", "1e-4"]);
    let want = format!(
        "error: training: {}/checkpoints belongs to another training run: learning_rate was 0.002 and is now 0.0001; use \
         what it was made with, or remove it to start anew\n",
        half.display()
    );
    assert_eq!(other.refused(2), want);
    let scale = place.run("out", &["--resume", "--lora-alpha", "8"]);
    assert!(scale.refused(2).contains("another training run: lora_alpha was 32.0 and is now 8.0;"), "{scale:?}");
    let rows = fs::read_to_string(place.path("prepared/train.jsonl")).unwrap();
    fs::write(
        place.path("prepared/train.jsonl"),
        rows.lines().skip(1).map(|line| format!("{line}\n")).collect::<String>(),
    )
    .unwrap();
    let data = place.run("out", &["--resume"]);
    assert!(data.refused(2).contains("belongs to another training run: train.jsonl is another one now;"), "{data:?}");
    fs::write(place.path("prepared/train.jsonl"), rows).unwrap();

    let resumed = place.run("out", &["--resume", "--json"]).ok().json();
    assert!(resumed["resumed_from"].as_u64().unwrap() > 0, "{resumed}");
    let left: Vec<_> = fs::read_dir(place.path("out")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!place.path("out.partial").exists() && left.len() == 6, "{left:?}");
    let finished = place.run("out", &["--resume"]).ok();
    assert_eq!(finished.out, "out is finished already; nothing is left to do\n");
    let finished = place.run("out", &["--resume", "--json"]).ok().json();
    assert_eq!(finished, json!({"adapter": "out", "finished": true}));
    assert_eq!(place.run("out", &[]).refused(2), "error: out: is there already; name another --out\n");
}

#[test]
fn what_a_living_process_makes_is_not_called_left_over() {
    let place = Place::new();
    fs::create_dir(place.path("out.partial")).unwrap();
    let lock = File::create(place.path("out.partial/lock")).unwrap();
    lock.lock().unwrap();
    let busy = place.run("out", &[]);
    assert!(busy.refused(5).ends_with("out.partial: another process is training here; wait for it\n"), "{busy:?}");
    drop(lock);
    let left = place.run("out", &[]);
    assert!(left.refused(2).contains("holds what an interrupted run left"), "{left:?}");
}

#[test]
fn a_run_without_a_checkpoint_leaves_nothing_and_starts_anew() {
    let place = Place::new();
    // Resuming what was never begun is a beginning.
    place.run("out", &["--resume", "--max-steps", "2"]).ok();
    fs::create_dir(place.path("other.partial")).unwrap();
    fs::write(place.path("other.partial/mine"), "x").unwrap();
    let refused = place.run("other", &["--resume"]);
    assert!(refused.refused(2).ends_with("other.partial: is not what an interrupted run left; name another --out\n"));
    fs::write(place.path("prepared/train.jsonl"), "{").unwrap();
    place.run("broken", &[]).refused(2);
    assert!(!place.path("broken.partial").exists() && place.path("other.partial/mine").exists());
}

/// The command in a shell that lets no file grow beyond `blocks` of 512 bytes, as a disk that is full does.
#[cfg(target_os = "linux")]
fn cramped(place: &Place, blocks: u64, out: &str, more: &[&str]) -> Said {
    let real = place.command(out, more);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\"", &blocks.to_string()]);
    shell.arg(real.get_program()).args(real.get_args()).current_dir(place.dir.path());
    shell.env_clear().env("HOME", place.dir.path()).env("PATH", "/usr/bin:/bin");
    shell.output().unwrap().into()
}

#[test]
#[cfg(target_os = "linux")]
fn without_space_for_checkpoints_training_goes_on_with_a_warning() {
    let place = Place::new();
    place.run("whole", &[]).ok();
    // A checkpoint holds four times what the adapter does.
    let blocks = 2 * place.adapter("whole").len() as u64 / 512;
    let said = cramped(&place, blocks, "out", &["--json"]).ok();
    assert!(said.err.contains("warning: the checkpoint of step 3 was not saved (File too large"), "{said:?}");
    assert_eq!(said.json()["storage_warnings"][0]["checkpoint_not_saved"]["step"], 3);
    assert!(place.adapter("out") == place.adapter("whole"));
}

#[test]
#[cfg(target_os = "linux")]
fn without_space_for_the_adapter_the_checkpoint_stays_to_finish_from() {
    let place = Place::new();
    place.run("whole", &[]).ok();
    place.interrupted("out", 1);
    let said = cramped(&place, place.adapter("whole").len() as u64 / 1024, "out", &["--resume"]);
    assert_eq!(said.code, 5, "{said:?}");
    let last = said.err.lines().last().unwrap();
    assert!(
        last.starts_with("error: cannot write ") && last.contains("adapter_model.safetensors: File too large"),
        "{last}"
    );
    assert!(last.contains("; free some space on the disk; ") && last.ends_with("go on with --resume"), "{last}");
    place.run("out", &["--resume"]).ok();
    assert!(place.adapter("out") == place.adapter("whole"));
}
