//! `hub_search`: models and data sets on the Hugging Face Hub.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use tunesmith_harness::score::{Score, Verdict};
use tunesmith_sandbox::Workdir;

use crate::{
    files::score,
    hub::{Filters, Hit},
    tool::{Cx, Tool, ToolError},
    train::limit,
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

/// Least bytes of a parameter while a model is held: half precision, as most are stored.
const BYTES: u64 = 2;

/// How many of the results are as `is` says; what it does not know is counted apart. It fails where all are known not to be.
fn share(output: &Output, scorer: &str, what: &str, is: &dyn Fn(&Hit) -> Option<bool>) -> Score {
    let known: Vec<bool> = output.hits.iter().filter_map(is).collect();
    let (yes, all) = (known.iter().filter(|yes| **yes).count(), output.hits.len());
    let unknown = all - known.len();
    let verdict = match () {
        () if known.is_empty() => Verdict::Unknown,
        () if yes == all => Verdict::Pass,
        () if yes == 0 && unknown == 0 => Verdict::Fail,
        () => Verdict::Warn,
    };
    let apart = if unknown == 0 { String::new() } else { format!(", of {unknown} it is unknown") };
    let value = (!known.is_empty()).then(|| yes as f64 / known.len() as f64);
    score(scorer, value, verdict, format!("{yes} of {all} {what}{apart}"))
}

/// What was found, in the Hub's order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The results.
    pub hits: Vec<Hit>,
    /// Bytes of memory that this machine has for a model; null where that is unknown, and for data sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
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
            // Models that are trained here generate text.
            task: (args.what == What::Models).then(|| "text-generation".to_owned()),
            max_parameters: args.max_parameters,
            sort: Some(args.sort.field().to_owned()),
            limit: args.limit,
            ..Filters::default()
        };
        let found = async {
            match args.what {
                What::Models => hub.search_models(&args.query, &filters).await,
                What::Datasets => hub.search_datasets(&args.query, &filters).await,
            }
        };
        tokio::select! {
            found = found => Ok(Output {
                hits: found.map_err(|error| ToolError::Failed(error.to_string()))?.hits,
                memory: if args.what == What::Models { limit(None) } else { None },
            }),
            () = cx.cancel.cancelled() => Err(ToolError::Cancelled),
        }
    }

    fn scores(&self, output: &Output, _: &Workdir) -> Vec<Score> {
        let mut scores =
            vec![share(output, "search.licence", "state a licence", &|hit| hit.licence.as_ref().map(|_| true))];
        // Only models have a size and a family.
        if output.memory.is_some() || output.hits.iter().any(|hit| hit.trainable.is_some() || hit.parameters.is_some())
        {
            let fits = |hit: &Hit| Some(hit.parameters?.saturating_mul(BYTES) <= output.memory?);
            scores.push(share(output, "search.trainable", "can be trained here", &|hit| hit.trainable));
            scores.push(share(output, "search.fit", "fit into this machine's memory", &fits));
        }
        scores
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hit(licence: Option<&str>, parameters: Option<u64>, trainable: Option<bool>) -> Hit {
        Hit {
            id: "a/b".into(),
            downloads: None,
            likes: None,
            licence: licence.map(str::to_owned),
            tags: Vec::new(),
            gated: None,
            parameters,
            trainable,
        }
    }

    fn told(hits: Vec<Hit>, memory: Option<u64>) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let scores = HubSearch.scores(&Output { hits, memory }, &Workdir::open(dir.path()).unwrap());
        scores.into_iter().map(|score| format!("{} {}: {}", score.scorer, score.verdict.word(), score.why)).collect()
    }

    #[test]
    fn results_are_judged_by_licence_family_and_size_and_unknown_stays_unknown() {
        let good = hit(Some("mit"), Some(100), Some(true));
        assert_eq!(
            told(vec![good.clone()], Some(1000)),
            [
                "search.licence pass: 1 of 1 state a licence",
                "search.trainable pass: 1 of 1 can be trained here",
                "search.fit pass: 1 of 1 fit into this machine's memory",
            ]
        );
        assert_eq!(
            told(vec![hit(None, Some(501), Some(false))], Some(1000)),
            [
                "search.licence unknown: 0 of 1 state a licence, of 1 it is unknown",
                "search.trainable fail: 0 of 1 can be trained here",
                "search.fit fail: 0 of 1 fit into this machine's memory",
            ]
        );
        assert_eq!(
            told(vec![good, hit(None, None, None)], Some(1000)),
            [
                "search.licence warn: 1 of 2 state a licence, of 1 it is unknown",
                "search.trainable warn: 1 of 2 can be trained here, of 1 it is unknown",
                "search.fit warn: 1 of 2 fit into this machine's memory, of 1 it is unknown",
            ]
        );
        // A data set has neither size nor family.
        assert_eq!(told(vec![hit(Some("mit"), None, None)], None), ["search.licence pass: 1 of 1 state a licence"]);
    }
}
