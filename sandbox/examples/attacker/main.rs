//! Attacks on the sandbox that a shell cannot make: `attacker NAME`, run as a job by the tests.
//!
//! What an attack aims at is in its environment: `OUT` is a directory outside the workdir, `TOKEN` what it prints or
//! sends to prove that it got through, and the rest describes a program outside (`attacker host SERVICE`) that listens
//! and that can be attacked. An attack that is stopped says by what on its standard error.
use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod linux;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    return linux::main();
    #[cfg(not(target_os = "linux"))]
    ExitCode::from(1)
}
