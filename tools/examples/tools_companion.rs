//! The smallest program with workers: what the tests start as supervisor and as worker.
//!
//! A file `break` in the workdir makes the worker end in the way that the file says, to see what its caller makes of it.
use std::{io::Read, process::ExitCode};

fn main() -> ExitCode {
    if let Some(code) = tunesmith_sandbox::init_main() {
        return code;
    }
    match std::env::args().nth(1).as_deref() {
        Some(tunesmith_tools::worker::WORKER) => work(),
        _ => {
            eprintln!("usage: tools_companion worker");
            ExitCode::from(2)
        }
    }
}

/// A real worker, unless it is told to break.
fn work() -> ExitCode {
    if !std::path::Path::new("break").exists() {
        return tunesmith_tools::worker_main();
    }
    let mut order = String::new();
    let _ = std::io::stdin().read_to_string(&mut order);
    match std::fs::read_to_string("break").unwrap_or_default().trim() {
        "abort" => {
            eprintln!("about to fall");
            std::process::abort();
        }
        "hang" => loop {
            std::thread::park();
        },
        "memory" => {
            // More than any machine has, so that it is refused at once.
            let bytes = vec![1u8; 1 << 62];
            println!("{}", bytes.len());
        }
        "long" => {
            let note = "a".repeat(3 << 20);
            println!("{{\"done\":{{\"rows\":0,\"duplicates\":0,\"columns\":[],\"note\":\"{note}\"}}}}");
        }
        "garbage" => println!("{{\"done\":"),
        _ => {}
    }
    ExitCode::SUCCESS
}
