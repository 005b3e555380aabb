//! What may stand in the slots of templates.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{names::Naming, templates::named};

/// What stands in a slot: one value in a row, wherever the slot is named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a slot is a list of texts or of {text, weight}, or one of {integer}, {number, decimals}, {date, format}, \
                 {name}, {like}, {by, cases}"
)]
pub enum Slot {
    /// One of these texts, which may have slots themselves.
    List(Vec<Entry>),
    /// A whole number of a range.
    Integer(Integer),
    /// A number of a range.
    Number(Number),
    /// A day of a range.
    Date(Days),
    /// A name of nobody.
    Name(Name),
    /// Another value of the same kind as that of another slot.
    Like(Like),
    /// What goes with the value of another slot.
    By(By),
}

/// One text of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Entry {
    /// Drawn as often as others.
    Text(String),
    /// Drawn by its weight.
    Weighted(Weighted),
}

/// See [`Entry::Weighted`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Weighted {
    pub text: String,
    pub weight: f64,
}

/// See [`Slot::Integer`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Integer {
    /// Least and greatest.
    pub integer: [i64; 2],
    /// Distance between two.
    #[serde(default = "step")]
    pub step: i64,
}

/// See [`Slot::Number`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Number {
    /// Least and greatest.
    pub number: [f64; 2],
    /// Digits after the point.
    pub decimals: u32,
}

/// See [`Slot::Date`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Days {
    /// First and last, as 2024-12-31.
    pub date: [Date; 2],
    /// As strftime writes it.
    #[serde(default = "iso")]
    pub format: String,
}

/// See [`Slot::Name`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Name {
    pub name: Naming,
}

/// See [`Slot::Like`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Like {
    pub like: String,
}

/// See [`Slot::By`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct By {
    /// The other slot.
    pub by: String,
    /// The text for each of its values; `*` is for all others.
    pub cases: BTreeMap<String, String>,
}

fn step() -> i64 {
    1
}

fn iso() -> String {
    "%Y-%m-%d".into()
}

impl Entry {
    /// The text and its weight.
    pub fn parts(&self) -> (&str, f64) {
        match self {
            Entry::Text(text) => (text, 1.0),
            Entry::Weighted(Weighted { text, weight }) => (text, *weight),
        }
    }
}

impl Slot {
    /// The slots in its texts, if it makes sense.
    pub fn check(&self) -> Result<Vec<String>, String> {
        let all =
            |texts: Vec<&str>| texts.into_iter().map(named).collect::<Result<Vec<_>, _>>().map(|all| all.concat());
        let range = |good: bool| if good { Ok(Vec::new()) } else { Err("the range is empty or too wide".to_owned()) };
        match self {
            Slot::List(entries) if entries.is_empty() => Err("the list is empty".into()),
            Slot::List(entries) => {
                entries.iter().try_for_each(|entry| weight(entry.parts().1))?;
                all(entries.iter().map(|entry| entry.parts().0).collect())
            }
            Slot::Integer(Integer { integer: [least, most], step }) => {
                range(*step > 0 && most.checked_sub(*least).is_some_and(|width| width >= 0))
            }
            Slot::Number(Number { number: [least, most], decimals }) => {
                let scale = 10f64.powi((*decimals).min(9) as i32);
                let (least, most) = ((least * scale).ceil(), (most * scale).floor());
                // Above this, not every whole number is one.
                range(*decimals <= 9 && least <= most && least.abs().max(most.abs()) < 9e15)
            }
            Slot::Date(Days { date: [first, last], format }) => {
                range(first <= last)?;
                let formatted = jiff::fmt::strtime::format(format, *first);
                formatted.map(|_| Vec::new()).map_err(|error| format!("format {format:?}: {error}"))
            }
            Slot::Name(_) => Ok(Vec::new()),
            Slot::Like(Like { like }) => Ok(vec![like.clone()]),
            Slot::By(By { by, cases }) if cases.is_empty() => Err(format!("no case for the values of {by:?}")),
            Slot::By(By { by, cases }) => {
                let mut names = all(cases.values().map(String::as_str).collect())?;
                names.push(by.clone());
                Ok(names)
            }
        }
    }
}

/// Whether this is a weight.
pub fn weight(weight: f64) -> Result<(), String> {
    match weight.is_finite() && weight > 0.0 && weight <= 1e9 {
        true => Ok(()),
        false => Err(format!("a weight is {weight}; it must be above 0")),
    }
}
