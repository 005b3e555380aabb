//! The command of a job, which confines itself just before its program runs.
use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::cgroup::Group;
use super::limits::KernelLimits;
use super::spaces::User;
use super::temporary::Temporary;
use super::{calls, files, sys};
use crate::wire::Policy;
use crate::{Net, proxy};

/// What a command takes on.
pub(super) struct Confinement<'a> {
    /// Whether Landlock is used.
    pub landlock: bool,
    /// Whether it starts in namespaces of its own.
    pub own_spaces: bool,
    /// Who it becomes; `None` where nothing but its limits confines it.
    pub user: Option<&'a User>,
    /// The control group that it enters itself.
    pub group: Option<&'a Group>,
    /// The process that starts it, without which it is not to live.
    pub parent: u32,
}

/// The command of a job, ready to start.
pub(super) fn command(
    policy: &Policy,
    (program, temporary): (&Path, &Temporary),
    input: Option<OwnedFd>,
    confinement: &Confinement<'_>,
) -> io::Result<Command> {
    let mut command = Command::new(program);
    command.args(policy.job.argv.iter().skip(1)).current_dir(&policy.workdir);
    if let Some(name) = policy.job.argv.first() {
        command.arg0(name);
    }
    command.stdin(input.map_or_else(Stdio::null, Stdio::from));
    command.env_clear().env("PATH", crate::local::PATH).env("LANG", "C.UTF-8");
    let temporary = if confinement.own_spaces { Path::new("/tmp") } else { temporary.path() };
    command.env("HOME", &policy.workdir).env("TMPDIR", temporary);
    if let (true, Net::Hosts(hosts)) = (confinement.own_spaces, &policy.job.net) {
        command.envs(proxy::variables(hosts));
    }
    command.envs(&policy.job.env);
    confine(&mut command, policy, program, confinement)?;
    Ok(command)
}

/// Has the child take its limits and give up its rights, the right to do so last.
fn confine(command: &mut Command, policy: &Policy, program: &Path, how: &Confinement<'_>) -> io::Result<()> {
    let (parent, own_spaces) = (how.parent, how.own_spaces);
    let apart = match how.user {
        Some(User::Apart { id, .. }) => Some(*id),
        _ => None,
    };
    let entrance = how.group.map(Group::entrance);
    let limits = KernelLimits::of(&policy.job.limits, own_spaces);
    let mut ruleset = match how.landlock {
        true => Some(files::rules(policy, program, own_spaces).map_err(io::Error::other)?),
        false => None,
    };
    let confined = how.user.is_some();
    let filters = if confined && sys::can_filter() {
        let protected = if own_spaces { vec![-1] } else { protected(parent.cast_signed()) };
        calls::filters(&policy.job.net, own_spaces, &protected).map_err(io::Error::other)?
    } else {
        Vec::new()
    };
    // Root without a user of its own needs it for a workdir that belongs to somebody else.
    let kept = (sys::is_root() && apart.is_none()).then_some(sys::FILES_OF_OTHERS);
    sys::before_exec(command, move || {
        sys::new_session()?;
        entrance.iter().try_for_each(|entrance| fs::write(entrance, "0"))?;
        limits.set()?;
        if confined {
            sys::drop_capabilities(kept)?;
            if let Some(id) = apart {
                become_user(id)?;
            }
            sys::no_new_privileges()?;
            sys::close_on_exec()?;
        }
        // A change of user takes this back, so it comes after it.
        sys::die_with(parent)?;
        if let Some(ruleset) = ruleset.take() {
            files::enforce(ruleset, own_spaces).map_err(io::Error::other)?;
        }
        filters.iter().try_for_each(|filter| seccompiler::apply_filter(filter).map_err(io::Error::other))
    });
    Ok(())
}

fn become_user(id: u32) -> io::Result<()> {
    use rustix::process::{Gid, Uid};
    let (user, group) = (Uid::from_raw(id), Gid::from_raw(id));
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(group, group, group)?;
    rustix::thread::set_thread_res_uid(user, user, user)?;
    Ok(())
}

/// The processes and groups that a job must not signal even where the kernel has no scopes for signals.
fn protected(supervisor: i32) -> Vec<i32> {
    let caller = std::os::unix::process::parent_id().cast_signed();
    let mut protected = vec![-1, supervisor, -supervisor, caller];
    protected.extend(sys::group_of(caller).map(|group| -group));
    protected
}

/// A file with these bytes for the job to read.
pub(super) fn file_with(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(sys::memory_file()?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}
