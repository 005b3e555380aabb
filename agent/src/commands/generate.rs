//! `tunesmith generate`: what a model answers.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tunesmith_harness::{model::Message, text::visible_lines};
use tunesmith_lm::constrain::Grammar;
use tunesmith_sandbox::Cancel;
use tunesmith_tools::{bases, generate, worker::Work};

use super::{
    print, print_json,
    require::Require,
    usage,
    work::{Bench, adapter},
};
use crate::run::Failure;

const EXAMPLE: &str = "\
Example:
  tunesmith generate --model nano --adapter runs/RUN/work/train-1 --prompt \"where is my card?
Label:\"

  tunesmith generate --model nano --schema team.json --prompt \"where is my card?\"

--chat is a JSON file: an array of {\"role\": .., \"content\": ..}.
--schema is a JSON Schema that every answer fits, whatever the model is and however few tokens it may write; {\"enum\": [..]}
chooses one of some answers. Properties come in the schema's order. What cannot be told byte by byte, as pattern, format of a
string, multipleOf, uniqueItems and not, is refused by its name.";

/// Ask a model
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLE, group = clap::ArgGroup::new("asked").required(true).args(["prompt", "chat"]))]
pub struct Args {
    /// nano, a directory, a .gguf file or a Hub id (OWNER/NAME[@REVISION])
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// Adapter in PEFT's format [default: none]
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// One user turn; may be repeated
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,
    /// A conversation
    #[arg(long, value_name = "FILE")]
    chat: Option<PathBuf>,
    /// JSON Schema that every answer fits [default: none]
    #[arg(long, value_name = "FILE", conflicts_with = "stop")]
    schema: Option<PathBuf>,
    /// Most new tokens [default: 64, with --schema 1024]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    max_tokens: Option<u32>,
    /// 0 takes the most likely token each time
    #[arg(long, value_name = "T", default_value = "0", value_parser = temperature)]
    temperature: f32,
    /// Draw only from the most likely tokens that together have this probability
    #[arg(long, value_name = "P", default_value = "1", value_parser = top_p)]
    top_p: f32,
    /// A string that ends an answer; may be repeated
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Seed of the draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    require: Require,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Asks.
pub async fn main(args: Args, cancel: &Cancel) -> Result<u8, Failure> {
    let prompts = match &args.chat {
        Some(path) => vec![chat(path)?],
        None => args.prompt.iter().map(|text| vec![Message::user(text)]).collect(),
    };
    let schema = args.schema.as_deref().map(schema).transpose()?;
    let usual = if schema.is_some() { 1_024 } else { 64 };
    let bench = Bench::new(&args.require, cancel)?;
    let base = bench.model(&args.model).await?;
    let adapter = args.adapter.as_deref().map(adapter).transpose()?;
    let job = generate::Job {
        base: base.clone(),
        adapter: adapter.clone(),
        prompts,
        max_new_tokens: args.max_tokens.unwrap_or(usual) as usize,
        temperature: args.temperature,
        top_p: args.top_p,
        stop: args.stop,
        seed: args.seed,
        schema,
    };
    let reads = bases::reads(&base).into_iter().chain(adapter).collect();
    let said: generate::Output = bench.run(&Work::Generate(job), &bench.private()?, reads, "generate").await?;
    if args.json {
        print_json(&said)?;
    } else {
        said.answers.iter().for_each(|answer| print(&visible_lines(&answer.text)));
    }
    Ok(0)
}

/// A conversation in the form that chat APIs use.
fn chat(path: &Path) -> Result<Vec<Message>, Failure> {
    let wrong = |why: String| usage(format!("{}: {why}", path.display()));
    let text = super::text(path)?;
    let form = "write an array of {\"role\": .., \"content\": ..}";
    let messages: Vec<Message> =
        serde_json::from_str(&text).map_err(|error| wrong(format!("not a conversation ({error}); {form}")))?;
    if messages.is_empty() {
        return Err(wrong(format!("the conversation is empty; {form}")));
    }
    if let Some(other) = messages.iter().find(|m| !["system", "user", "assistant"].contains(&m.role.as_str())) {
        return Err(wrong(format!("there is no role {:?}; use system, user or assistant", other.role)));
    }
    Ok(messages)
}

/// A schema that answers can be kept to.
fn schema(path: &Path) -> Result<Value, Failure> {
    let wrong = |why: String| usage(format!("{}: {why}", path.display()));
    let schema = serde_json::from_str(&super::text(path)?).map_err(|error| wrong(format!("not JSON ({error})")))?;
    match Grammar::of_schema(&schema) {
        Ok(_) => Ok(schema),
        Err(error) => Err(wrong(error.to_string())),
    }
}

fn temperature(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if (0.0..=5.0).contains(&value) => Ok(value),
        _ => Err("must be a number from 0 to 5".into()),
    }
}

fn top_p(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value > 0.0 && value <= 1.0 => Ok(value),
        _ => Err("must be a number above 0, and at most 1".into()),
    }
}
