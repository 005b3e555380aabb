//! The recipe of a preparation: a file, and what options say.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use serde::de::DeserializeOwned;
use serde_json::json;
use tunesmith_harness::recipe::changes::Clean;
use tunesmith_tools::data_prepare::{Preparation, manifest::Manifest, rows::Plain};

use crate::{commands::usage, run::Failure};

/// Largest recipe that is read.
const MOST: u64 = 16 << 20;

/// What is done with rows.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Recipe {
    /// Recipe in TOML, or a manifest.json to replay
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Keep rows as rows, not as examples: of any number, read as a stream
    #[arg(long)]
    rows: bool,
    /// With --rows: column of labels, of which each has its share in every part
    #[arg(long, value_name = "COLUMN", requires = "rows")]
    label: Option<String>,
    /// With --rows: columns whose content makes two rows the same [default: all]
    #[arg(long, value_name = "COLUMN", value_delimiter = ',', requires = "rows")]
    by: Vec<String>,
    /// Clean all texts but the answer: encoding, html, unicode, control, spaces, trim, lower
    #[arg(long, value_name = "WAY", value_delimiter = ',', value_parser = word::<Clean>)]
    clean: Vec<Clean>,
    /// Leave out rows that hold a row of these eval sets
    #[arg(long, value_name = "EVAL", num_args = 1..)]
    against: Vec<PathBuf>,
    /// Leave out rows so much like an earlier one (Jaccard index, 0.5 to 1)
    #[arg(long, value_name = "F", value_parser = likeness)]
    near: Option<f64>,
    /// Most training rows of a label
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    most_per_label: Option<u32>,
    /// Repeat training rows of rarer labels until there are so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    least_per_label: Option<u32>,
    /// Column: rows with the same value stay in one part
    #[arg(long, value_name = "COLUMN")]
    group: Option<String>,
    /// Column of times: the latest rows validate
    #[arg(long, value_name = "COLUMN")]
    time: Option<String>,
    /// Share of rows that is kept apart, as test [default: 0]
    #[arg(long, value_name = "F", value_parser = share)]
    test_share: Option<f64>,
    /// How the parts are written [default: jsonl]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Seed of the split [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// JSON lines
    Jsonl,
    /// Parquet
    Parquet,
}

impl Recipe {
    /// The recipe, and the manifest that it is from.
    pub fn read(&self) -> Result<(Preparation, Option<Manifest>), Failure> {
        let (mut recipe, manifest) = match &self.recipe {
            None => (Preparation::default(), None),
            Some(path) => read(path)?,
        };
        if self.rows {
            recipe.examples = None;
            recipe.rows.get_or_insert_default();
        }
        if let Some(rows) = &mut recipe.rows {
            let Plain { label, by } = rows;
            *label = self.label.clone().or(label.take());
            if !self.by.is_empty() {
                *by = self.by.clone();
            }
        }
        let steps = &mut recipe.steps;
        if !self.clean.is_empty() {
            steps.clean = self.clean.iter().copied().collect::<BTreeSet<Clean>>();
        }
        if !self.against.is_empty() {
            steps.against = self.against.iter().map(|path| path.display().to_string()).collect();
        }
        steps.near = self.near.or(steps.near);
        steps.most_per_label = self.most_per_label.map(|n| n as usize).or(steps.most_per_label);
        steps.least_per_label = self.least_per_label.map(|n| n as usize).or(steps.least_per_label);
        steps.group = self.group.clone().or(steps.group.take());
        steps.time = self.time.clone().or(steps.time.take());
        recipe.test_share = self.test_share.unwrap_or(recipe.test_share);
        recipe.seed = self.seed.unwrap_or(recipe.seed);
        if let Some(format) = self.format {
            recipe.format = match format {
                Format::Jsonl => tunesmith_tools::data_prepare::Format::Jsonl,
                Format::Parquet => tunesmith_tools::data_prepare::Format::Parquet,
            };
        }
        Ok((recipe, manifest))
    }
}

/// A recipe in TOML, or the one of a manifest.
fn read(path: &Path) -> Result<(Preparation, Option<Manifest>), Failure> {
    let wrong = |why: String| usage(format!("{}: {why}", path.display()));
    let text = tunesmith_tools::files::read_small(path, MOST).map_err(|error| wrong(error.to_string()))?;
    if path.extension().is_some_and(|extension| extension == "json") {
        let manifest: Manifest =
            serde_json::from_str(&text).map_err(|error| wrong(format!("is no manifest: {error}")))?;
        return Ok((manifest.recipe.clone(), Some(manifest)));
    }
    let one_line = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let recipe = toml::from_str(&text).map_err(|error| wrong(one_line(error.to_string())))?;
    Ok((recipe, None))
}

/// A word that stands for a choice.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(json!(text)).map_err(|_| "is none of them".to_owned())
}

fn likeness(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|value| (0.5..=1.0).contains(value)).ok_or("must be a number from 0.5 to 1".into())
}

fn share(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|value| (0.0..=0.5).contains(value)).ok_or("must be a number from 0 to 0.5".into())
}
