//! The program outside that an attack aims at.
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use super::place::{Programs, User};

pub struct Host {
    attacker: PathBuf,
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    user: User,
    /// What the attack is told about it.
    pub about: Vec<(String, String)>,
}

/// What the program outside noticed, and what was done to it.
#[derive(Default)]
pub struct Seen {
    pub heard: bool,
    pub killed: bool,
    /// Its limits as the kernel shows them.
    pub limits: String,
    pub nice: String,
    /// How it is scheduled.
    pub policy: String,
    /// The processors that it may run on.
    pub processors: String,
    /// How soon it is killed when memory runs out.
    pub score: String,
}

impl Host {
    pub fn start(programs: &Programs, service: &str, user: User, base: &Path, secret: &str, token: &str) -> Self {
        let mut command = user.command(&programs.attacker);
        command.args(["host", service, &format!("--password={secret}")]).current_dir(base.join("outside"));
        command.env("OUT", base.join("outside")).env("SECRET", secret).env("TOKEN", token);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut process = command.spawn().unwrap();
        let (input, mut output) = (process.stdin.take(), BufReader::new(process.stdout.take().unwrap()));
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let about: Vec<_> = line
            .split_whitespace()
            .filter_map(|pair| pair.split_once('='))
            .map(|(a, b)| (a.into(), b.into()))
            .collect();
        // Without its line it has said why on its standard error, and the attack will miss what it needs.
        Host { attacker: programs.attacker.clone(), process, input, output, user, about }
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.about.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Ends the program and what it made for the whole machine.
    pub fn end(mut self) -> Seen {
        let mut seen = self.look();
        drop(self.input.take());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        if let Some(file) = self.variable("HOST_SHARED") {
            fs::remove_file(file).unwrap();
        }
        if let Some(key) = self.variable("HOST_KEY").filter(|key| key.parse::<i32>().is_ok()) {
            let mut remove = self.user.command(&self.attacker);
            assert!(remove.arg("remove-ipc").env("HOST_KEY", key).status().unwrap().success());
        }
        seen.heard = rest.contains("heard");
        seen.killed = self.process.wait().unwrap().signal().is_some();
        seen
    }

    fn look(&self) -> Seen {
        let file = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", self.process.id())).unwrap_or_default();
        let stat = file("stat");
        // The fields after the name, of which the first has number 3.
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default().to_string();
        let status = file("status");
        let processors = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        Seen {
            limits: file("limits"),
            nice: field(19),
            policy: field(41),
            processors: processors.unwrap_or_default().trim().into(),
            score: file("oom_score_adj").trim().into(),
            ..Seen::default()
        }
    }
}
