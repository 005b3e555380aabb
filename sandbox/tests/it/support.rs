//! A workdir, something outside it that must stay as it is, and a way to run jobs.
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tunesmith_sandbox::{Ended, Finished, Job, Line, Local, Workdir};

pub const PROBE: &str = "sandbox-probe";
/// What a probe that was stopped leaves with, and one that got through.
pub const STOPPED: Ended = Ended::Exit(10);
pub const ESCAPED: Ended = Ended::Exit(0);
/// A user without privileges.
const NOBODY: u32 = 65534;

/// The program of `examples/companion.rs`, which `cargo test` builds beside the tests.
pub fn companion() -> String {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().unwrap().parent().unwrap().join("examples/companion");
    assert!(path.exists(), "run `cargo build -p tunesmith-sandbox --examples` first");
    path.into_os_string().into_string().unwrap()
}

pub struct Place {
    pub dir: Workdir,
    outside: TempDir,
    _inside: TempDir,
}

impl Place {
    pub fn new() -> Self {
        let (outside, inside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("canary"), "canary").unwrap();
        Place { dir: Workdir::open(inside.path()).unwrap(), outside, _inside: inside }
    }

    /// A file that no job may read or write.
    pub fn canary(&self) -> PathBuf {
        self.outside.path().join("canary")
    }

    pub fn outside(&self) -> &Path {
        self.outside.path()
    }

    /// Runs a job confined and gives its end and its standard output.
    pub async fn run(&self, job: Job) -> (Finished, Vec<String>) {
        run(&confined(), &self.dir, job).await
    }

    /// Runs a probe twice: confined, and with confinement off to prove that it tries something.
    pub async fn attempt(&self, name: &str, target: &str) -> (Ended, Ended) {
        let job = Job::new([companion().as_str(), PROBE, name, target]);
        let (stopped, _) = self.run(job.clone()).await;
        let (escaped, _) = run(&confined().unconfined(), &self.dir, job).await;
        (stopped.ended, escaped.ended)
    }
}

pub fn confined() -> Local {
    Local::with_init(companion().into())
}

pub async fn run(local: &Local, dir: &Workdir, job: Job) -> (Finished, Vec<String>) {
    let mut running = local.spawn(dir, job).unwrap();
    let mut output = Vec::new();
    while let Some(line) = running.lines.recv().await {
        if let Line::Out(line) = line {
            output.push(line);
        }
    }
    (running.wait().await, output)
}

/// A job of a shell, which may also start the companion.
pub fn shell(script: &str) -> Job {
    let mut job = Job::new(["sh", "-c", script]);
    job.reads.push(companion().into());
    job.env.insert("COMPANION".into(), companion());
    job
}

/// The number outside of a process that has this number in the namespace of a job, which works in `dir`.
pub fn outside(dir: &Workdir, inside: &str) -> String {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let found = pids.find(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        numbers.split_whitespace().last() == Some(inside)
            && fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == dir.path())
    });
    found.unwrap_or_else(|| panic!("there is no process {inside} in the job")).to_string()
}

pub fn alive(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

/// Whether a process is gone within three seconds.
pub fn dies(pid: &str) -> bool {
    let end = Instant::now() + Duration::from_secs(3);
    while alive(pid) && Instant::now() < end {
        std::thread::yield_now();
    }
    !alive(pid)
}

/// Whether the processes of a job are in namespaces of their own.
pub async fn in_namespaces(local: &Local) -> bool {
    let outside = fs::read_link("/proc/self/ns/pid").unwrap();
    let (_, output) = run(local, &Place::new().dir, Job::new(["readlink", "/proc/self/ns/pid"])).await;
    output != [outside.to_str().unwrap()]
}

pub fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Runs a test of this binary again as a user without privileges, where this one is root.
pub fn again_as_nobody(test: &str) {
    if !is_root() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let open = |path: &Path, mode: u32| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    open(place.path(), 0o755);
    // Where a user without privileges may start them; this binary finds the companion by its own place.
    let (tests, temporary) = (place.path().join("deps/it"), place.path().join("tmp"));
    for (from, to) in [
        (std::env::current_exe().unwrap(), tests.clone()),
        (companion().into(), place.path().join("examples/companion")),
    ] {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }
    fs::create_dir(&temporary).unwrap();
    open(&temporary, 0o777);
    let mut command = Command::new(tests);
    command.args([test, "--exact", "--include-ignored", "--nocapture"]).uid(NOBODY).gid(NOBODY);
    command.env("TMPDIR", temporary).current_dir("/");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "as user {NOBODY}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said.lines().filter(|line| line.contains(" kills ")).for_each(|line| println!("user {NOBODY}: {line}"));
}
