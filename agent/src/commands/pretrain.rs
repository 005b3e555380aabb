//! `tunesmith pretrain`: a small base from nothing, as the bundled one was made.

use std::path::PathBuf;

use tunesmith_harness::text::visible;
use tunesmith_lm::{
    pretrain::{ModelShape, PretrainSpec, Pretrained, Source},
    train::Checkpoint,
};
use tunesmith_sandbox::Cancel;
use tunesmith_tools::{pretraining, worker::Work};

use super::{
    file,
    numbers::{self, whole},
    print, print_json,
    require::Require,
    table::count,
    usage,
    work::{Bench, directory, remove},
};
use crate::run::Failure;

const EXAMPLE: &str = "\
Example:
  tunesmith pretrain --text dialogues.txt:2='CC BY-SA 4.0' --generated-tokens 5500000 --out base

A checkpoint is saved every --save-steps steps; the same command goes on from it after it was stopped.";

/// Pretrain a small base from text files and generated text
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// A text file, how often it is seen, and its licence for the model card; may be repeated
    #[arg(long = "text", value_name = "FILE:PASSES[=LICENCE]", value_parser = source)]
    texts: Vec<Source>,
    /// Tokens of text that is generated
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole(0..=1_000_000_000))]
    generated_tokens: usize,
    /// Sequences per step
    #[arg(long, value_name = "N", default_value_t = 48, value_parser = whole(1..=4096))]
    batch_size: usize,
    /// Longest sequence in tokens
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = whole(2..=131_072))]
    sequence: usize,
    /// Peak learning rate of a cosine after 2 % warm-up
    #[arg(long, value_name = "X", default_value_t = 3e-3, value_parser = numbers::learning_rate)]
    learning_rate: f64,
    /// Weight decay
    #[arg(long, value_name = "X", default_value_t = 0.05, value_parser = numbers::decay)]
    weight_decay: f64,
    /// Seed of weights, generated text and order
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Stop after so many steps [default: none]
    #[arg(long, value_name = "N", value_parser = whole(1..))]
    max_steps: Option<usize>,
    #[command(flatten)]
    shape: Shape,
    /// Directory for the model; may hold checkpoints of the same command
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Steps between checkpoints
    #[arg(long, alias = "save-every", value_name = "N", default_value_t = 200, value_parser = whole(1..))]
    save_steps: usize,
    #[command(flatten)]
    require: Require,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The shape of the model; the defaults are the bundled base's.
#[derive(Clone, Copy, Debug, clap::Args)]
struct Shape {
    /// Entries of the vocabulary
    #[arg(long, value_name = "N", default_value_t = ModelShape::default().vocab, value_parser = whole(1..=1_000_000))]
    vocab: usize,
    /// Width
    #[arg(long, value_name = "N", default_value_t = ModelShape::default().hidden, value_parser = whole(1..=65_536))]
    hidden: usize,
    /// Width of the feed-forward block
    #[arg(long, value_name = "N", default_value_t = ModelShape::default().inner, value_parser = whole(1..=262_144))]
    inner: usize,
    /// Decoder layers
    #[arg(long, value_name = "N", default_value_t = ModelShape::default().layers, value_parser = whole(1..=1_000))]
    layers: usize,
    /// Query heads
    #[arg(long, value_name = "N", default_value_t = ModelShape::default().heads, value_parser = whole(1..=1_024))]
    heads: usize,
    /// Key and value heads
    #[arg(long, value_name = "N", default_value_t = ModelShape::default().kv_heads, value_parser = whole(1..=1_024))]
    kv_heads: usize,
    /// Longest context
    #[arg(long, value_name = "N", default_value_t = ModelShape::default().context, value_parser = whole(1..=131_072))]
    context: usize,
}

/// Pretrains, or goes on.
pub async fn main(args: Args, cancel: &Cancel) -> Result<u8, Failure> {
    if args.texts.is_empty() && args.generated_tokens == 0 {
        return Err(usage("there is no text; give --text FILE:PASSES or --generated-tokens N"));
    }
    let spec = spec(&args)?;
    let bench = Bench::new(&args.require, cancel)?;
    let out = directory(&args.out)?;
    let checkpoints = out.path().join(pretraining::CHECKPOINTS);
    if out.path().join("config.json").exists() && !Checkpoint::is_in(&checkpoints) {
        return Err(usage(format!("{} already holds a model; name another --out", args.out.display())));
    }
    let reads = spec.texts.iter().map(|source| source.path.clone()).collect();
    let job = pretraining::Job { spec, out: out.path().to_owned(), save_steps: Some(args.save_steps) };
    let done: Pretrained = bench.run(&Work::Pretrain(job), &out, reads, "pretrain").await?;
    // The checkpoints are of no use any more, and larger than the model and its optimiser together.
    remove(&checkpoints);
    if args.json {
        print_json(&done)?;
    } else {
        print(&format!(
            "{} parameters, {} steps, {} tokens from files and {} generated, held-out loss {:.4}",
            count(done.parameters as u64),
            done.report.steps.0,
            count(done.tokens.0 as u64),
            count(done.tokens.1 as u64),
            done.valid_loss
        ));
        print(&format!("written to {}", visible(&out.path().display().to_string())));
    }
    Ok(0)
}

fn spec(args: &Args) -> Result<PretrainSpec, Failure> {
    let texts = args.texts.iter().map(|source| Ok(Source { path: file(&source.path)?, ..source.clone() }));
    let Shape { vocab, hidden, inner, layers, heads, kv_heads, context } = args.shape;
    let shape = ModelShape { vocab, hidden, inner, layers, heads, kv_heads, context };
    shape.config().map_err(|error| usage(error.to_string()))?;
    if args.sequence > context {
        return Err(usage(format!("--sequence must be at most the context, which is {context}")));
    }
    Ok(PretrainSpec {
        texts: texts.collect::<Result<_, Failure>>()?,
        generated_tokens: args.generated_tokens,
        shape,
        sequence: args.sequence,
        batch_size: args.batch_size,
        learning_rate: args.learning_rate,
        weight_decay: args.weight_decay,
        max_steps: args.max_steps,
        seed: args.seed,
    })
}

/// `FILE:PASSES` or `FILE:PASSES=LICENCE`; both a path and a licence may hold colons.
fn source(text: &str) -> Result<Source, String> {
    let colons = text.rmatch_indices(':').map(|(at, _)| at);
    let read = |at: usize| {
        let (path, rest) = (&text[..at], &text[at + 1..]);
        let (passes, licence) = rest.split_once('=').map_or((rest, None), |(passes, licence)| (passes, Some(licence)));
        let passes = passes.parse().ok().filter(|passes| (1..=100).contains(passes))?;
        (!path.is_empty()).then(|| Source { path: path.into(), passes, licence: licence.map(str::to_owned) })
    };
    let found = colons.filter_map(read).next();
    found.ok_or_else(|| "write it as FILE:PASSES or FILE:PASSES=LICENCE, with 1 to 100 passes".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_file_its_passes_and_perhaps_its_licence() {
        let want = |path: &str, passes, licence: Option<&str>| {
            Ok(Source { path: path.into(), passes, licence: licence.map(str::to_owned) })
        };
        assert_eq!(source("a.txt:2"), want("a.txt", 2, None));
        assert_eq!(source("a:b/c.txt:4=CC BY-SA 4.0"), want("a:b/c.txt", 4, Some("CC BY-SA 4.0")));
        assert_eq!(source("a.txt:1=CC0: public=yes"), want("a.txt", 1, Some("CC0: public=yes")));
        for wrong in ["a.txt", "a.txt:", "a.txt:0", "a.txt:x", ":2", "a.txt:101"] {
            assert!(source(wrong).is_err(), "{wrong}");
        }
    }
}
