//! Random kills: whoever ends a job, and whenever, no process of it is alive a second later.
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tunesmith_sandbox::{Ended, Job, Limit, Local, Mechanism};

use crate::support::{Place, again_as_nobody, companion, confined, in_namespaces, shell};

/// Children, daemons in sessions of their own, a process that ignores signals, a chain that never stops forking, a process
/// that is stopped, and one that waits for a writer that never comes.
const TREE: &str = r#"
sleep 60 &
(sleep 60 & sleep 60 & wait) &
setsid setsid sleep 60 &
setsid sh -c 'sleep 60 & exec sleep 60' >/dev/null 2>&1 </dev/null &
"$COMPANION" sandbox-probe daemon
"$COMPANION" sandbox-probe daemon &
(trap '' TERM HUP INT QUIT; while :; do sleep 1; done) &
hop() { sleep 0.005; hop & }
hop &
sh -c 'kill -STOP $$' &
mkfifo "$TMPDIR/fifo.$KIN" && cat "$TMPDIR/fifo.$KIN" &
setsid sh -c 'while :; do sleep 0.01 & wait; done' &
wait
"#;

/// How soon everything must be dead.
const SOON: Duration = Duration::from_secs(1);

/// Who ends the job.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Timeout,
    Cancel,
    Drop,
    CallerKilled,
    SupervisorKilled,
}

#[test]
fn twenty_random_kills_leave_no_process() {
    survive_as_both("kills::twenty_random_kills_leave_no_process", 20, 1);
}

#[test]
#[ignore = "a minute: two hundred kills in each mode"]
fn soak_two_hundred_random_kills_leave_no_process() {
    survive_as_both("kills::soak_two_hundred_random_kills_leave_no_process", 200, 2);
}

fn survive_as_both(test: &str, kills: usize, seed: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let modes = [
        ("all layers", confined()),
        ("no namespaces", confined().without(Mechanism::Namespaces)),
        ("unconfined", confined().unconfined()),
    ];
    for (name, local) in modes {
        runtime.block_on(survive(name, &local, kills, seed));
    }
    again_as_nobody(test);
}

/// Starts and kills jobs in turns of all ways, at moments from before the first process until the whole tree stands.
async fn survive(mode: &str, local: &Local, kills: usize, seed: u64) {
    let mut ways = vec![Way::Timeout, Way::Cancel, Way::Drop, Way::CallerKilled];
    // Where processes have no namespace, nothing but the supervisor knows the daemons, so they survive its own death.
    if in_namespaces(local).await {
        ways.push(Way::SupervisorKilled);
    }
    let (mut state, mut seen, mut slowest) = (seed, 0, Duration::ZERO);
    for number in 0..kills {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let moment = Duration::from_micros(500 + (state >> 33) % 150_000);
        let way = ways[number % ways.len()];
        let kill =
            Kill { mode, way, moment, place: Place::new(), token: format!("{}-{seed}-{number}", std::process::id()) };
        let (alive, took) = kill.perform(local).await;
        seen += alive;
        slowest = slowest.max(took);
    }
    // Had hardly any process been there to kill, nothing would be proved.
    assert!(seen > kills * 5, "{mode}: only {seen} processes were alive when {kills} jobs were killed");
    let shown = slowest.as_millis();
    println!("{mode}: {kills} kills in {} ways ended {seen} processes, the slowest within {shown} ms", ways.len());
}

/// One job and its end.
struct Kill<'a> {
    mode: &'a str,
    way: Way,
    /// Time between the start and the kill.
    moment: Duration,
    place: Place,
    /// A variable of all its processes.
    token: String,
}

impl Kill<'_> {
    /// Gives how many processes were alive at the kill, and how long the last one lived.
    async fn perform(&self, local: &Local) -> (usize, Duration) {
        let mut job = shell(TREE);
        job.env.insert("KIN".into(), self.token.clone());
        let (alive, end) = match self.way {
            Way::CallerKilled | Way::SupervisorKilled => self.end_from_outside(local, &job).await,
            Way::Timeout | Way::Cancel | Way::Drop => self.end_as_caller(local, job).await,
        };
        loop {
            let (left, took) = (self.kin(), end.elapsed());
            if left.is_empty() {
                return (alive, took);
            }
            assert!(took < SOON, "{}, {:?} after {:?}: alive are {left:?}", self.mode, self.way, self.moment);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn end_as_caller(&self, local: &Local, mut job: Job) -> (usize, Instant) {
        let start = Instant::now();
        if self.way == Way::Timeout {
            job.limits.wall = Some(self.moment);
        }
        let running = local.spawn(&self.place.dir, job).unwrap();
        match self.way {
            Way::Timeout => {
                tokio::time::sleep(self.moment.saturating_sub(Duration::from_millis(5))).await;
                let alive = self.kin().len();
                assert_eq!(running.wait().await.ended, Ended::Limit(Limit::Wall));
                // The supervisor's clock starts with the job, a little after this one.
                (alive, Instant::now().min(start + self.moment + Duration::from_millis(250)))
            }
            Way::Cancel => {
                tokio::time::sleep(self.moment).await;
                let alive = self.kin().len();
                running.cancel();
                let asked = Instant::now();
                assert_eq!(running.wait().await.ended, Ended::Cancelled);
                (alive, asked)
            }
            _ => {
                tokio::time::sleep(self.moment).await;
                let alive = self.kin().len();
                drop(running);
                (alive, Instant::now())
            }
        }
    }

    /// Kills a caller that is a process of its own, or the supervisor below it.
    async fn end_from_outside(&self, local: &Local, job: &Job) -> (usize, Instant) {
        let mut caller = self.caller(local, job);
        tokio::time::sleep(self.moment).await;
        let alive = self.kin().len();
        match self.way {
            Way::CallerKilled => caller.kill().unwrap(),
            _ => kill(supervisor_of(&mut caller)),
        }
        let end = Instant::now();
        assert!(!caller.wait().unwrap().success());
        (alive, end)
    }

    fn caller(&self, local: &Local, job: &Job) -> Child {
        let mut command = Command::new(companion());
        if !local.is_confined() {
            command.arg("--open");
        }
        if self.mode == "no namespaces" {
            command.args(["--without", "namespaces"]);
        }
        command.arg(serde_json::to_string(job).unwrap()).arg(self.place.dir.path());
        // From the workdir, so that the supervisor is found as a process of the job too.
        command.current_dir(self.place.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// The processes of the job, by where they are and by a variable that they all inherit.
    fn kin(&self) -> BTreeSet<String> {
        let mark = format!("KIN={}", self.token);
        let ours = |pid: &str| {
            let process = Path::new("/proc").join(pid);
            let environ = fs::read(process.join("environ")).unwrap_or_default();
            let marked = environ.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes());
            let inside = fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(self.place.dir.path()));
            let command = || fs::read(process.join("cmdline")).unwrap_or_default();
            // The caller is in the workdir as well, and not of the job.
            marked || inside && !command().starts_with(companion().as_bytes())
        };
        let text = |pid: &str| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let shown = |pid: String| format!("{pid} {}", String::from_utf8_lossy(&text(&pid)).replace('\0', " "));
        processes().into_iter().filter(|pid| ours(pid)).map(shown).collect()
    }
}

fn processes() -> Vec<String> {
    let names = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.file_name()));
    let numbers = names.filter(|name| name.as_bytes().iter().all(u8::is_ascii_digit));
    numbers.filter_map(|name| name.into_string().ok()).collect()
}

/// Waits for the supervisor of a caller that is about to start a job.
fn supervisor_of(caller: &mut Child) -> String {
    let parent = caller.id().to_string();
    let below = |pid: &String| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let is_child = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)) == Some(&parent);
        is_child && words.split(|byte| *byte == 0).nth(1) == Some(b"sandbox-init")
    };
    loop {
        if let Some(pid) = processes().into_iter().find(below) {
            return pid;
        }
        assert!(caller.try_wait().unwrap().is_none(), "the caller ended before it was killed");
        std::thread::yield_now();
    }
}

fn kill(pid: String) {
    assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
}
