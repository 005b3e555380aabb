//! `tunesmith tools`: what a planner may call.

use serde_json::{Value, json};
use tunesmith_harness::text::visible;
use tunesmith_tools::registry;

use super::{print, print_json};
use crate::run::Failure;

/// List the tools that a planner may call
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Print names, descriptions and JSON Schemas as one JSON array
    #[arg(long)]
    schema: bool,
    /// Print names and descriptions as one JSON array
    #[arg(long)]
    json: bool,
}

/// Lists them.
pub fn main(args: &Args) -> Result<u8, Failure> {
    let registry = registry::all();
    if args.schema {
        print_json(&registry.listing())?;
    } else if args.json {
        let tools: Vec<Value> =
            registry.iter().map(|tool| json!({"name": tool.name(), "description": tool.description()})).collect();
        print_json(&tools)?;
    } else {
        for tool in registry.iter() {
            print(&format!("{:<13} {}", tool.name(), visible(tool.description())));
        }
    }
    Ok(0)
}
