//! Rows and statistics of a data set before it is downloaded, from the data-set viewer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tunesmith_harness::text::visible;

use super::{Hub, HubError, Kind, RepoId, client::About};

/// Most rows: what the viewer gives at once.
pub const ROWS: usize = 100;

/// The first rows of a split, and what else there is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Preview {
    /// `owner/name`.
    pub id: String,
    /// The part of the data set that is shown.
    pub config: String,
    /// The split that is shown.
    pub split: String,
    /// All splits of all parts, with their rows where the viewer knows.
    pub splits: Vec<Split>,
    /// Names and types of the columns.
    pub columns: Vec<(String, String)>,
    /// The rows, in the order of the data set.
    pub rows: Vec<Map<String, Value>>,
    /// Whether the viewer has cut cells of these rows.
    pub cut: bool,
    /// What the viewer has counted over the split; `None` where it has not.
    pub statistics: Option<Statistics>,
}

/// What the viewer has counted over a split.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Statistics {
    /// The rows that were counted.
    pub rows: u64,
    /// Whether these are only the first part of the split.
    pub partial: bool,
    /// The columns that it counts.
    pub columns: Vec<Column>,
}

/// What the viewer has counted over a column. What it does not say is `None`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// How it was counted, in the viewer's word: `string_label`, `string_text`, `int`, `float`, `bool`, `list`.
    pub kind: String,
    /// Rows without a value.
    pub missing: Option<u64>,
    /// The least: of the values, or of the lengths of texts and lists.
    pub min: Option<Value>,
    /// The most, likewise.
    pub max: Option<Value>,
    /// The mean, likewise.
    pub mean: Option<f64>,
    /// The median, likewise.
    pub median: Option<f64>,
    /// Different values of a column that has few of them.
    pub unique: Option<u64>,
    /// Rows of each of these values.
    pub frequencies: Option<BTreeMap<String, u64>>,
}

/// A split of a data set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Split {
    /// The part of the data set.
    pub config: String,
    /// Its name.
    pub split: String,
    /// Its rows; `None` where the viewer does not know.
    pub rows: Option<u64>,
    /// Bytes of it as Parquet.
    pub bytes: Option<u64>,
}

#[derive(Deserialize)]
struct Splits {
    splits: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    config: String,
    split: String,
}

#[derive(Deserialize)]
struct Size {
    size: Sizes,
}

#[derive(Deserialize)]
struct Sizes {
    splits: Vec<SplitSize>,
}

#[derive(Deserialize)]
struct SplitSize {
    config: String,
    split: String,
    num_rows: Option<u64>,
    num_bytes_parquet_files: Option<u64>,
}

#[derive(Deserialize)]
struct Counted {
    num_examples: u64,
    statistics: Vec<CountedColumn>,
    #[serde(default)]
    partial: bool,
}

#[derive(Deserialize)]
struct CountedColumn {
    column_name: String,
    column_type: String,
    column_statistics: Counts,
}

#[derive(Deserialize)]
struct Counts {
    nan_count: Option<u64>,
    min: Option<Value>,
    max: Option<Value>,
    mean: Option<f64>,
    median: Option<f64>,
    n_unique: Option<u64>,
    frequencies: Option<BTreeMap<String, u64>>,
}

#[derive(Deserialize)]
struct FirstRows {
    features: Vec<Feature>,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Feature {
    name: String,
    #[serde(rename = "type")]
    kind: Value,
}

#[derive(Deserialize)]
struct Row {
    row: Map<String, Value>,
    #[serde(default)]
    truncated_cells: Vec<Value>,
}

impl Hub {
    /// The first `rows` rows of a split; without one named, of `train` in the first part, else of the first split.
    pub async fn preview(
        &self,
        repo: &RepoId,
        config: Option<&str>,
        split: Option<&str>,
        rows: usize,
    ) -> Result<Preview, HubError> {
        if let Some(revision) = &repo.revision {
            let why = format!("the viewer shows the newest revision only; leave out @{revision}, or download that one");
            return Err(HubError::NoPreview { id: repo.id(), why });
        }
        // Tells a name that is wrong, old or gated from a data set that the viewer does not show.
        self.listed(Kind::Dataset, repo).await?;
        let all: Splits = self.view(repo, "splits", &[]).await?;
        let fits = |named: &&Named| config.is_none_or(|c| c == named.config) && split.is_none_or(|s| s == named.split);
        let first = all.splits.iter().find(|named| fits(named) && (split.is_some() || named.split == "train"));
        let Some(chosen) = first.or_else(|| all.splits.iter().find(fits)) else {
            let names: Vec<String> = all.splits.iter().take(20).map(|n| format!("{}/{}", n.config, n.split)).collect();
            let why = format!("there is no such split; there are {}", visible(&names.join(", ")));
            return Err(HubError::NoPreview { id: repo.id(), why });
        };
        let fields = [("config", chosen.config.as_str()), ("split", chosen.split.as_str())];
        let first: FirstRows = self.view(repo, "first-rows", &fields).await?;
        // Sizes and statistics are computed apart and may be missing.
        let statistics = self.view::<Counted>(repo, "statistics", &fields).await.ok().map(Statistics::of);
        let sizes = self.view::<Size>(repo, "size", &[]).await.map(|size| size.size.splits).unwrap_or_default();
        let split = |named: &Named| {
            let size = sizes.iter().find(|size| size.config == named.config && size.split == named.split);
            Split {
                config: named.config.clone(),
                split: named.split.clone(),
                rows: size.and_then(|size| size.num_rows),
                bytes: size.and_then(|size| size.num_bytes_parquet_files),
            }
        };
        Ok(Preview {
            id: repo.id(),
            config: chosen.config.clone(),
            split: chosen.split.clone(),
            splits: all.splits.iter().map(split).collect(),
            columns: first.features.into_iter().map(|feature| (feature.name, kind(&feature.kind))).collect(),
            cut: first.rows.iter().take(rows).any(|row| !row.truncated_cells.is_empty()),
            rows: first.rows.into_iter().take(rows).map(|row| row.row).collect(),
            statistics,
        })
    }

    async fn view<T: serde::de::DeserializeOwned>(
        &self,
        repo: &RepoId,
        what: &str,
        fields: &[(&str, &str)],
    ) -> Result<T, HubError> {
        let mut url = self.client.viewer(what);
        url.query_pairs_mut().append_pair("dataset", &repo.id()).extend_pairs(fields);
        self.client.json(url, About::List).await.map_err(|error| match error {
            // The repository itself was found before.
            HubError::Unauthorized(_) | HubError::Forbidden(_) | HubError::NotFound(_) => {
                let why = match self.client.viewer_knows_token() {
                    true => "the viewer does not show it; download it and look with `tunesmith data inspect`",
                    false => {
                        "the viewer shows public data sets of known formats only, and your token goes to the Hub alone; \
                         download it and look with `tunesmith data inspect`"
                    }
                };
                HubError::NoPreview { id: repo.id(), why: why.into() }
            }
            error => error,
        })
    }
}

impl Statistics {
    fn of(counted: Counted) -> Statistics {
        let column = |column: CountedColumn| {
            let Counts { nan_count, min, max, mean, median, n_unique, frequencies } = column.column_statistics;
            let (name, kind, missing, unique) = (column.column_name, column.column_type, nan_count, n_unique);
            Column { name, kind, missing, min, max, mean, median, unique, frequencies }
        };
        let columns = counted.statistics.into_iter().map(column).collect();
        Statistics { rows: counted.num_examples, partial: counted.partial, columns }
    }
}

/// The type of a column in a word.
fn kind(feature: &Value) -> String {
    match feature {
        Value::Array(items) => format!("list of {}", items.first().map_or_else(|| "unknown".into(), kind)),
        Value::Object(fields) => match (fields.get("dtype"), fields.get("_type")) {
            (Some(Value::String(name)), _) | (_, Some(Value::String(name))) => name.clone(),
            _ => "object".into(),
        },
        _ => "unknown".into(),
    }
}
