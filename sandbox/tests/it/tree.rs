//! Nothing of a job outlives it, not even a daemon in a session of its own.
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use tunesmith_sandbox::{Ended, Limit, Line, Mechanism, Running};

use crate::support::{PROBE, Place, alive, companion, confined, dies, outside, shell};

/// Prints the number of a daemon, then of itself, and stays.
const LEAVES_A_DAEMON: &str = "\"$COMPANION\" sandbox-probe daemon; echo $$; sleep 30";

/// The number outside of the process of which the job prints the number inside.
async fn number(place: &Place, running: &mut Running) -> String {
    match running.lines.recv().await {
        Some(Line::Out(line)) => outside(&place.dir, &line),
        other => panic!("expected a process number, got {other:?}"),
    }
}

#[test]
fn without_a_supervisor_a_daemon_survives() {
    let mut probe = Command::new(companion());
    let mut probe = probe.args([PROBE, "daemon"]).stdout(Stdio::piped()).process_group(0).spawn().unwrap();
    // The daemon holds the pipe open, so only one line is read and not the end awaited.
    let pid = BufReader::new(probe.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", probe.id())]).output().unwrap();
    probe.wait().unwrap();
    assert!(alive(&pid));
    assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
}

#[tokio::test]
async fn a_daemon_is_dead_after_the_time_limit() {
    let place = Place::new();
    let mut job = shell(LEAVES_A_DAEMON);
    job.limits.wall = Some(Duration::from_millis(500));
    let mut running = confined().spawn(&place.dir, job).unwrap();
    let pid = number(&place, &mut running).await;
    let finished = running.wait().await;
    assert_eq!((finished.ended, alive(&pid)), (Ended::Limit(Limit::Wall), false));
    assert!(finished.wall < Duration::from_millis(1500));
}

#[tokio::test]
async fn a_daemon_is_dead_after_cancelling() {
    let place = Place::new();
    let mut running = confined().spawn(&place.dir, shell(LEAVES_A_DAEMON)).unwrap();
    let (daemon, main) = (number(&place, &mut running).await, number(&place, &mut running).await);
    assert!(alive(&daemon) && alive(&main));
    running.cancel();
    let ended = running.wait().await.ended;
    assert_eq!((ended, alive(&daemon), alive(&main)), (Ended::Cancelled, false, false));
}

#[tokio::test]
async fn a_daemon_is_dead_after_the_end_of_the_job() {
    let place = Place::new();
    // The job ends once the number of its daemon outside is known.
    let job = shell("\"$COMPANION\" sandbox-probe daemon; until test -e known; do :; done");
    for local in [confined(), confined().unconfined()] {
        let _ = std::fs::remove_file(place.dir.path().join("known"));
        let mut running = local.spawn(&place.dir, job.clone()).unwrap();
        let pid = number(&place, &mut running).await;
        std::fs::write(place.dir.path().join("known"), "").unwrap();
        assert_eq!((running.wait().await.ended, alive(&pid)), (Ended::Exit(0), false));
    }
}

#[tokio::test]
async fn dropping_a_job_kills_it() {
    let place = Place::new();
    let mut running = confined().spawn(&place.dir, shell(LEAVES_A_DAEMON)).unwrap();
    let daemon = number(&place, &mut running).await;
    drop(running);
    assert!(tokio::task::spawn_blocking(move || dies(&daemon)).await.unwrap());
}

#[test]
fn killing_the_caller_kills_the_job() {
    let place = Place::new();
    let job = serde_json::to_string(&shell(LEAVES_A_DAEMON)).unwrap();
    let mut caller = Command::new(companion());
    caller.arg(job).arg(place.dir.path()).stdout(Stdio::piped());
    let mut caller = caller.spawn().unwrap();
    let mut lines = BufReader::new(caller.stdout.take().unwrap()).lines();
    let mut number = || outside(&place.dir, &lines.next().unwrap().unwrap());
    let (daemon, main) = (number(), number());
    assert!(alive(&daemon) && alive(&main));
    caller.kill().unwrap();
    caller.wait().unwrap();
    assert!(dies(&daemon) && dies(&main));
}

#[tokio::test]
async fn killing_the_supervisor_kills_the_job() {
    let place = Place::new();
    for local in [confined(), confined().without(Mechanism::Namespaces)] {
        let mut running = local.spawn(&place.dir, shell("echo $$; exec sleep 30")).unwrap();
        let main = number(&place, &mut running).await;
        let supervisor = std::iter::successors(Some(main.clone()), |pid| Some(parent(pid)));
        let supervisor = supervisor.take_while(|pid| *pid != std::process::id().to_string()).last().unwrap();
        Command::new("kill").args(["-KILL", &supervisor]).status().unwrap();
        let ended = running.wait().await.ended;
        assert!(matches!(&ended, Ended::Failed(why) if why.contains("supervisor")), "{ended:?}");
        assert!(dies(&main));
    }
}

fn parent(pid: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().to_string()
}

#[tokio::test]
async fn many_processes_that_keep_starting_others_all_die() {
    let place = Place::new();
    let script = "go() { while :; do sleep 0.01 & wait; done; }; for i in 1 2 3 4 5 6 7 8; do go & done; echo $$; wait";
    for local in [confined(), confined().without(Mechanism::Namespaces)] {
        let mut running = local.spawn(&place.dir, shell(script)).unwrap();
        let group = number(&place, &mut running).await;
        running.cancel();
        assert_eq!(running.wait().await.ended, Ended::Cancelled);
        // Signal 0 to a group finds any member that is left.
        let found = Command::new("kill").args(["-0", "--", &format!("-{group}")]).output().unwrap();
        assert!(!found.status.success());
    }
}
