//! What an attack is, and the proofs that one got out.
use std::fs;
use std::time::{Duration, Instant};

use tunesmith_sandbox::{Ended, Layer, Limit, Limits};

use super::place::Run;

/// One attempt to reach out of a job, or past its limits.
pub struct Attack {
    pub name: &'static str,
    /// The layer that should stop it; none for what must hold wherever there is a supervisor.
    pub layer: Option<Layer>,
    pub how: How,
    /// A second job in the same workdir, which steps into what the first left there.
    pub then: Option<&'static str>,
    /// What the program outside does, if one is needed.
    pub host: Option<&'static str>,
    pub needs: Needs,
    pub limits: fn(&mut Limits),
    /// The caller is killed, by a signal that it cannot see, as soon as the job has left its first mark.
    pub kills_caller: bool,
    /// Variables beside those that every attack has.
    pub env: &'static [(&'static str, &'static str)],
    /// Nothing else may run meanwhile.
    pub alone: bool,
    /// The canary: whether it got out.
    pub proof: fn(&Run) -> bool,
}

pub enum How {
    /// A script of the shell.
    Shell(&'static str),
    /// An attack of `examples/attacker`.
    Program(&'static str),
}

/// What must be there for an attack to succeed even without a sandbox.
#[derive(Clone, Copy)]
pub enum Needs {
    Nothing,
    /// Only root can do it; the text says why.
    Root(&'static str),
    /// Only an ordinary user gains by it; the text says why.
    Ordinary(&'static str),
    /// Something that not every kernel has or allows.
    Kernel(&'static str),
}

pub fn shell(name: &'static str, layer: Layer, script: &'static str, proof: fn(&Run) -> bool) -> Attack {
    attack(name, Some(layer), How::Shell(script), proof)
}

/// An attack of the attacker, which knows it by the same name.
pub fn program(name: &'static str, layer: Layer, proof: fn(&Run) -> bool) -> Attack {
    attack(name, Some(layer), How::Program(name), proof)
}

fn attack(name: &'static str, layer: Option<Layer>, how: How, proof: fn(&Run) -> bool) -> Attack {
    Attack {
        name,
        layer,
        how,
        then: None,
        host: None,
        needs: Needs::Nothing,
        limits: |_| {},
        kills_caller: false,
        env: &[],
        alone: false,
        proof,
    }
}

impl Attack {
    /// Belongs to no layer: it must be stopped wherever there is a supervisor.
    pub fn everywhere(self) -> Self {
        Attack { layer: None, ..self }
    }

    pub fn then(self, script: &'static str) -> Self {
        Attack { then: Some(script), ..self }
    }

    pub fn host(self, service: &'static str) -> Self {
        Attack { host: Some(service), ..self }
    }

    pub fn root(self, why: &'static str) -> Self {
        Attack { needs: Needs::Root(why), ..self }
    }

    pub fn ordinary(self, why: &'static str) -> Self {
        Attack { needs: Needs::Ordinary(why), ..self }
    }

    pub fn kernel(self, why: &'static str) -> Self {
        Attack { needs: Needs::Kernel(why), ..self }
    }

    pub fn limited(self, limits: fn(&mut Limits)) -> Self {
        Attack { limits, ..self }
    }

    pub fn killing_the_caller(self) -> Self {
        Attack { kills_caller: true, ..self }
    }

    pub fn env(self, env: &'static [(&'static str, &'static str)]) -> Self {
        Attack { env, ..self }
    }

    /// Is made by the attacker under another name.
    pub fn by(self, name: &'static str) -> Self {
        Attack { how: How::Program(name), ..self }
    }

    pub fn alone(self) -> Self {
        Attack { alone: true, ..self }
    }
}

/// The job printed something that only a file, a variable or a process outside knew.
pub fn told_secret(run: &Run) -> bool {
    run.output.contains(&run.secret)
}

/// The job printed what it prints once the kernel has done what it asked for.
pub fn got_through(run: &Run) -> bool {
    run.output.contains(&run.token)
}

pub fn canary_changed(run: &Run) -> bool {
    fs::read_to_string(run.outside("canary")).ok().as_ref() != Some(&run.secret)
}

/// Something new is outside.
pub fn new_outside(run: &Run) -> bool {
    fs::symlink_metadata(run.outside("new")).is_ok()
}

/// The program outside was reached.
pub fn heard(run: &Run) -> bool {
    run.host.heard
}

pub fn host_died(run: &Run) -> bool {
    run.host.killed
}

/// A file with the token's name is in a directory that everybody shares; it is removed.
pub fn dropped(run: &Run, folder: &str) -> bool {
    fs::remove_file(format!("{folder}/{}", run.token)).is_ok()
}

/// The job got all that it wanted, and its end was not put down to this limit.
pub fn passed(run: &Run, limit: Limit) -> bool {
    got_through(run) && run.ended() != Some(&Ended::Limit(limit))
}

/// A process of the job still writes to the workdir.
pub fn still_beating(run: &Run) -> bool {
    let beats = |patience: Duration| {
        let beat = || fs::read(run.inside("beat")).unwrap_or_default();
        let (first, end) = (beat(), Instant::now() + patience);
        while beat() == first && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        beat() != first
    };
    let alive = beats(Duration::from_millis(250));
    // Survivors look for this file, and nothing can be removed while they write.
    fs::write(run.inside("end"), "").unwrap();
    while alive && beats(Duration::from_millis(50)) {}
    alive
}
