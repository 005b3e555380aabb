//! Jobs that use too much of something.
use std::fs;
use std::time::Duration;

use tunesmith_sandbox::{Ended, Job, Limit, Limits};

use crate::support::{Place, companion, confined, run, shell};

const MIB: u64 = 1 << 20;

fn limited(job: Job, change: impl FnOnce(&mut Limits)) -> Job {
    let mut job = job;
    change(&mut job.limits);
    job
}

fn hog(what: &str, amount: u64) -> Job {
    Job::new([companion(), "hog".into(), what.into(), amount.to_string()])
}

#[tokio::test]
async fn time() {
    let job = limited(shell("sleep 30"), |limits| limits.wall = Some(Duration::from_millis(300)));
    let (finished, _) = Place::new().run(job).await;
    assert_eq!(finished.ended, Ended::Limit(Limit::Wall));
    assert!(finished.wall >= Duration::from_millis(300) && finished.wall < Duration::from_millis(1300));
}

#[tokio::test]
async fn processor_time_of_all_processes_together() {
    let script = "for i in 1 2 3; do (while :; do :; done) & done; wait";
    let job = limited(shell(script), |limits| limits.cpu = Some(Duration::from_millis(500)));
    let (finished, _) = Place::new().run(job).await;
    assert_eq!(finished.ended, Ended::Limit(Limit::Cpu));
    assert!(finished.cpu.unwrap() >= Duration::from_millis(500) && finished.wall < Duration::from_secs(10));
}

#[tokio::test]
async fn processor_time_of_processes_that_their_parents_left() {
    let busy = "(setsid timeout 0.4 sh -c 'while :; do :; done' &); sleep 0.3";
    let job = limited(shell(&format!("for i in 1 2 3 4 5 6 7 8 9 10; do {busy}; done")), |limits| {
        limits.cpu = Some(Duration::from_secs(1));
    });
    assert_eq!(Place::new().run(job).await.0.ended, Ended::Limit(Limit::Cpu));
}

#[tokio::test]
async fn a_signal_that_is_no_limit() {
    let (finished, _) = Place::new().run(shell("kill -XCPU $$")).await;
    assert!(matches!(finished.ended, Ended::Signal(_)), "{finished:?}");
}

#[tokio::test]
async fn memory() {
    let over = limited(hog("memory", 300 * MIB), |limits| limits.memory = Some(128 * MIB));
    let (finished, _) = Place::new().run(over).await;
    assert_eq!(finished.ended, Ended::Limit(Limit::Memory));
    let within = limited(hog("memory", 100 * MIB), |limits| {
        limits.memory = Some(200 * MIB);
        limits.wall = Some(Duration::from_millis(800));
    });
    let (finished, _) = Place::new().run(within).await;
    assert_eq!(finished.ended, Ended::Limit(Limit::Wall));
    let peak = finished.peaks.memory.unwrap();
    // The peak is looked at anew when it may have grown by a sixteenth.
    assert!((85 * MIB..200 * MIB).contains(&peak), "{peak}");
}

#[tokio::test]
async fn memory_of_several_processes_together() {
    let script = "for i in 1 2 3 4; do \"$COMPANION\" hog memory 60000000 & done; wait";
    let job = limited(shell(script), |limits| limits.memory = Some(150 * MIB));
    assert_eq!(Place::new().run(job).await.0.ended, Ended::Limit(Limit::Memory));
}

#[tokio::test]
async fn processes() {
    let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 30 & done; echo all; wait";
    let job = limited(shell(script), |limits| limits.processes = Some(10));
    assert_eq!(Place::new().run(job).await.0.ended, Ended::Limit(Limit::Processes));
}

#[tokio::test]
async fn threads_count_as_processes() {
    let job = limited(hog("threads", 100), |limits| limits.processes = Some(50));
    assert_eq!(Place::new().run(job).await.0.ended, Ended::Limit(Limit::Processes));
}

#[tokio::test]
async fn the_size_of_a_file() {
    let place = Place::new();
    let job = limited(shell("exec head -c 3000000 /dev/zero > file"), |limits| limits.file_bytes = Some(1_000_000));
    assert_eq!(place.run(job).await.0.ended, Ended::Limit(Limit::FileSize));
    assert_eq!(fs::metadata(place.dir.path().join("file")).unwrap().len(), 1_000_000);
}

#[tokio::test]
async fn bytes_in_the_workdir() {
    let script = "i=0; while :; do head -c 1000000 /dev/zero > f$i; i=$((i+1)); done";
    let job = limited(shell(script), |limits| limits.disk_bytes = Some(20_000_000));
    assert_eq!(Place::new().run(job).await.0.ended, Ended::Limit(Limit::Disk));
}

#[tokio::test]
async fn jobs_at_the_same_time_share_the_room_of_their_workdir() {
    let place = Place::new();
    let local = confined().with_room(20_000_000);
    let fill = |name: &str| shell(&format!("head -c 15000000 /dev/zero > {name}; exec sleep 30"));
    let waits = |job: Job| limited(job, |limits| limits.wall = Some(Duration::from_secs(20)));
    let (one, two) =
        tokio::join!(run(&local, &place.dir, waits(fill("one"))), run(&local, &place.dir, waits(fill("two"))));
    // Each alone would have had room.
    assert_eq!([one.0.ended, two.0.ended], [Ended::Limit(Limit::Disk), Ended::Limit(Limit::Disk)]);
    // Whoever asks for less than there is gets less, and not more than there is.
    let asks = |bytes| limited(fill("three"), |limits| limits.disk_bytes = Some(bytes));
    fs::remove_file(place.dir.path().join("one")).unwrap();
    fs::remove_file(place.dir.path().join("two")).unwrap();
    for (bytes, room) in [(5_000_000, 20_000_000), (1 << 40, 10_000_000)] {
        let (finished, _) = run(&confined().with_room(room), &place.dir, asks(bytes)).await;
        assert_eq!(finished.ended, Ended::Limit(Limit::Disk), "{bytes}");
    }
}

#[tokio::test]
async fn files_in_the_workdir() {
    let script = "i=0; while :; do : > f$i; i=$((i+1)); done";
    let job = limited(shell(script), |limits| limits.files = Some(200));
    let (finished, _) = Place::new().run(job).await;
    assert_eq!(finished.ended, Ended::Limit(Limit::Files));
    assert!(finished.peaks.files.unwrap() > 200);
}

#[tokio::test]
async fn bytes_of_files_that_were_deleted_and_are_open() {
    let script = "exec 7>f; rm f; while :; do head -c 1000000 /dev/zero >&7; done";
    let job = limited(shell(script), |limits| limits.disk_bytes = Some(20_000_000));
    let (finished, _) = Place::new().run(job).await;
    assert_eq!(finished.ended, Ended::Limit(Limit::Disk));
    assert!(finished.peaks.disk_bytes.unwrap() > 20_000_000);
}

#[tokio::test]
async fn bytes_of_files_in_memory_that_nobody_has_mapped() {
    let job = limited(hog("memory-file", 300 * MIB), |limits| limits.memory = Some(128 * MIB));
    let (finished, _) = Place::new().run(job).await;
    assert_eq!(finished.ended, Ended::Limit(Limit::Memory));
    assert!(finished.peaks.memory.unwrap() > 128 * MIB);
}

#[tokio::test]
async fn bytes_in_the_workdir_that_were_written_at_the_last_moment() {
    let job = limited(shell("head -c 3000000 /dev/zero > f"), |limits| limits.disk_bytes = Some(1_000_000));
    assert_eq!(Place::new().run(job).await.0.ended, Ended::Limit(Limit::Disk));
}

#[tokio::test]
async fn output() {
    let job = limited(shell("yes"), |limits| limits.output_bytes = Some(MIB));
    let (finished, output) = Place::new().run(job).await;
    assert_eq!(finished.ended, Ended::Limit(Limit::Output));
    let bytes: usize = output.iter().map(|line| line.len() + 1).sum();
    assert!(bytes as u64 <= MIB, "{bytes}");
}

#[tokio::test]
async fn output_that_nobody_reads() {
    let job = limited(shell("head -c 1500000 /dev/zero"), |limits| limits.output_bytes = Some(MIB));
    let place = Place::new();
    let running = crate::support::confined().spawn(&place.dir, job).unwrap();
    assert_eq!(running.wait().await.ended, Ended::Limit(Limit::Output));
}
