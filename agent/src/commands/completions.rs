//! `tunesmith completions`: what a shell needs to complete commands and options.

use clap::Command;
use clap_complete::{Shell, generate};

use super::print;
use crate::run::Failure;

const INSTALL: &str = "\
To install:
  bash        tunesmith completions bash > ~/.local/share/bash-completion/completions/tunesmith
  zsh         tunesmith completions zsh > \"${fpath[1]}/_tunesmith\"
  fish        tunesmith completions fish > ~/.config/fish/completions/tunesmith.fish
  elvish      tunesmith completions elvish > ~/.config/elvish/lib/tunesmith.elv, and `use tunesmith` in rc.elv
  powershell  tunesmith completions powershell >> $PROFILE

They take effect in a new shell.";

/// Print the completions of commands and options for a shell
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = INSTALL)]
pub struct Args {
    /// The shell
    shell: Shell,
}

/// Prints the script of a shell, for the commands of `program` that its help shows.
pub fn main(args: &Args, program: &Command) -> Result<u8, Failure> {
    let shown = program.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let mut shown = Command::new(NAME).args(program.get_arguments().cloned()).subcommands(shown);
    let mut script = Vec::new();
    generate(args.shell, &mut shown, NAME, &mut script);
    print(String::from_utf8_lossy(&script).trim_end());
    Ok(0)
}

const NAME: &str = "tunesmith";
