//! `tunesmith convert`: a model to ship, checked against its source.

use std::path::PathBuf;

use clap::ValueEnum;
use tunesmith_harness::{
    figures::{bytes, percent},
    text::visible,
};
use tunesmith_sandbox::Cancel;
use tunesmith_tools::{
    bases,
    convert::{self, Format, Quant},
    worker::Work,
};

use super::{
    print, print_json,
    require::Require,
    usage,
    work::{Bench, Fresh, adapter},
};
use crate::run::Failure;

/// Write a model, with its adapter merged, as a GGUF file or in Hugging Face's format
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  tunesmith convert --model nano --adapter adapter --to gguf --quant q8_0 --out model.gguf"
)]
pub struct Args {
    /// nano, a directory, a .gguf file or a Hub id (OWNER/NAME[@REVISION])
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// Adapter in PEFT's format to merge [default: none]
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// The format
    #[arg(long, value_enum)]
    to: To,
    /// How numbers are stored; q8_0 and q4_k_m are for gguf
    #[arg(long, value_enum, default_value_t = Stored::F16)]
    quant: Stored,
    /// New file (gguf) or directory (safetensors)
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    #[command(flatten)]
    require: Require,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum To {
    Gguf,
    Safetensors,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stored {
    F32,
    F16,
    #[value(name = "q8_0")]
    Q8,
    #[value(name = "q4_k_m")]
    Q4,
}

/// Converts.
pub async fn main(args: Args, cancel: &Cancel) -> Result<u8, Failure> {
    if args.to == To::Safetensors && matches!(args.quant, Stored::Q8 | Stored::Q4) {
        return Err(usage("safetensors takes f32 or f16; use --to gguf for q8_0 and q4_k_m"));
    }
    let bench = Bench::new(&args.require, cancel)?;
    let base = bench.model(&args.model).await?;
    let adapter = args.adapter.as_deref().map(adapter).transpose()?;
    let out = Fresh::new(&args.out)?;
    let job = convert::Job {
        base: base.clone(),
        adapter: adapter.clone(),
        to: match args.to {
            To::Gguf => Format::Gguf,
            To::Safetensors => Format::Safetensors,
        },
        quant: match args.quant {
            Stored::F32 => Quant::F32,
            Stored::F16 => Quant::F16,
            Stored::Q8 => Quant::Q8,
            Stored::Q4 => Quant::Q4,
        },
        out: out.path().to_owned(),
        examples: None,
    };
    let reads = bases::reads(&base).into_iter().chain(adapter).collect();
    let made: convert::Output = bench.run(&Work::Convert(job), out.dir(), reads, "convert").await?;
    let made = convert::Output { path: out.keep()?, ..made };
    if args.json {
        print_json(&made)?;
    } else {
        print(&format!("{}  {}  sha256 {}", visible(&made.path), bytes(made.bytes), made.sha256));
        if made.not_quantized > 0 {
            print(&format!("{} matrices take more bits: their rows are no whole blocks of so few", made.not_quantized));
        }
        print(&match made.agreement.zip(made.max_logit_difference) {
            Some((agreement, difference)) => format!(
                "checked: {} of {} greedy answers equal the source's, logits differ by at most {difference:.2e}",
                percent(agreement),
                made.prompts
            ),
            None => "not checked: no prompt fits the model".to_owned(),
        });
    }
    Ok(0)
}
