//! `tunesmith runs export`: runs as training data for a planner.

use std::path::PathBuf;

use tunesmith_harness::{figures::counted, log, run::write_atomically, text::visible};

use super::{Kept, open};
use crate::{
    commands::{print, run::Shares, usage},
    run::Failure,
    show::Share,
    trace::{self, Options},
};

const EXAMPLE: &str = "\
Example:
  tunesmith runs export 20261121T015438Z-route --only-good --out planner.jsonl
  tunesmith train planner.jsonl --base my-model --out planner

One JSON line for each run: messages and tools as in OpenAI's fine-tuning format, and metadata with outcome and figures.
Of a run that a language model planned, it holds what that model saw, and no field of its provider's. Secrets are taken
out. Nothing is sent anywhere.";

/// `runs export`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// The runs: their directories, or their names in --dir
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    #[command(flatten)]
    kept: Kept,
    /// Write to this file, which is replaced [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Leave out steps that failed or were judged a failure, and turns without a call
    #[arg(long)]
    only_good: bool,
    /// What of the rows may be in runs of the playbook, which showed nobody anything [default: as the run was allowed]
    #[arg(long, value_enum)]
    share: Option<Shares>,
    /// Write arguments of calls as objects, as chat templates of transformers want them
    #[arg(long)]
    objects: bool,
}

pub fn main(args: &Args) -> Result<u8, Failure> {
    let (mut lines, mut steps, mut left_out) = (Vec::new(), 0, 0);
    let dir = args.kept.dir()?;
    for name in &args.runs {
        let run = open(name, &dir)?;
        let shown = visible(&run.dir().display().to_string()).into_owned();
        let history = log::scan(&run.log()).map_err(|error| usage(error.to_string()))?;
        if let Some(broken) = &history.broken {
            let (line, why) = (broken.line, &broken.why);
            eprintln!(
                "note: {shown}: the log is damaged at line {line} ({}); what stands before it is taken",
                visible(why)
            );
        }
        let terms = run.manifest().ok().and_then(|manifest| manifest.terms);
        let allowed = || terms.is_some_and(|terms| terms.share == "samples");
        let share = args.share.map_or_else(|| if allowed() { Share::Samples } else { Share::None }, Share::from);
        let options = Options { share, only_good: args.only_good, objects: args.objects };
        let trace = trace::of(&history.events, options).map_err(|error| usage(format!("{shown}: {error}")))?;
        steps += trace.steps;
        left_out += trace.left_out;
        lines.push(trace.row.to_string());
    }
    let runs = counted(lines.len(), "run");
    let told = format!("{runs}, {}, {left_out} left out", counted(steps, "step"));
    match &args.out {
        None => {
            lines.iter().for_each(|line| print(line));
            eprintln!("note: {told}");
        }
        Some(path) => {
            let text = lines.join("\n") + "\n";
            write_atomically(path, text.as_bytes()).map_err(|error| Failure::new(5, error))?;
            print(&format!("wrote {}: {told}", visible(&path.display().to_string())));
        }
    }
    Ok(0)
}
