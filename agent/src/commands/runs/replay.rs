//! `tunesmith runs replay`: whether a run comes to the same once more.

use serde_json::{Value, json};
use tunesmith_harness::{figures::counted, text::visible};
use tunesmith_sandbox::Cancel;

use super::Named;
use crate::{
    commands::{print, print_json, resume::as_before, table::short, usage},
    run::{self, Difference, Failure, Replayed},
    terminal::Terminal,
};

/// Play a run again from its log, in a directory of its own, and hold the two against each other
///
/// What the planner said is taken from the log; every step is made anew, and so is the grading. On the same machine the
/// same bytes come out, except where a step ended at a deadline or used the network.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    named: Named,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Differences that are shown.
const SHOWN: usize = 10;

/// Plays it again; exit code 3 says that it came to something else.
pub async fn main(args: Args, cancel: &Cancel) -> Result<u8, Failure> {
    // The new run is kept beside the others.
    let (run, dir) = args.named.open()?;
    let manifest = run.manifest().map_err(|error| usage(error.to_string()))?;
    let options = as_before(manifest)?;
    let terminal = Terminal::progress_only("replay");
    let replayed = run::replay(&run, &options, &dir, &terminal, cancel).await;
    terminal.clear();
    let Replayed { finished, steps, differences } = replayed?;
    if args.json {
        print_json(
            &json!({"run": finished.dir, "same": differences.is_empty(), "steps": steps, "differences": differences}),
        )?;
    } else {
        for difference in differences.iter().take(SHOWN) {
            print(&line(difference));
        }
        if differences.len() > SHOWN {
            print(&format!("and {} more; --json shows them all", differences.len() - SHOWN));
        }
        let steps = counted(steps, "step");
        print(&match differences.is_empty() {
            true => format!("the same: {steps}, and what was graded"),
            false => format!("not the same, in {} of {steps} and the grading", counted(differences.len(), "place")),
        });
        print(&visible(&format!("replay  {}", finished.dir.display())));
    }
    Ok(if differences.is_empty() { 0 } else { 3 })
}

fn line(difference: &Difference) -> String {
    let step = difference.step.map_or_else(|| "result".to_owned(), |step| format!("step {step}"));
    let value = |value: &Value| short(&value.to_string(), 60);
    visible(&format!("{step}  {}: {} -> {}", difference.what, value(&difference.was), value(&difference.now)))
        .into_owned()
}
