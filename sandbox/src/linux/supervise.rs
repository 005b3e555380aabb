//! The supervisor: starts one job, watches it, and leaves nothing of it behind.
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::cgroup::Group;
use super::kernel::Kernel;
use super::launch::{self, Confinement};
use super::meter::{Meter, Root};
use super::spaces::{self, Init, Refused, User};
use super::sys::{self, Reaped};
use super::temporary::Temporary;
use super::tree;
use crate::wire::{Input, Policy, Stop};
use crate::{Ended, Finished, Layer, Limit, Mechanism, Status};

/// How long processes may take to die before the job is reported with survivors.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long is waited without a deadline; then it is waited again.
const LONGEST: Duration = Duration::from_secs(3600);

/// Runs a job to its end and kills what it leaves behind.
pub(crate) fn supervise(policy: Policy, input: Input, socket: &UnixStream, confined: bool) -> Finished {
    let start = Instant::now();
    let limits = &policy.job.limits;
    let group = Group::make(limits).ok();
    let temporary = Temporary::make(&policy.workdir);
    let (started, kernel) = launch(&policy, (input, &temporary), group.as_ref(), confined);
    let mut layers = kernel.layers(confined);
    let (mut ended, meter) = match started.and_then(|main| Ok((look_at(&main, &policy)?, main))) {
        Ok((meter, main)) => {
            let deadline = limits.wall.map(|wall| start + wall);
            (watch(main, (deadline, limits.cpu), socket, (&meter, group.as_ref())), Some(meter))
        }
        Err(why) => (Ended::Failed(why), None),
    };
    group.iter().for_each(Group::kill);
    let survivors = kill_all();
    let wall = start.elapsed();
    if survivors > 0 {
        set(&mut layers, Layer::Tree, Status::Partial(format!("{survivors} processes did not die")));
    }
    // The last bytes may have been written since the last look, and a control group tells of a limit also after the
    // processes that reached it.
    let late = || meter.as_ref()?.last(&policy.workdir);
    ended = match ended {
        Ended::Exit(_) | Ended::Signal(_) => reached(group.as_ref()).or_else(late).unwrap_or(ended),
        Ended::Failed(_) => reached(group.as_ref()).unwrap_or(ended),
        other => other,
    };
    temporary.iter().for_each(Temporary::remove);
    let (used, largest) = sys::ended_usage();
    if ended == Ended::Exit(0) && limits.cpu.is_some_and(|cpu| used > cpu) {
        ended = Ended::Limit(Limit::Cpu);
    }
    let (mut peaks, seen) = meter.map(|meter| (meter.peaks(), meter.cpu())).unwrap_or_default();
    let counted = group.as_ref().and_then(Group::peak_memory);
    peaks.memory = peaks.memory.max(Some(largest)).max(counted);
    Finished { ended, wall, cpu: Some(used.max(seen)), peaks, layers, refused_hosts: Vec::new() }
}

fn look_at(main: &Main, policy: &Policy) -> Result<Meter, String> {
    let meter = Meter::start(&policy.job.limits, policy.workdir.clone(), main.root());
    meter.map_err(|error| format!("the job cannot be watched: {error}"))
}

/// The limit that a control group says was reached.
fn reached(group: Option<&Group>) -> Option<Ended> {
    group?.reached().map(Ended::Limit)
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
    fn root(&self) -> Root {
        match self {
            Main::Job(_) => Root { pid: std::process::id().cast_signed(), is_first: false },
            Main::Init(init) => Root { pid: init.pid, is_first: true },
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
    (input, temporary): (Input, &io::Result<Temporary>),
    group: Option<&Group>,
    confined: bool,
) -> (Result<Main, String>, Kernel) {
    let mut kernel = Kernel::of(policy);
    kernel.group = group.map_or((false, false), |group| (group.memory, group.processes));
    let told = |error: &io::Error| format!("cannot run `{}`: {error}", policy.program.display());
    let input = sys::become_subreaper().and_then(|()| opened(input));
    let (input, temporary) = match (input, temporary) {
        (Ok(input), Ok(temporary)) => (input, temporary),
        (Err(error), _) => return (Err(told(&error)), kernel),
        (_, Err(error)) => {
            return (Err(format!("the workdir {} cannot be used: {error}", policy.workdir.display())), kernel);
        }
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

/// What the job reads as a file.
fn opened(input: Input) -> io::Result<Option<OwnedFd>> {
    Ok(match input {
        Input::Null => None,
        Input::Bytes(bytes) => Some(launch::file_with(&bytes)?),
        Input::Pipe(pipe) => Some(pipe),
    })
}

/// Starts the job in namespaces, as root with a user of its own if the file system can show it its files; `None` where
/// namespaces cannot be made, and `kernel` tells why.
fn in_spaces(
    policy: &Policy,
    (input, temporary): (Option<&OwnedFd>, &Temporary),
    group: Option<&Group>,
    kernel: &mut Kernel,
) -> io::Result<Option<Init>> {
    let users = if sys::is_root() { vec![User::apart(policy), Ok(User::same())] } else { vec![Ok(User::same())] };
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

/// How often a control group is asked.
const PACE: Duration = Duration::from_millis(25);

/// Waits for the first process to end, for a limit to be passed, or for a word from the caller. Nothing here takes time.
fn watch(
    mut main: Main,
    (deadline, cpu): (Option<Instant>, Option<Duration>),
    socket: &UnixStream,
    (meter, group): (&Meter, Option<&Group>),
) -> Ended {
    let file = sys::process_file(main.pid()).ok();
    let mut waiting = vec![socket.as_fd(), meter.alarm()];
    waiting.extend(file.as_ref().map(AsFd::as_fd));
    loop {
        if let Some(ended) = reap_until(&mut main) {
            // A job may send itself the signal of a limit that it has not.
            return if ended == Ended::Limit(Limit::Cpu) && cpu.is_none() {
                Ended::Signal(libc::SIGXCPU)
            } else {
                ended
            };
        }
        if let Some(ended) = asked_to_stop(socket).or_else(|| meter.passed()).or_else(|| reached(group)) {
            return ended;
        }
        let now = Instant::now();
        if deadline.is_some_and(|deadline| now >= deadline) {
            return Ended::Limit(Limit::Wall);
        }
        let left = deadline.map_or(LONGEST, |deadline| deadline.saturating_duration_since(now));
        let left = if group.is_some() { left.min(PACE) } else { left };
        // Without a file that tells of the end, the end has to be polled for. Rounded up: zero would spin.
        let left = if file.is_some() { left } else { left.min(Duration::from_millis(10)) };
        sys::wait_readable(&waiting, left + Duration::from_millis(1));
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
