//! `hub_search`: models and data sets on the Hugging Face Hub.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    hub::{Filters, Hit},
    tool::{Cx, Tool, ToolError},
};

/// See [`Args`].
pub struct HubSearch;

/// Finds models or data sets on the Hugging Face Hub. Needs the user's permission for network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// What to look for.
    #[serde(default)]
    pub what: What,
    /// Words in the name.
    pub query: String,
    /// Licence, for example apache-2.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Most parameters of a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parameters: Option<u64>,
    /// The order.
    #[serde(default)]
    pub sort: Sort,
    /// Most results.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 50))]
    pub limit: usize,
}

fn ten() -> usize {
    10
}

/// Kinds of things on the Hub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum What {
    #[default]
    Models,
    Datasets,
}

/// Orders of results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Sort {
    #[default]
    Downloads,
    Likes,
    Modified,
    Trending,
}

impl Sort {
    /// The Hub's name of the field.
    pub fn field(self) -> &'static str {
        match self {
            Sort::Downloads => "downloads",
            Sort::Likes => "likes",
            Sort::Modified => "lastModified",
            Sort::Trending => "trendingScore",
        }
    }
}

/// What was found, in the Hub's order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The results.
    pub hits: Vec<Hit>,
}

impl Tool for HubSearch {
    const NAME: &'static str = "hub_search";
    type Args = Args;
    type Output = Output;

    async fn call(&self, cx: &Cx<'_>, args: Args) -> Result<Output, ToolError> {
        let Some(hub) = cx.hub else {
            return Err(ToolError::Denied(
                "this run may not use the network; the user can allow it with --allow network:HOST".into(),
            ));
        };
        let filters = Filters {
            licence: args.licence,
            max_parameters: args.max_parameters,
            sort: Some(args.sort.field().to_owned()),
            limit: args.limit,
        };
        let found = async {
            match args.what {
                What::Models => hub.search_models(&args.query, &filters).await,
                What::Datasets => hub.search_datasets(&args.query, &filters).await,
            }
        };
        tokio::select! {
            hits = found => Ok(Output { hits: hits.map_err(|error| ToolError::Failed(error.to_string()))? }),
            () = cx.cancel.cancelled() => Err(ToolError::Cancelled),
        }
    }
}
