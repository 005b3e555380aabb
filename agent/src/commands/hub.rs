//! `tunesmith hub`: finding models and data sets.

use clap::ValueEnum;
use serde_json::json;
use tunesmith_harness::text::visible;
use tunesmith_sandbox::Cancel;
use tunesmith_tools::hub::{Filters, Hit};

use super::{
    print, print_json,
    stop::CANCELLED,
    table::{NONE, count, table},
};
use crate::run::Failure;

/// Look at the Hugging Face Hub (HF_ENDPOINT and HF_TOKEN are honoured)
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Hub {
    /// Find models that generate text, or data sets
    Search(Search),
}

/// `hub search`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  tunesmith hub search models smollm --max-parameters 500000000 --licence apache-2.0"
)]
pub struct Search {
    /// What to look for
    #[arg(value_enum)]
    what: What,
    /// Words in the name
    query: String,
    /// Only with this licence, for example apache-2.0
    #[arg(long)]
    licence: Option<String>,
    /// Models of at most so many parameters
    #[arg(long, value_name = "N")]
    max_parameters: Option<u64>,
    /// Order of the results
    #[arg(long, value_enum, default_value_t = Sort::Downloads)]
    sort: Sort,
    /// Most results
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=200))]
    limit: u16,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    Models,
    Datasets,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sort {
    Downloads,
    Likes,
    Created,
    Modified,
    Trending,
}

impl Sort {
    fn name(self) -> &'static str {
        match self {
            Sort::Downloads => "downloads",
            Sort::Likes => "likes",
            Sort::Created => "createdAt",
            Sort::Modified => "lastModified",
            Sort::Trending => "trendingScore",
        }
    }
}

/// Searches.
pub async fn main(hub: Hub, cancel: &Cancel) -> Result<u8, Failure> {
    let Hub::Search(args) = hub;
    let failure = |message: String| Failure { exit: 5, message };
    let hub = crate::hub::open().map_err(|error| failure(error.to_string()))?;
    let filters = Filters {
        licence: args.licence,
        max_parameters: args.max_parameters,
        sort: Some(args.sort.name().to_owned()),
        limit: args.limit.into(),
    };
    let search = async {
        match args.what {
            What::Models => hub.search_models(&args.query, &filters).await,
            What::Datasets => hub.search_datasets(&args.query, &filters).await,
        }
    };
    let hits = tokio::select! {
        hits = search => hits.map_err(|error| failure(error.to_string()))?,
        () = cancel.cancelled() => return Ok(CANCELLED),
    };
    if args.json {
        print_json(&json!({"authenticated": hub.is_authenticated(), "results": hits}))?;
    } else if hits.is_empty() {
        print(&format!("nothing found for {}", visible(&args.query)));
    } else {
        let head = ["id", "parameters", "licence", "downloads", "likes", "access"].map(str::to_owned).to_vec();
        let rows: Vec<Vec<String>> = [head].into_iter().chain(hits.iter().map(row)).collect();
        table(&rows).iter().for_each(|line| print(line));
    }
    Ok(0)
}

fn row(hit: &Hit) -> Vec<String> {
    let number = |value: Option<u64>| value.map_or_else(|| NONE.to_owned(), count);
    let access = match hit.gated {
        Some(true) => "asked for",
        Some(false) => "open",
        None => NONE,
    };
    let licence = hit.licence.clone().unwrap_or_else(|| "unknown".into());
    vec![hit.id.clone(), number(hit.parameters), licence, number(hit.downloads), number(hit.likes), access.into()]
}
