//! The supervisor: starts one job, watches it, and leaves nothing of it behind.
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::limits::{KernelLimits, Meter};
use super::sys::{self, Reaped};
use super::{calls, files, tree};
use crate::wire::{Policy, Stop};
use crate::{Ended, Finished, Layer, Limit, Mechanism, Status};

/// How long processes may take to die before the job is reported with survivors.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs a job to its end and kills what it leaves behind.
pub(crate) fn supervise(policy: Policy, input: Option<Vec<u8>>, socket: &UnixStream, confined: bool) -> Finished {
    let start = Instant::now();
    let mut meter = Meter::new(policy.job.limits.clone(), policy.workdir.clone());
    let mut layers = super::layers(confined, &policy.without);
    let ended = match launch(&policy, input, confined) {
        Ok(main) => watch(main, policy.job.limits.wall.map(|wall| start + wall), socket, &mut meter),
        Err(error) => Ended::Failed(format!("cannot run `{}`: {error}", policy.program.display())),
    };
    let survivors = kill_all();
    if survivors > 0 {
        set(&mut layers, Layer::Tree, Status::Partial(format!("{survivors} processes did not die")));
    }
    // The last bytes may have been written since the last look.
    let ended = match ended {
        Ended::Exit(_) | Ended::Signal(_) => meter.disk().map_or(ended, Ended::Limit),
        other => other,
    };
    let (cpu, largest) = sys::ended_usage();
    let peak_memory = Some(meter.peak_memory.max(largest));
    Finished { ended, wall: start.elapsed(), cpu: Some(cpu), peak_memory, layers }
}

fn set(layers: &mut [(Layer, Status)], layer: Layer, status: Status) {
    for entry in layers.iter_mut().filter(|entry| entry.0 == layer) {
        entry.1 = status.clone();
    }
}

/// Starts the job's first process and gives its number.
fn launch(policy: &Policy, input: Option<Vec<u8>>, confined: bool) -> io::Result<i32> {
    sys::become_subreaper()?;
    let mut command = Command::new(&policy.program);
    command.args(policy.job.argv.iter().skip(1)).current_dir(&policy.workdir);
    if let Some(name) = policy.job.argv.first() {
        command.arg0(name);
    }
    command.stdin(match input {
        Some(bytes) => Stdio::from(file_with(&bytes)?),
        None => Stdio::null(),
    });
    if confined {
        sys::hide()?;
    }
    let temporary = temporary_directory(&policy.workdir)?;
    command.env_clear().env("PATH", crate::local::PATH).env("LANG", "C.UTF-8");
    command.env("HOME", &policy.workdir).env("TMPDIR", temporary);
    command.envs(&policy.job.env);
    confine(&mut command, policy, confined)?;
    Ok(command.spawn()?.id().cast_signed())
}

/// Has the child take its limits and give up its rights, the right to do so last.
fn confine(command: &mut Command, policy: &Policy, confined: bool) -> io::Result<()> {
    let supervisor = std::process::id();
    let limits = KernelLimits::of(&policy.job.limits);
    let landlock = confined && !policy.without.contains(&Mechanism::Landlock);
    let mut ruleset = if landlock { Some(files::rules(policy).map_err(io::Error::other)?) } else { None };
    let filters = if confined && sys::can_filter() {
        calls::filters(policy.job.net, &protected(supervisor.cast_signed())).map_err(io::Error::other)?
    } else {
        Vec::new()
    };
    sys::before_exec(command, move || {
        sys::new_session()?;
        sys::die_with(supervisor)?;
        limits.set()?;
        if confined {
            sys::drop_capabilities()?;
            sys::no_new_privileges()?;
            sys::close_on_exec()?;
        }
        if let Some(ruleset) = ruleset.take() {
            files::enforce(ruleset).map_err(io::Error::other)?;
        }
        filters.iter().try_for_each(|filter| seccompiler::apply_filter(filter).map_err(io::Error::other))
    });
    Ok(())
}

/// The processes and groups that a job must not signal even where the kernel has no scopes for signals.
fn protected(supervisor: i32) -> Vec<i32> {
    let caller = std::os::unix::process::parent_id().cast_signed();
    let mut protected = vec![-1, supervisor, -supervisor, caller];
    protected.extend(sys::group_of(caller).map(|group| -group));
    protected
}

fn file_with(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(sys::memory_file()?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// Makes sure that the directory for temporary files is one, whatever an earlier job put in its place.
fn temporary_directory(workdir: &Path) -> io::Result<PathBuf> {
    let path = workdir.join(".tmp");
    match fs::symlink_metadata(&path) {
        Ok(metadata) if metadata.is_dir() => return Ok(path),
        Ok(_) => fs::remove_file(&path)?,
        Err(_) => {}
    }
    fs::create_dir(&path)?;
    Ok(path)
}

/// Waits for the first process to end, for a limit to be passed, or for a word from the caller.
fn watch(main: i32, deadline: Option<Instant>, socket: &UnixStream, meter: &mut Meter) -> Ended {
    let file = sys::process_file(main).ok();
    let mut waiting = vec![socket.as_fd()];
    waiting.extend(file.as_ref().map(AsFd::as_fd));
    loop {
        if let Some(ended) = reap_until(main) {
            return ended;
        }
        if let Some(stop) = asked_to_stop(socket) {
            return stop;
        }
        let now = Instant::now();
        if deadline.is_some_and(|deadline| now >= deadline) {
            return Ended::Limit(Limit::Wall);
        }
        if now >= meter.next()
            && let Some(limit) = meter.look()
        {
            return Ended::Limit(limit);
        }
        let wake = deadline.map_or(meter.next(), |deadline| deadline.min(meter.next()));
        let pause = wake.saturating_duration_since(Instant::now());
        // Without a file that tells of the end, the end has to be polled for. Rounded up: zero would spin.
        let pause = if file.is_some() { pause } else { pause.min(Duration::from_millis(10)) };
        sys::wait_readable(&waiting, pause + Duration::from_millis(1));
    }
}

/// Takes note of ended children; says how the job ended if its first process is among them.
fn reap_until(main: i32) -> Option<Ended> {
    loop {
        match sys::reap() {
            Reaped::Child(pid, status) if pid == main => return Some(ended(ExitStatus::from_raw(status))),
            Reaped::Child(..) => {}
            Reaped::NoneEnded => return None,
            Reaped::NoneLeft => return Some(Ended::Failed("the job's first process was lost".into())),
        }
    }
}

fn ended(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Exit(code),
        (None, Some(libc::SIGXCPU)) => Ended::Limit(Limit::Cpu),
        (None, Some(libc::SIGXFSZ)) => Ended::Limit(Limit::FileSize),
        (None, signal) => Ended::Signal(signal.unwrap_or_default()),
    }
}

/// A closed socket means that the caller is dead, and then so shall be the job.
fn asked_to_stop(mut socket: &UnixStream) -> Option<Ended> {
    let mut byte = [0];
    match socket.read(&mut byte) {
        Ok(1) if Stop::from_byte(byte[0]) == Stop::Output => Some(Ended::Limit(Limit::Output)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => None,
        _ => Some(Ended::Cancelled),
    }
}

/// Kills all descendants and says how many would not die.
///
/// Orphans of killed processes become children of this subreaper, so having no child left means that nothing is left.
fn kill_all() -> usize {
    let supervisor = std::process::id().cast_signed();
    let group = sys::group_of(supervisor);
    let end = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(1);
    loop {
        match sys::reap() {
            Reaped::NoneLeft => return 0,
            Reaped::Child(..) => continue,
            Reaped::NoneEnded => {}
        }
        let tree = tree::below(supervisor);
        for process in &tree {
            // A whole group dies at one stroke, however fast its members fork. The job left the supervisor's group
            // with its session, and nobody else can enter one of its groups.
            if Some(process.group) != group && process.group > 1 {
                sys::kill(-process.group, libc::SIGKILL);
            }
            sys::kill(process.pid, libc::SIGKILL);
        }
        if Instant::now() >= end {
            return tree.len();
        }
        sys::wait_readable(&[], pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
