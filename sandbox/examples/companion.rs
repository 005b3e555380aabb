//! The smallest program that starts jobs: `companion [--open | --without MECHANISM | --report FILE]... JOB WORKDIR`, where
//! JOB is a job as JSON. What is known about the job in the end is written to FILE.
//!
//! The tests use it as the supervisor, as a caller that can be killed, as a job that uses too much of something
//! (`companion hog ...`), and as one that says something to a server and prints the answer (`companion say ...`).
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tunesmith_sandbox::{Ended, Job, Line, Local, Mechanism, Workdir, init_main};

type Error = Box<dyn std::error::Error>;

fn main() -> Result<ExitCode, Error> {
    if let Some(code) = init_main() {
        return Ok(code);
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut rest = &args.iter().map(String::as_str).collect::<Vec<_>>()[..];
    let (mut local, mut report) = (Local::new(), None);
    loop {
        match rest {
            ["hog", what, amount] => return hog(what, amount.parse()?),
            ["say", address, words] => return say(address, words),
            ["--open", more @ ..] => (local, rest) = (local.unconfined(), more),
            ["--without", mechanism, more @ ..] => {
                let mechanism: Mechanism = serde_json::from_value((*mechanism).into())?;
                (local, rest) = (local.without(mechanism), more);
            }
            ["--report", file, more @ ..] => (report, rest) = (Some(*file), more),
            [job, workdir] => return run(local, job, workdir, report),
            _ => return Err("usage: companion [--open | --without MECHANISM | --report FILE]... JOB WORKDIR".into()),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(local: Local, job: &str, workdir: &str, report: Option<&str>) -> Result<ExitCode, Error> {
    let job: Job = serde_json::from_str(job)?;
    let mut running = local.spawn(&Workdir::open(Path::new(workdir))?, job)?;
    while let Some(line) = running.lines.recv().await {
        match line {
            Line::Out(line) => println!("{line}"),
            Line::Err(line) => eprintln!("{line}"),
        }
    }
    let finished = running.wait().await;
    if let Some(file) = report {
        std::fs::write(file, serde_json::to_vec(&finished)?)?;
    }
    Ok(match finished.ended {
        Ended::Exit(code) => ExitCode::from(u8::try_from(code)?),
        other => return Err(format!("{other:?}").into()),
    })
}

fn say(address: &str, words: &str) -> Result<ExitCode, Error> {
    let mut server = std::net::TcpStream::connect(address)?;
    server.write_all(words.as_bytes())?;
    let mut answer = String::new();
    let end = server.read_to_string(&mut answer);
    print!("{answer}");
    end?;
    Ok(ExitCode::SUCCESS)
}

fn hog(what: &str, amount: usize) -> Result<ExitCode, Error> {
    match what {
        "memory" => {
            let bytes = vec![1_u8; amount];
            std::thread::sleep(Duration::from_secs(30));
            println!("{}", bytes.len());
        }
        "memory-file" => {
            let mut file = std::fs::File::from(rustix::fs::memfd_create("hog", rustix::fs::MemfdFlags::empty())?);
            let bytes = vec![1_u8; 1 << 20];
            (0..amount >> 20).try_for_each(|_| file.write_all(&bytes))?;
            std::thread::sleep(Duration::from_secs(30));
        }
        "threads" => {
            let sleep = || std::thread::spawn(|| std::thread::sleep(Duration::from_secs(30)));
            let threads: Vec<_> = (0..amount).map(|_| sleep()).collect();
            println!("{}", threads.len());
            threads.into_iter().for_each(|thread| drop(thread.join()));
        }
        _ => return Err(format!("there is nothing called `{what}` to use up").into()),
    }
    Ok(ExitCode::SUCCESS)
}
