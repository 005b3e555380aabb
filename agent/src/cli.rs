//! The command line: what can be asked for, and which exit code an answer has.

use std::process::ExitCode;

use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};
use tunesmith_harness::text::visible;
use tunesmith_sandbox::Cancel;

use crate::{
    bench,
    commands::{
        self, compare, completions, config, convert, data, doctor, eval, generate, grade, hub, mcp, pretrain, resume,
        run, runs, sandbox, stop, tools, train,
    },
    run::Failure,
    secrets, session,
};

const EXAMPLE: &str = "\
Example:
  tunesmith run \"Route these customer messages to the right team, and give me a GGUF file.\" --file tickets.csv --minutes 10

Exit codes:
  0 goal met, or done · 2 usage or bad input · 3 goal not met · 4 budget or deadline reached · 5 blocked
  6 planner failed · 70 internal error · 130 cancelled";

/// Plain words in, a small fine-tuned model out, with evidence that it is better than the one it started from.
#[derive(Debug, Parser)]
#[command(name = "tunesmith", version, after_help = EXAMPLE, max_term_width = 120)]
pub struct Cli {
    /// Say more on standard error; twice says all. RUST_LOG sets it in detail
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
// There is one of it in a process.
#[allow(clippy::large_enum_variant)]
enum Command {
    Run(run::Args),
    Resume(resume::Args),
    Bench(bench::Args),
    Train(train::Args),
    Eval(eval::Args),
    Score(eval::Score),
    Compare(compare::Args),
    Generate(generate::Args),
    Convert(convert::Args),
    #[command(subcommand)]
    Data(data::Data),
    #[command(subcommand)]
    Hub(hub::Hub),
    #[command(subcommand)]
    Runs(runs::Runs),
    Tools(tools::Args),
    Doctor(doctor::Args),
    Config(config::Args),
    Mcp(mcp::Args),
    Pretrain(pretrain::Args),
    Sandbox(sandbox::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    Grade(grade::Args),
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let parsed = command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    if cli.command.is_none() && !session::is_possible() {
        eprint!("{}", command().render_help());
        return ExitCode::from(2);
    }
    trace(cli.verbose);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&Failure { exit: 70, message: format!("the runtime cannot be started: {error}") }),
    };
    let done = runtime.block_on(async {
        let Some(command) = cli.command else { return session::main().await };
        let cancel = Cancel::default();
        stop::watch(&cancel);
        dispatch(command, &cancel).await
    });
    // A blocking read, of a terminal for example, must not keep a process that is done.
    runtime.shutdown_background();
    match done {
        Ok(exit) => ExitCode::from(exit),
        Err(failure) => failed(&failure),
    }
}

/// The parser. A negative number after an option is its value, so that the option itself says what it takes.
fn command() -> clap::Command {
    fn negative(command: clap::Command) -> clap::Command {
        let values = |arg: clap::Arg| {
            let takes = arg.get_long().is_some() && arg.get_action().takes_values();
            if takes { arg.allow_negative_numbers(true) } else { arg }
        };
        command.mut_args(values).mut_subcommands(negative)
    }
    negative(Cli::command())
}

/// Does one command; `Ok` holds the exit code.
async fn dispatch(command: Command, cancel: &Cancel) -> Result<u8, Failure> {
    match command {
        Command::Run(args) => run::main(args, cancel).await,
        Command::Resume(args) => resume::main(args, cancel).await,
        Command::Bench(args) => bench::main(args, cancel).await,
        Command::Train(args) => train::main(args, cancel).await,
        Command::Eval(args) => eval::main(args, cancel).await,
        Command::Score(args) => eval::score(args, cancel).await,
        Command::Compare(args) => compare::main(&args),
        Command::Generate(args) => generate::main(args, cancel).await,
        Command::Convert(args) => convert::main(args, cancel).await,
        Command::Data(data) => data::main(data, cancel).await,
        Command::Hub(hub) => hub::main(hub, cancel).await,
        Command::Runs(runs) => runs::main(runs, cancel).await,
        Command::Tools(args) => tools::main(&args),
        Command::Doctor(args) => doctor::main(&args).await,
        Command::Config(args) => config::main(&args),
        Command::Mcp(args) => mcp::main(args, cancel).await,
        Command::Pretrain(args) => pretrain::main(args, cancel).await,
        Command::Sandbox(args) => sandbox::main(args, cancel).await,
        Command::Completions(args) => completions::main(&args, &self::command()),
        Command::Grade(args) => grade::main(args, cancel).await,
    }
}

fn failed(failure: &Failure) -> ExitCode {
    eprintln!("error: {}", visible(&failure.message));
    ExitCode::from(failure.exit)
}

/// Help goes to standard output as it is; everything else is an error of at most two lines.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let lost = error.print().err().as_ref().and_then(commands::unprinted);
        return lost.map_or(ExitCode::SUCCESS, |failure| failed(&failure));
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(2);
    }
    let words: Vec<_> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let text = dashed(error, &words).unwrap_or_else(|| one_line(error));
    eprintln!("error: {}", visible(&text));
    eprintln!("see: {} --help", command_of(std::env::args_os().skip(1)));
    ExitCode::from(2)
}

/// What to write where the value of an option begins with a dash, as a file's name may: the parser takes it for another
/// option, and its own tip leads nowhere.
fn dashed(error: &clap::Error, words: &[String]) -> Option<String> {
    if !matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::InvalidValue) {
        return None;
    }
    let is_option = |word: &str| word.starts_with("--") && !word.contains('=') && takes_value(&command(), &word[2..]);
    let is_dashed = |word: &str| word.starts_with('-') && !word.starts_with("--") && word.len() > 1;
    let [option, value] = words.windows(2).find(|pair| is_option(&pair[0]) && is_dashed(&pair[1]))? else {
        return None;
    };
    Some(format!("{value:?} begins with a dash, so it is taken for an option; write {option}={value}"))
}

/// Whether some command has an option of this name with a value.
fn takes_value(command: &clap::Command, name: &str) -> bool {
    let found = |arg: &clap::Arg| arg.get_long() == Some(name) && arg.get_action().takes_values();
    command.get_arguments().any(found) || command.get_subcommands().any(|command| takes_value(command, name))
}

/// What is wrong, with the parser's tips and without its usage text.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let paragraphs = text
        .split("\n\n")
        .map(str::trim)
        .filter(|p| !p.starts_with("Usage:") && !p.starts_with("For more") && !p.contains("use '-- "));
    let words = |p: &str| p.split_whitespace().collect::<Vec<_>>().join(" ");
    paragraphs.map(words).collect::<Vec<_>>().join("; ").trim_start_matches("error: ").to_owned()
}

/// The command whose help says more, for example `tunesmith runs show`.
fn command_of(words: impl Iterator<Item = std::ffi::OsString>) -> String {
    let (mut at, mut found) = (Cli::command(), "tunesmith".to_owned());
    for word in words {
        let next = word.to_str().filter(|word| !word.starts_with('-')).map(|word| at.find_subcommand(word).cloned());
        match next {
            // An option before the command.
            None => {}
            Some(Some(next)) => {
                found = format!("{found} {}", next.get_name());
                at = next;
            }
            Some(None) => break,
        }
    }
    found
}

/// What the program and its libraries say of themselves goes to standard error, where somebody asks for it: what a user
/// has to know is told as an error or a note. Filters are read only where they are set, because parsing one costs more
/// than the rest of the start.
fn trace(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::OFF,
        1 => LevelFilter::INFO,
        _ => LevelFilter::TRACE,
    };
    let log = tracing_subscriber::fmt().with_writer(secrets::Quiet);
    if std::env::var_os("RUST_LOG").is_some() {
        log.with_env_filter(EnvFilter::from_default_env()).init();
    } else if level != LevelFilter::OFF {
        log.with_max_level(level).init();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_consistent() {
        command().debug_assert();
    }
}
