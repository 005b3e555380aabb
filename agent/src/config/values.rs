//! The values with their types, read the same way from a file and from a variable.

use std::{
    collections::BTreeMap,
    num::{NonZeroU32, NonZeroU64},
    path::PathBuf,
    str::FromStr,
};

use serde::{Deserialize, Deserializer, de::Error};
use tunesmith_harness::task::Goal;
use tunesmith_sandbox::Layer;

use super::extend::{External, Name, Server};
use crate::commands::{
    numbers::{amount, positive},
    run::{Approves, Shares, capability, goal},
    sandbox::size,
};

/// What may be set; `None` and an empty list where nobody did.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Values {
    /// Who plans.
    pub planner: Option<String>,
    /// What a planner's model may see of the rows.
    pub share: Option<Shares>,
    /// Who approves what stays in the run's directory and budget.
    pub approve: Option<Approves>,
    /// What is allowed beyond that.
    #[serde(deserialize_with = "capabilities")]
    pub allow: Vec<String>,
    /// Model to start from.
    pub base: Option<String>,
    /// Where runs are kept.
    pub dir: Option<PathBuf>,
    /// Time for a whole run.
    #[serde(deserialize_with = "minutes")]
    pub minutes: Option<f64>,
    /// Most that a planner's model may cost in a run, in US dollars.
    #[serde(deserialize_with = "usd")]
    pub usd: Option<f64>,
    /// Most tokens that a planner's model may read and write in a run.
    pub tokens: Option<NonZeroU64>,
    /// Most bytes that a run's directory may hold.
    #[serde(deserialize_with = "disk")]
    pub disk: Option<u64>,
    /// Most steps of a run.
    pub steps: Option<NonZeroU32>,
    /// What must hold on the sealed rows.
    #[serde(deserialize_with = "goals")]
    pub goals: Vec<Goal>,
    /// How jobs are confined.
    pub sandbox: Sandbox,
    /// Servers of the Model Context Protocol whose tools planners may call.
    pub mcp: BTreeMap<Name, Server>,
    /// Programs that planners may call as tools.
    pub tools: BTreeMap<Name, External>,
}

/// The table `sandbox`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sandbox {
    /// Layers without which nothing is started.
    #[serde(deserialize_with = "layers")]
    pub require: Vec<Layer>,
}

fn capabilities<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    each(from, capability)
}

fn goals<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Goal>, D::Error> {
    each(from, goal)
}

fn layers<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Layer>, D::Error> {
    each(from, |text| Layer::from_str(text).map_err(|error| error.to_string()))
}

fn each<'de, D: Deserializer<'de>, T>(from: D, read: fn(&str) -> Result<T, String>) -> Result<Vec<T>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    texts.iter().map(|text| read(text).map_err(|why| D::Error::custom(format!("{text:?}: {why}")))).collect()
}

fn minutes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    figure(from, positive)
}

fn usd<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    figure(from, amount)
}

fn disk<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    size(&String::deserialize(from)?).map(Some).map_err(D::Error::custom)
}

/// A number that the command line would take as well.
fn figure<'de, D: Deserializer<'de>>(from: D, read: fn(&str) -> Result<f64, String>) -> Result<Option<f64>, D::Error> {
    let number = f64::deserialize(from)?;
    read(&number.to_string()).map(Some).map_err(D::Error::custom)
}
