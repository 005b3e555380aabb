//! Namespaces of a job's own, and as root a user of its own.
//!
//! The supervisor forks a process into new namespaces, which is the first there: it builds the job's [`View`], starts the
//! job, and waits for its end. When it dies, so does every process of the namespaces.
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Mode;
use rustix::process::{WaitOptions, wait};
use serde::{Deserialize, Serialize};

use super::cgroup::Group;
use super::launch::{self, Confinement};
use super::temporary::Temporary;
use super::view::View;
use super::{handover, sys};
use crate::Net;
use crate::wire::Policy;

/// The users of jobs: this, and the number of their supervisor, which no other living process has.
const USERS: u32 = 0x6000_0000;

/// How long it may take to furnish namespaces.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who the job is.
pub(super) enum User {
    /// The same as the supervisor.
    Same {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// A user that owns nothing on this machine.
    Apart {
        /// User and group.
        id: u32,
        /// Users and groups whose files the job sees as its own where they are given to it, with the user namespaces that
        /// say so: of the workdir, and of what it may read and write.
        maps: Vec<((u32, u32), OwnedFd)>,
    },
}

impl User {
    /// The supervisor's own.
    pub fn same() -> Self {
        User::Same { uid: sys::real_user(), gid: rustix::process::getgid().as_raw() }
    }

    /// A new one, for the job of this policy; only root can make it.
    pub fn apart(policy: &Policy) -> io::Result<Self> {
        let id = USERS + std::process::id();
        let given = policy.job.reads.iter().chain(&policy.job.writes).filter_map(|path| fs::metadata(path).ok());
        let owners = given.map(|meta| (meta.uid(), meta.gid()));
        let workdir = fs::metadata(&policy.workdir)?;
        let owners: BTreeSet<_> = owners.chain([(workdir.uid(), workdir.gid())]).collect();
        let maps = owners.into_iter().map(|owner| Ok((owner, map_of(owner, id)?))).collect::<io::Result<_>>()?;
        Ok(User::Apart { id, maps })
    }

    /// Its number.
    pub fn uid(&self) -> u32 {
        match self {
            User::Same { uid, .. } => *uid,
            User::Apart { id, .. } => *id,
        }
    }

    /// The number of its group.
    pub fn gid(&self) -> u32 {
        match self {
            User::Same { gid, .. } => *gid,
            User::Apart { id, .. } => *id,
        }
    }

    /// The user namespace that shows files of this user and group as the job's own.
    pub fn map(&self, owner: (u32, u32)) -> Option<BorrowedFd<'_>> {
        match self {
            User::Same { .. } => None,
            User::Apart { maps, .. } => maps.iter().find(|(known, _)| *known == owner).map(|(_, map)| map.as_fd()),
        }
    }
}

/// Why a job did not start in namespaces.
pub(super) enum Refused {
    /// They cannot be made here.
    Spaces(io::Error),
    /// They can, but the job itself cannot be started.
    Job(io::Error),
}

/// The first process of a job's namespaces.
pub(super) struct Init {
    /// Its number outside.
    pub pid: i32,
    words: BufReader<PipeReader>,
}

/// What the first process says.
#[derive(Serialize, Deserialize)]
enum Word {
    /// The job runs.
    Started,
    /// The job's first process ended with this raw status.
    Ended(i32),
    /// The namespaces cannot be furnished.
    Unfit(String),
    /// The job cannot be started.
    Failed(String),
}

impl Init {
    /// The raw status with which the job's first process ended, once the namespaces are gone.
    pub fn status(&mut self) -> Option<i32> {
        match self.word() {
            Some(Word::Ended(status)) => Some(status),
            _ => None,
        }
    }

    fn word(&mut self) -> Option<Word> {
        let mut line = String::new();
        self.words.read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }
}

/// Starts the job of `policy` in namespaces of its own.
pub(super) fn start(
    policy: &Policy,
    (input, temporary): (Option<OwnedFd>, &Temporary),
    (user, landlock): (&User, bool),
    group: Option<&Group>,
) -> Result<Init, Refused> {
    let spaces = |error: io::Error| Refused::Spaces(error);
    let own_users = matches!(user, User::Same { .. }) && !sys::is_root();
    let mut flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    flags |= if policy.job.net != Net::Full { libc::CLONE_NEWNET } else { 0 };
    flags |= if own_users { libc::CLONE_NEWUSER } else { 0 };
    let (gate, mut opener) = io::pipe().map_err(spaces)?;
    let (words, mut to) = io::pipe().map_err(spaces)?;
    let pid = sys::fork_into(flags).map_err(spaces)?;
    if pid == 0 {
        drop((opener, words));
        let result = first(policy, (input, temporary), (user, landlock), gate, &mut to);
        sys::leave(i32::from(result.is_err()));
    }
    drop((gate, to));
    let mut init = Init { pid, words: BufReader::new(words) };
    let mapped = if own_users { map(pid, user) } else { Ok(()) };
    let grouped = mapped.and_then(|()| group.map_or(Ok(()), |group| fs::write(group.entrance(), pid.to_string())));
    let opened = grouped.and_then(|()| opener.write_all(b"g"));
    // A file system that does not answer must not hold up the caller for ever.
    let patience = policy.job.limits.wall.unwrap_or(PATIENCE).min(PATIENCE);
    let word = opened.map(|()| {
        sys::wait_readable(&[init.words.get_ref().as_fd()], patience);
        if sys::is_readable(init.words.get_ref().as_fd()) { init.word() } else { None }
    });
    let refused = match word {
        Ok(Some(Word::Started)) => return Ok(init),
        Ok(Some(Word::Failed(why))) => Refused::Job(io::Error::other(why)),
        Ok(Some(Word::Unfit(why))) => Refused::Spaces(io::Error::other(why)),
        Ok(Some(Word::Ended(_)) | None) => Refused::Spaces(io::Error::other("the first process was lost")),
        Err(error) => Refused::Spaces(error),
    };
    sys::kill(pid, libc::SIGKILL);
    let _ = wait_for(pid);
    Err(refused)
}

fn wait_for(pid: i32) -> rustix::io::Result<()> {
    rustix::process::waitpid(rustix::process::Pid::from_raw(pid), WaitOptions::empty()).map(drop)
}

/// Everything that the first process does.
fn first(
    policy: &Policy,
    (input, temporary): (Option<OwnedFd>, &Temporary),
    (user, landlock): (&User, bool),
    mut gate: PipeReader,
    to: &mut PipeWriter,
) -> io::Result<()> {
    // The kernel tells this process when the supervisor dies; if that happened before, the gate stays shut.
    sys::die_with_any_parent()?;
    let mut open = [0];
    gate.read_exact(&mut open)?;
    let start = furnish(policy, temporary, user).map_err(|error| Word::Unfit(error.to_string())).and_then(|program| {
        let parent = std::process::id();
        let confinement = Confinement { landlock, own_spaces: true, user: Some(user), group: None, parent };
        let command = launch::command(policy, (&program, temporary), input, &confinement);
        command.and_then(|mut command| command.spawn()).map_err(|error| Word::Failed(error.to_string()))
    });
    let main = match start {
        Ok(child) => child.id().cast_signed(),
        Err(word) => return say(to, &word),
    };
    say(to, &Word::Started)?;
    loop {
        if let Some((pid, status)) = wait(WaitOptions::empty())?
            && pid.as_raw_nonzero().get() == main
        {
            return say(to, &Word::Ended(status.as_raw()));
        }
    }
}

fn say(to: &mut PipeWriter, word: &Word) -> io::Result<()> {
    let mut line = serde_json::to_vec(word)?;
    line.push(b'\n');
    to.write_all(&line)
}

/// Makes the namespaces a place to work in, and says where in it the program is.
fn furnish(policy: &Policy, temporary: &Temporary, user: &User) -> io::Result<PathBuf> {
    let program = visible(&policy.program);
    let mask = rustix::process::umask(Mode::from_raw_mode(0o022));
    View::new(policy, (&program, temporary), user).enter()?;
    rustix::process::umask(mask);
    rustix::system::sethostname(b"sandbox")?;
    if policy.job.net != Net::Full {
        sys::loopback_up()?;
    }
    sys::hide()?;
    if matches!(policy.job.net, Net::Hosts(_)) {
        handover::hand_over_listener()?;
    }
    Ok(program)
}

/// The running program by its path, where it still has one: only that can be shown as the job's own.
fn visible(program: &Path) -> PathBuf {
    let is_link = program.starts_with("/proc");
    let path = if is_link { fs::read_link(program).ok() } else { program.canonicalize().ok() };
    path.filter(|path| path.is_file()).unwrap_or_else(|| program.to_path_buf())
}

/// Says who is who in the user namespace of a process: only the user and the group themselves.
fn map(pid: i32, user: &User) -> io::Result<()> {
    fs::write(format!("/proc/{pid}/setgroups"), "deny")?;
    fs::write(format!("/proc/{pid}/gid_map"), format!("{0} {0} 1", user.gid()))?;
    fs::write(format!("/proc/{pid}/uid_map"), format!("{0} {0} 1", user.uid()))
}

/// A user namespace in which the owner is `id`.
fn map_of(owner: (u32, u32), id: u32) -> io::Result<OwnedFd> {
    let (mut gate, opener) = io::pipe()?;
    let pid = sys::fork_into(libc::CLONE_NEWUSER)?;
    if pid == 0 {
        drop(opener);
        let _ = gate.read(&mut [0]);
        sys::leave(0);
    }
    drop(gate);
    let made = fs::write(format!("/proc/{pid}/uid_map"), format!("{} {id} 1", owner.0))
        .and_then(|()| fs::write(format!("/proc/{pid}/gid_map"), format!("{} {id} 1", owner.1)))
        .and_then(|()| File::open(format!("/proc/{pid}/ns/user")));
    // Its end is taken note of with that of the job's processes; to wait for it here would hold up the start.
    drop(opener);
    Ok(made?.into())
}
