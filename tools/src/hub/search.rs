//! Which models and data sets there are.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tunesmith_lm::config::FAMILIES;

use super::{Hub, HubError, Kind, client::About};

/// What to look for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// A licence's tag, for example `apache-2.0`.
    pub licence: Option<String>,
    /// The owner.
    pub author: Option<String>,
    /// A task's tag, for example `text-generation`; `None` is any.
    pub task: Option<String>,
    /// A library's tag, for example `transformers`.
    pub library: Option<String>,
    /// Fewest parameters of a model; models that do not state theirs are left out.
    pub min_parameters: Option<u64>,
    /// Most parameters of a model; models that do not state theirs are left out.
    pub max_parameters: Option<u64>,
    /// `downloads`, `likes`, `createdAt`, `lastModified` or `trendingScore`.
    pub sort: Option<String>,
    /// Most results.
    pub limit: usize,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Found {
    /// The results, in the Hub's order.
    pub hits: Vec<Hit>,
    /// How many the Hub named.
    pub looked_at: usize,
    /// What was filtered here, because the Hub does not: of those looked at, the others were left out.
    pub narrowed: Option<String>,
    /// Whether the Hub has more that were not looked at.
    pub more: bool,
}

/// One model or data set. What the Hub does not say is `None`, never zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// `owner/name`.
    pub id: String,
    /// Downloads in the last 30 days.
    pub downloads: Option<u64>,
    /// Likes.
    pub likes: Option<u64>,
    /// Licence tag.
    pub licence: Option<String>,
    /// Other tags, the first 20.
    pub tags: Vec<String>,
    /// Whether access must be asked for; `None` where the Hub does not say.
    pub gated: Option<bool>,
    /// Parameters of a model.
    pub parameters: Option<u64>,
    /// Whether a model can be trained here: its family is known and its weights are safetensors; `None` where the Hub does not
    /// say enough.
    #[serde(default)]
    pub trainable: Option<bool>,
}

/// What the Hub says of one, as far as it is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Listed {
    pub id: String,
    pub sha: Option<String>,
    pub downloads: Option<u64>,
    pub likes: Option<u64>,
    pub private: Option<bool>,
    pub gated: Option<Value>,
    pub tags: Option<Vec<String>>,
    pub card_data: Option<Value>,
    pub config: Option<Value>,
    pub safetensors: Option<Safetensors>,
    #[serde(rename = "pipeline_tag")]
    pub pipeline_tag: Option<String>,
    #[serde(rename = "library_name")]
    pub library_name: Option<String>,
    pub last_modified: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Safetensors {
    pub parameters: std::collections::BTreeMap<String, u64>,
    pub total: u64,
}

/// Results to look at for those that are shown, when some are filtered here.
const LOOK_AT: usize = 500;

/// Results of one page.
const PAGE: usize = 100;

/// Tags shown.
const TAGS: usize = 20;

/// What is asked of each model. The Hub says no more than what is asked for.
const OF_MODELS: [&str; 9] =
    ["cardData", "config", "downloads", "gated", "library_name", "likes", "pipeline_tag", "safetensors", "tags"];

/// What is asked of each data set.
const OF_DATASETS: [&str; 5] = ["cardData", "downloads", "gated", "likes", "tags"];

impl Hub {
    /// Finds models.
    pub async fn search_models(&self, query: &str, filters: &Filters) -> Result<Found, HubError> {
        self.search(Kind::Model, query, filters).await
    }

    /// Finds data sets.
    pub async fn search_datasets(&self, query: &str, filters: &Filters) -> Result<Found, HubError> {
        let filters = Filters { min_parameters: None, max_parameters: None, ..filters.clone() };
        self.search(Kind::Dataset, query, &filters).await
    }

    async fn search(&self, kind: Kind, query: &str, filters: &Filters) -> Result<Found, HubError> {
        let narrowed = narrowed(filters);
        let most = if narrowed.is_some() { LOOK_AT.max(filters.limit) } else { filters.limit };
        let mut url = self.client.url(&["api", kind.plural()]);
        url.query_pairs_mut().extend_pairs(fields(kind, query, filters, most.min(PAGE)));
        let (mut hits, mut looked_at, mut next) = (Vec::new(), 0, Some(url));
        while let Some(url) = next.take() {
            let (page, following): (Vec<Listed>, _) = self.client.page(url, About::List).await?;
            // An empty page that names a next one would go on for ever.
            next = following.filter(|_| !page.is_empty());
            for listed in page {
                if hits.len() == filters.limit || looked_at == most {
                    return Ok(Found { hits, looked_at, narrowed, more: true });
                }
                looked_at += 1;
                let hit = Hit::of(listed);
                if fits(&hit, filters) {
                    hits.push(hit);
                }
            }
            if hits.len() == filters.limit {
                break;
            }
        }
        Ok(Found { hits, looked_at, narrowed, more: next.is_some() })
    }
}

/// The question as the Hub takes it.
fn fields(kind: Kind, query: &str, filters: &Filters, page: usize) -> Vec<(&'static str, String)> {
    let expand: &[&str] = if kind == Kind::Model { &OF_MODELS } else { &OF_DATASETS };
    let mut fields = vec![("search", query.to_owned())];
    fields.extend(expand.iter().map(|field| ("expand", (*field).to_owned())));
    fields.extend(filters.author.iter().map(|author| ("author", author.clone())));
    fields.extend(filters.task.iter().map(|task| match kind {
        Kind::Model => ("pipeline_tag", task.clone()),
        Kind::Dataset => ("filter", format!("task_categories:{task}")),
    }));
    fields.extend(filters.licence.iter().map(|licence| ("filter", format!("license:{licence}"))));
    fields.extend(filters.library.iter().map(|library| ("filter", library.clone())));
    fields.push(("sort", filters.sort.clone().unwrap_or_else(|| "downloads".into())));
    fields.push(("limit", page.to_string()));
    fields
}

/// The Hub does not filter by these.
fn narrowed(filters: &Filters) -> Option<String> {
    match (filters.min_parameters, filters.max_parameters) {
        (None, None) => None,
        (Some(least), None) => Some(format!("at least {least} parameters")),
        (None, Some(most)) => Some(format!("at most {most} parameters")),
        (Some(least), Some(most)) => Some(format!("{least} to {most} parameters")),
    }
}

fn fits(hit: &Hit, filters: &Filters) -> bool {
    let least = filters.min_parameters.is_none_or(|least| hit.parameters.is_some_and(|n| n >= least));
    least && filters.max_parameters.is_none_or(|most| hit.parameters.is_some_and(|n| n <= most))
}

impl Hit {
    fn of(listed: Listed) -> Hit {
        Hit {
            downloads: listed.downloads,
            likes: listed.likes,
            licence: licence(listed.tags.as_deref(), listed.card_data.as_ref()),
            trainable: trainable(listed.config.as_ref(), listed.tags.as_deref(), listed.safetensors.is_some()),
            tags: other_tags(listed.tags),
            gated: listed.gated.map(|gated| is_gated(&gated)),
            parameters: listed.safetensors.map(|s| s.total).filter(|total| *total > 0),
            id: listed.id,
        }
    }
}

/// The licence as the card states it, else as the Hub's tag does.
pub(super) fn licence(tags: Option<&[String]>, card: Option<&Value>) -> Option<String> {
    let stated = card.and_then(|card| match card.get("license")? {
        Value::String(one) => Some(one.clone()),
        Value::Array(all) => {
            let all: Vec<&str> = all.iter().filter_map(Value::as_str).collect();
            (!all.is_empty()).then(|| all.join(", "))
        }
        _ => None,
    });
    stated.or_else(|| tags?.iter().find_map(|tag| tag.strip_prefix("license:")).map(String::from))
}

/// Whether a model's family is computed here and its weights are in a format that is read. The Hub names the family in
/// the config or among the tags.
fn trainable(config: Option<&Value>, tags: Option<&[String]>, safetensors: bool) -> Option<bool> {
    let known = |name: &str| FAMILIES.iter().any(|family| family.model_type == name);
    let tag = |name: &str| tags.unwrap_or_default().iter().any(|tag| tag == name);
    let named = config.and_then(|config| config.get("model_type")?.as_str()).map(known);
    let family = named.or_else(|| FAMILIES.iter().any(|family| tag(family.model_type)).then_some(true))?;
    match family {
        false => Some(false),
        true => (safetensors || tag("safetensors")).then_some(true),
    }
}

fn other_tags(tags: Option<Vec<String>>) -> Vec<String> {
    tags.unwrap_or_default().into_iter().filter(|tag| !tag.starts_with("license:")).take(TAGS).collect()
}

/// The Hub writes `false`, or how access is granted.
pub(super) fn is_gated(gated: &Value) -> bool {
    *gated != Value::Bool(false) && !gated.is_null()
}
