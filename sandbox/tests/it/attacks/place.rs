//! Where an attack is run: a workdir, secrets outside it, and a program outside that can be attacked.
use std::fs::{self, File, Permissions};
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tunesmith_sandbox::{Ended, Finished, Job};

use super::attack::{Attack, How};
use super::host::{Host, Seen};
use crate::support::companion;

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Who runs the caller and with it the sandbox.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum User {
    Root,
    Ordinary,
}

impl User {
    /// A user that owns nothing.
    const NOBODY: u32 = 65534;

    /// Those that the tests can be: everybody can be only themselves, but for root.
    pub fn possible() -> &'static [User] {
        if is_root() { &[User::Root, User::Ordinary] } else { &[User::Ordinary] }
    }

    /// Whether the tests have to become this user first.
    fn is_other(self) -> bool {
        self == User::Ordinary && is_root()
    }

    pub fn command(self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
        if self.is_other() {
            command.uid(User::NOBODY).gid(User::NOBODY);
        }
        command
    }

    fn own(self, path: &Path) {
        if self.is_other() {
            lchown(path, Some(User::NOBODY), Some(User::NOBODY)).unwrap();
        }
    }
}

/// What stands between the job and the rest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mode {
    Full,
    NoNamespaces,
    NoLandlock,
    Neither,
    /// Supervised, and not confined.
    Watched,
    /// No sandbox at all: the program is started as any program starts another.
    Off,
}

impl Mode {
    pub const ALL: [Mode; 6] =
        [Mode::Full, Mode::NoNamespaces, Mode::NoLandlock, Mode::Neither, Mode::Watched, Mode::Off];

    fn flags(self) -> &'static [&'static str] {
        match self {
            Mode::Full | Mode::Off => &[],
            Mode::NoNamespaces => &["--without", "namespaces"],
            Mode::NoLandlock => &["--without", "landlock"],
            Mode::Neither => &["--without", "namespaces", "--without", "landlock"],
            Mode::Watched => &["--open"],
        }
    }
}

/// Programs that every user can start, wherever they were built.
pub struct Programs {
    _dir: TempDir,
    companion: PathBuf,
    pub attacker: PathBuf,
    /// The attacker as a program that runs as its owner, which is root where the tests are.
    roots: PathBuf,
}

impl Programs {
    pub fn new() -> Self {
        let dir = folder();
        let copy = |from: &Path, name: &str, mode| {
            let to = dir.path().join(name);
            fs::copy(from, &to).unwrap();
            fs::set_permissions(&to, Permissions::from_mode(mode)).unwrap();
            to
        };
        let built = PathBuf::from(companion());
        let attacker = built.with_file_name("attacker");
        Programs {
            companion: copy(&built, "companion", 0o755),
            attacker: copy(&attacker, "attacker", 0o755),
            roots: copy(&attacker, "roots", 0o4755),
            _dir: dir,
        }
    }
}

/// Not in /tmp, which a sandbox may replace as a whole: what stops an attack shall be a rule for this very path.
fn folder() -> TempDir {
    let dir = tempfile::Builder::new().prefix("tunesmith-attack-").tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    dir
}

/// What is known after an attack.
pub struct Run {
    base: TempDir,
    pub mode: Mode,
    pub token: String,
    pub secret: String,
    /// The size of a file outside.
    pub size: u64,
    /// What the job printed, errors included.
    pub output: String,
    /// What the sandbox says about the job, where there was one.
    pub finished: Option<Finished>,
    pub host: Seen,
    /// The caller ended by a signal.
    pub caller_killed: bool,
    pub supervisor_lost: bool,
}

impl Run {
    pub fn outside(&self, name: &str) -> PathBuf {
        self.base.path().join("outside").join(name)
    }

    pub fn inside(&self, name: &str) -> PathBuf {
        self.base.path().join("work").join(name)
    }

    pub fn ended(&self) -> Option<&Ended> {
        self.finished.as_ref().map(|finished| &finished.ended)
    }

    /// Whether the caller takes the job for one that returned 0; without a sandbox it can only go by the output.
    pub fn believed_success(&self) -> bool {
        match &self.finished {
            Some(finished) => finished.success(),
            None => self.output.contains(r#"{"ended":{"exit":0}}"#),
        }
    }
}

fn random() -> String {
    format!("{:015x}", RandomState::new().hash_one("token") >> 4)
}

/// Runs one attack and looks at what came of it.
pub fn run(programs: &Programs, attack: &Attack, user: User, mode: Mode) -> Run {
    let base = folder();
    let (token, secret) = (format!("t{}", random()), format!("s{}", random()));
    let size = 1_000_000_000 + RandomState::new().hash_one("size") % 1_000_000_000;
    furnish(base.path(), &secret, size, user);
    let mut variables = vec![
        ("OUT".to_string(), path(&base, "outside")),
        ("TOKEN".into(), token.clone()),
        ("ATTACKER".into(), text(&programs.attacker)),
        ("ROOTS".into(), text(&programs.roots)),
        ("COMPANION".into(), text(&programs.companion)),
    ];
    let nested = serde_json::to_string(&Job::new(["cat", &path(&base, "outside/canary")])).unwrap();
    variables.push(("NESTED".into(), nested));
    variables.extend(attack.env.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string())));
    let host = attack.host.map(|service| Host::start(programs, service, user, base.path(), &secret, &token));
    variables.extend(host.iter().flat_map(|host| host.about.clone()));
    let mut run = Run {
        base,
        mode,
        token,
        secret,
        size,
        output: String::new(),
        finished: None,
        host: Seen::default(),
        caller_killed: false,
        supervisor_lost: false,
    };
    run.job(programs, attack, &attack.how, user, &variables);
    if let Some(script) = attack.then {
        run.job(programs, attack, &How::Shell(script), user, &variables);
    }
    run.host = host.map(Host::end).unwrap_or_default();
    run
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().into()
}

fn path(base: &TempDir, name: &str) -> String {
    text(&base.path().join(name))
}

/// Lays out everything that an attack aims at, owned by the user who runs the caller.
fn furnish(base: &Path, secret: &str, size: u64, user: User) {
    let folders =
        ["outside", "outside/empty", "outside/list", "outside/noise", "work", "work/.tmp", "home", "other-run"];
    let files = [
        ("outside/canary", secret),
        ("outside/descriptor", secret),
        ("outside/forged", ""),
        ("outside/tool", &format!("#!/bin/sh\necho {secret}\n")),
        (&format!("outside/list/{secret}"), ""),
        ("home/.netrc", secret),
        ("other-run/log", secret),
    ];
    folders.iter().for_each(|folder| fs::create_dir(base.join(folder)).unwrap());
    files.iter().for_each(|(file, content)| fs::write(base.join(file), content).unwrap());
    File::create(base.join("outside/sized")).unwrap().set_len(size).unwrap();
    symlink(secret, base.join("outside/link")).unwrap();
    fs::set_permissions(base.join("outside/canary"), Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(base.join("outside/tool"), Permissions::from_mode(0o755)).unwrap();
    user.own(base);
    let names = folders.iter().copied().chain(files.iter().map(|(file, _)| *file));
    names.chain(["outside/sized", "outside/link"]).for_each(|name| user.own(&base.join(name)));
}

/// Starts a program as a caller does that has not closed its files: one to read, and one to write. Its directory, its
/// variables and its memory hold what no job should see, and its number is in the workdir.
const CALLER: &str = "echo $$ > \"$0/caller\"; exec 7<descriptor 8<>forged; ";

impl Run {
    fn job(&mut self, programs: &Programs, attack: &Attack, how: &How, user: User, variables: &[(String, String)]) {
        let base = self.base.path();
        let argv = match how {
            How::Shell(script) => vec!["sh".to_string(), "-c".into(), (*script).into()],
            How::Program(name) => vec![text(&programs.attacker), (*name).into()],
        };
        let mut caller = user.command("/bin/sh");
        caller.current_dir(base.join("outside")).env("HOME", base.join("home")).env("SECRET", &self.secret);
        if self.mode == Mode::Off {
            let script = format!("{CALLER} (cd \"$0\"; exec \"$@\"); code=$?; exit $code");
            caller.args(["-c", &script]).arg(base.join("work")).args(argv);
            caller.envs(variables.iter().cloned()).env("TMPDIR", base.join("work/.tmp"));
        } else {
            let mut job = Job::new(argv);
            job.env.extend(variables.iter().cloned());
            job.reads = vec![programs.attacker.clone(), programs.roots.clone(), programs.companion.clone()];
            job.limits.wall = Some(Duration::from_secs(8));
            (attack.limits)(&mut job.limits);
            caller.args(["-c", &format!("{CALLER} exec \"$@\"")]).arg(base.join("work"));
            caller.arg(&programs.companion).args(self.mode.flags()).arg("--report").arg(base.join("report"));
            caller.arg(serde_json::to_string(&job).unwrap()).arg(base.join("work"));
        }
        // A file and no pipe: what a daemon holds open must not hold up the test.
        let output = File::options().create(true).append(true).open(base.join("output")).unwrap();
        caller.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        let _ = fs::remove_file(base.join("report"));
        let status = wait(caller.spawn().unwrap(), attack, base);
        // What one attack closes to everybody has to be removed.
        let _ = fs::set_permissions(base.join("work/closed"), Permissions::from_mode(0o700));
        self.caller_killed = status.signal().is_some();
        self.output = String::from_utf8_lossy(&fs::read(base.join("output")).unwrap()).into_owned();
        self.finished = fs::read(base.join("report")).ok().map(|report| serde_json::from_slice(&report).unwrap());
        self.supervisor_lost =
            matches!(self.ended(), Some(Ended::Failed(why)) if why.contains("the supervisor was lost"));
    }
}

/// How long a process of a job whose caller was killed may live.
const AFTERLIFE: Duration = Duration::from_secs(1);

fn wait(mut child: Child, attack: &Attack, base: &Path) -> ExitStatus {
    let end = Instant::now() + Duration::from_secs(12);
    let pause = || std::thread::sleep(Duration::from_millis(2));
    while Instant::now() < end {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if attack.kills_caller && fs::read(base.join("work/beat")).is_ok_and(|beat| !beat.is_empty()) {
            child.kill().unwrap();
            let status = child.wait().unwrap();
            std::thread::sleep(AFTERLIFE);
            return status;
        }
        pause();
    }
    child.kill().unwrap();
    child.wait().unwrap()
}
