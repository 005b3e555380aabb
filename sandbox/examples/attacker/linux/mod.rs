//! Finds an attack by its name and makes it.
use std::ffi::CString;
use std::io;
use std::process::ExitCode;

mod files;
mod host;
mod ipc;
mod kernel;
mod network;
mod processes;
mod resources;
mod secrets;
mod sys;

type Attack = fn() -> io::Result<()>;

/// Makes the attack that the arguments name.
pub fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["host", service, ..] => host::run(service),
        [name] => {
            let groups =
                [files::ALL, secrets::ALL, processes::ALL, network::ALL, kernel::ALL, ipc::ALL, resources::ALL];
            match groups.into_iter().flatten().find(|(known, _)| *known == name) {
                Some((_, attack)) => attack(),
                None => Err(io::Error::other(format!("there is no attack `{name}`"))),
            }
        }
        _ => Err(io::Error::other("usage: attacker NAME | attacker host SERVICE")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stopped: {error}");
            ExitCode::from(1)
        }
    }
}

/// A variable that the test has set.
fn variable(name: &str) -> io::Result<String> {
    std::env::var(name).map_err(|_| io::Error::other(format!("the variable {name} is not set")))
}

fn number<T: std::str::FromStr>(name: &str) -> io::Result<T> {
    variable(name)?.parse().map_err(|_| io::Error::other(format!("the variable {name} is no number")))
}

fn token() -> io::Result<String> {
    variable("TOKEN")
}

/// A path outside the workdir.
fn outside(name: &str) -> io::Result<String> {
    Ok(format!("{}/{name}", variable("OUT")?))
}

fn c_text(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(io::Error::other)
}

/// Says that the kernel did what it was asked for.
fn got_through() -> io::Result<()> {
    println!("{}", token()?);
    Ok(())
}
