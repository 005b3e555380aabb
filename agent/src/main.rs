//! The binary: a supervisor of jobs, a worker, or the command line, told apart by the first argument.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before the first word is said, which may repeat what was typed.
    tunesmith::secrets::hide_environment();
    tunesmith::secrets::redact_panics();
    if let Some(code) = tunesmith_sandbox::init_main() {
        return code;
    }
    if std::env::args_os().nth(1).is_some_and(|first| first == tunesmith_tools::worker::WORKER) {
        return tunesmith_tools::worker::worker_main();
    }
    tunesmith::cli::main()
}
