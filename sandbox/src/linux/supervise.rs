//! The supervisor: starts one job, watches it, and leaves nothing of it behind.
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::cgroup::Group;
use super::kernel::Kernel;
use super::launch::{self, Confinement};
use super::limits::Meter;
use super::spaces::{self, Init, Refused, User};
use super::sys::{self, Reaped};
use super::tree;
use crate::wire::{Policy, Stop};
use crate::{Ended, Finished, Layer, Limit, Mechanism, Status};

/// How long processes may take to die before the job is reported with survivors.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs a job to its end and kills what it leaves behind.
pub(crate) fn supervise(policy: Policy, input: Option<Vec<u8>>, socket: &UnixStream, confined: bool) -> Finished {
    let start = Instant::now();
    let mut meter = Meter::new(policy.job.limits.clone(), policy.workdir.clone());
    let temporary = launch::make_temporary_directory(&policy.workdir);
    let (started, kernel) = launch(&policy, (input, &temporary), meter.group.as_ref(), confined);
    let mut layers = kernel.layers(confined);
    let ended = match started {
        Ok(main) => watch(main, policy.job.limits.wall.map(|wall| start + wall), socket, &mut meter),
        Err(why) => Ended::Failed(why),
    };
    // A control group tells of a limit also after the processes that reached it.
    let ended = match ended {
        Ended::Exit(_) | Ended::Signal(_) => meter.group.as_ref().and_then(Group::reached).map_or(ended, Ended::Limit),
        other => other,
    };
    meter.group.iter().for_each(Group::kill);
    let survivors = kill_all();
    if survivors > 0 {
        set(&mut layers, Layer::Tree, Status::Partial(format!("{survivors} processes did not die")));
    }
    // The last bytes may have been written since the last look.
    let ended = match ended {
        Ended::Exit(_) | Ended::Signal(_) => meter.disk().map_or(ended, Ended::Limit),
        other => other,
    };
    if let Ok(temporary) = temporary {
        // What cannot be removed is in the way of nobody.
        let _ = fs::remove_dir_all(temporary);
    }
    let (cpu, largest) = sys::ended_usage();
    let counted = meter.group.as_ref().and_then(Group::peak_memory);
    meter.peaks.memory = meter.peaks.memory.max(Some(largest)).max(counted);
    Finished {
        ended,
        wall: start.elapsed(),
        cpu: Some(cpu.max(meter.cpu)),
        peaks: meter.peaks,
        layers,
        refused_hosts: Vec::new(),
    }
}

fn set(layers: &mut [(Layer, Status)], layer: Layer, status: Status) {
    for entry in layers.iter_mut().filter(|entry| entry.0 == layer) {
        entry.1 = status.clone();
    }
}

/// The process whose end is the job's end.
enum Main {
    /// The job's first process.
    Job(i32),
    /// The first process of the job's namespaces, which tells how the job's ended.
    Init(Init),
}

impl Main {
    fn pid(&self) -> i32 {
        match self {
            Main::Job(pid) => *pid,
            Main::Init(init) => init.pid,
        }
    }

    /// The process below which are those of the job, and no other.
    fn root(&self) -> i32 {
        match self {
            Main::Job(_) => std::process::id().cast_signed(),
            Main::Init(init) => init.pid,
        }
    }

    /// How the job ended, when the process did with this status.
    fn ended(&mut self, status: i32) -> Ended {
        match self {
            Main::Job(_) => ended(ExitStatus::from_raw(status)),
            Main::Init(init) => match init.status() {
                Some(status) => ended(ExitStatus::from_raw(status)),
                None => Ended::Failed("the first process of the job's namespaces was lost".into()),
            },
        }
    }
}

/// Starts the job, and says with what of the kernel's help. Nothing starts without a layer that is required.
fn launch(
    policy: &Policy,
    (input, temporary): (Option<Vec<u8>>, &io::Result<PathBuf>),
    group: Option<&Group>,
    confined: bool,
) -> (Result<Main, String>, Kernel) {
    let mut kernel = Kernel::of(&policy.without);
    kernel.group = group.map_or((false, false), |group| (group.memory, group.processes));
    let told = |error: &io::Error| format!("cannot run `{}`: {error}", policy.program.display());
    let input = sys::become_subreaper().and_then(|()| input.as_deref().map(launch::file_with).transpose());
    let (input, temporary) = match (input, temporary) {
        (Ok(input), Ok(temporary)) => (input, temporary),
        (Err(error), _) => return (Err(told(&error)), kernel),
        (_, Err(error)) => return (Err(told(error)), kernel),
    };
    if confined && !policy.without.contains(&Mechanism::Namespaces) {
        match in_spaces(policy, (input.as_ref(), temporary), group, &mut kernel) {
            Ok(Some(init)) => return (Ok(Main::Init(init)), kernel),
            Ok(None) => {}
            Err(error) => return (Err(told(&error)), kernel),
        }
    }
    if let Err(why) = kernel.suffices(policy, confined) {
        return (Err(why), kernel);
    }
    let start = || {
        if confined {
            sys::hide()?;
        }
        let user = User::same();
        let confinement = Confinement {
            landlock: confined && kernel.landlock > 0,
            own_spaces: false,
            user: confined.then_some(&user),
            group,
            parent: std::process::id(),
        };
        let mut command = launch::command(policy, (&policy.program, temporary), input, &confinement)?;
        Ok(Main::Job(command.spawn()?.id().cast_signed()))
    };
    let main = start().map_err(|error| told(&error));
    (main, kernel)
}

/// Starts the job in namespaces, as root with a user of its own if the file system can show it its files; `None` where
/// namespaces cannot be made, and `kernel` tells why.
fn in_spaces(
    policy: &Policy,
    (input, temporary): (Option<&OwnedFd>, &Path),
    group: Option<&Group>,
    kernel: &mut Kernel,
) -> io::Result<Option<Init>> {
    let users =
        if sys::is_root() { vec![User::apart(&policy.workdir), Ok(User::same())] } else { vec![Ok(User::same())] };
    for user in users {
        let refused = match user {
            Err(error) => error,
            Ok(user) => {
                kernel.own_user = matches!(user, User::Apart { .. });
                kernel.spaces = Ok(());
                if let Err(why) = kernel.suffices(policy, true) {
                    return Err(io::Error::other(why));
                }
                let input = input.map(OwnedFd::try_clone).transpose()?;
                match spaces::start(policy, (input, temporary), (&user, kernel.landlock > 0), group) {
                    Ok(init) => {
                        sys::hide()?;
                        return Ok(Some(init));
                    }
                    Err(Refused::Job(error)) => return Err(error),
                    Err(Refused::Spaces(error)) => error,
                }
            }
        };
        kernel.own_user = false;
        kernel.spaces = Err(refused.to_string());
    }
    Ok(None)
}

/// Waits for the first process to end, for a limit to be passed, or for a word from the caller.
fn watch(mut main: Main, deadline: Option<Instant>, socket: &UnixStream, meter: &mut Meter) -> Ended {
    let file = sys::process_file(main.pid()).ok();
    let mut waiting = vec![socket.as_fd()];
    waiting.extend(file.as_ref().map(AsFd::as_fd));
    loop {
        if let Some(ended) = reap_until(&mut main) {
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
            && let Some(limit) = meter.look(main.root())
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
fn reap_until(main: &mut Main) -> Option<Ended> {
    loop {
        match sys::reap() {
            Reaped::Child(pid, status) if pid == main.pid() => return Some(main.ended(status)),
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
