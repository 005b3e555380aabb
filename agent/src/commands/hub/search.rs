//! `hub search`.

use clap::ValueEnum;
use tunesmith_harness::text::visible;
use tunesmith_sandbox::Cancel;
use tunesmith_tools::hub::{Filters, Hit};

use super::{CANCELLED, failure, unless_cancelled};
use crate::{
    commands::{
        print, print_json,
        table::{NONE, count, table},
    },
    run::Failure,
};

/// `hub search`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  tunesmith hub search models smollm --max-parameters 500000000 --licence apache-2.0"
)]
pub struct Args {
    /// What to look for
    #[arg(value_enum)]
    what: What,
    /// Words in the name
    #[arg(default_value = "")]
    query: String,
    /// Only of this user or organisation
    #[arg(long, value_name = "OWNER")]
    author: Option<String>,
    /// Only for this task, for example text-classification; any for all [default: models that generate text]
    #[arg(long, value_name = "TASK")]
    task: Option<String>,
    /// Only with this licence, for example apache-2.0
    #[arg(long)]
    licence: Option<String>,
    /// Only for this library, for example transformers
    #[arg(long, value_name = "NAME")]
    library: Option<String>,
    /// Models of at least so many parameters
    #[arg(long, value_name = "N")]
    min_parameters: Option<u64>,
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
pub async fn main(args: Args, cancel: &Cancel) -> Result<u8, Failure> {
    let hub = crate::hub::open().map_err(failure)?;
    let task = match (args.task.as_deref(), args.what) {
        (Some("any"), _) | (None, What::Datasets) => None,
        (None, What::Models) => Some("text-generation".to_owned()),
        (Some(task), _) => Some(task.to_owned()),
    };
    let filters = Filters {
        licence: args.licence,
        author: args.author,
        task,
        library: args.library,
        min_parameters: args.min_parameters,
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
    let Some(found) = unless_cancelled(search, cancel).await? else { return Ok(CANCELLED) };
    if args.json {
        let mut out = serde_json::json!({"authenticated": hub.is_authenticated(), "results": found.hits});
        out["looked_at"] = found.looked_at.into();
        out["narrowed"] = found.narrowed.into();
        out["more"] = found.more.into();
        print_json(&out)?;
        return Ok(0);
    }
    if found.hits.is_empty() {
        print(&format!("nothing found for {}", visible(&args.query)));
    } else {
        let head = ["id", "parameters", "licence", "downloads", "likes", "access"].map(str::to_owned).to_vec();
        let rows: Vec<Vec<String>> = [head].into_iter().chain(found.hits.iter().map(row)).collect();
        table(&rows).iter().for_each(|line| print(line));
    }
    if let Some(narrowed) = found.narrowed {
        let first = if found.more { "the first " } else { "" };
        print(&format!("of {first}{} that the Hub named, those of {narrowed} are shown", found.looked_at));
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
