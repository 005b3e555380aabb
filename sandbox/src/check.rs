//! What a job may not ask for, said before anything is started.
use std::io;
use std::path::{Path, PathBuf};

use crate::{Job, Limits, Workdir};

/// More rules than this are a mistake, and each costs time at every start.
const MOST_PATHS: usize = 4096;

impl Job {
    /// Refuses what no job can mean, with a message that names it; [`Local::spawn`](crate::Local::spawn) asks this first.
    pub fn check(&self, dir: &Workdir) -> io::Result<()> {
        self.check_command()?;
        self.limits.check()?;
        if self.line_bytes == 0 {
            return refuse("line_bytes is zero; leave it out or give at least 1".into());
        }
        for (name, paths) in [("reads", &self.reads), ("writes", &self.writes)] {
            check_paths(name, paths)?;
        }
        if self.reads.iter().any(|path| path == Path::new("/")) {
            return refuse("reads: `/` is everything; name what the job needs".into());
        }
        check_place("the workdir", dir.path())?;
        self.writes.iter().try_for_each(|path| check_writable(path, dir))
    }

    fn check_command(&self) -> io::Result<()> {
        if self.argv.first().is_none_or(String::is_empty) {
            return refuse("the command is empty; name a program".into());
        }
        if let Some(at) = self.argv.iter().position(|argument| argument.contains('\0')) {
            return refuse(format!("argv[{at}] contains a NUL byte; remove it"));
        }
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) {
                return refuse(format!("{name:?} cannot name a variable; use a name without `=` and NUL bytes"));
            }
            if value.contains('\0') {
                return refuse(format!("the value of the variable {name} contains a NUL byte; remove it"));
            }
        }
        Ok(())
    }
}

impl Limits {
    /// A limit of nothing would end every job at once, and some readers take zero for "no limit".
    fn check(&self) -> io::Result<()> {
        let Limits { wall, cpu, memory, processes, file_bytes, disk_bytes, files, output_bytes } = self;
        let zero = [
            ("wall", wall.is_some_and(|time| time.is_zero())),
            ("cpu", cpu.is_some_and(|time| time.is_zero())),
            ("memory", *memory == Some(0)),
            ("processes", *processes == Some(0)),
            ("file_bytes", *file_bytes == Some(0)),
            ("disk_bytes", *disk_bytes == Some(0)),
            ("files", *files == Some(0)),
            ("output_bytes", *output_bytes == Some(0)),
        ];
        match zero.iter().find(|(_, zero)| *zero) {
            Some((name, _)) => refuse(format!("limits.{name} is zero; leave it out or give at least 1")),
            None => Ok(()),
        }
    }
}

fn check_paths(name: &str, paths: &[PathBuf]) -> io::Result<()> {
    if paths.len() > MOST_PATHS {
        let count = paths.len();
        return refuse(format!("{name} has {count} paths, more than {MOST_PATHS}; name a directory above them"));
    }
    match paths.iter().find(|path| !path.is_absolute()) {
        Some(path) => refuse(format!("{name}: `{}` is relative; give an absolute path", path.display())),
        None => Ok(()),
    }
}

/// Directories in which programs look for themselves and their settings.
const SYSTEM: [&str; 9] = ["/etc", "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/boot", "/var"];
/// File systems that are no files.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Refuses to make the machine's own directories writable; single devices and shared memory are none.
fn check_place(what: &str, path: &Path) -> io::Result<()> {
    let of_kernel = KERNEL.iter().any(|kernel| path.starts_with(kernel)) && !path.starts_with("/dev/shm");
    if path.is_dir() && (of_kernel || SYSTEM.iter().any(|system| path == Path::new(system))) {
        return refuse(format!("{what} `{}` is the system's own; name another directory", path.display()));
    }
    Ok(())
}

/// What lies above the workdir holds what the job must not touch: other runs, and the workdir's own name.
fn check_writable(path: &Path, dir: &Workdir) -> io::Result<()> {
    let shown = path.display();
    let found = path.canonicalize().map_err(|error| {
        let why = format!("writes: cannot grant `{shown}`: {error}; name a file or directory that is there");
        io::Error::new(error.kind(), why)
    })?;
    check_place("writes:", &found)?;
    if dir.path() != found && dir.path().starts_with(&found) {
        return refuse(format!(
            "writes: `{shown}` holds the workdir and what is beside it; name a directory of its own"
        ));
    }
    Ok(())
}

fn refuse(why: String) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}
