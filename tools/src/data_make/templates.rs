//! Rows of templates with typed slots: the same seed gives the same rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tunesmith_harness::recipe::Row;
use tunesmith_lm::rng::Rng;

use super::{
    arithmetic::{Expr, is_name},
    column::{Column, Kind},
    names,
    slots::{By, Days, Integer, Like, Name, Number, Slot, weight},
    spec::Spec,
};

/// Most bytes of one text: slots within slots can double it again and again.
const MOST_BYTES: usize = 64 << 10;
/// Most bytes of all texts of a row.
const MOST_ROW: usize = 1 << 20;
/// How often a slot that must differ from another is drawn.
const DRAWS: u64 = 20;
/// Slots within slots.
const DEEPEST: usize = 50;
/// Values that may be drawn for a row: slots that must differ from slots that must differ are drawn again and again.
const MOST_VALUES: usize = 10_000;

/// A row with slots in its texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// How often it is drawn beside the others.
    #[serde(default = "one")]
    pub weight: f64,
    /// The text of each column: `{slot}`, `{slot|upper}`, `{a + b}`; `{{` is a brace.
    pub row: BTreeMap<String, String>,
    /// Slots of its own, which go before those of all templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub slots: BTreeMap<String, Slot>,
}

fn one() -> f64 {
    1.0
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq)]
enum Part {
    Plain(String),
    Slot(String, Option<Filter>),
    Sum(Expr),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filter {
    Upper,
    Lower,
    Cap,
}

/// How deep slots are nested, by their names.
type Depths = BTreeMap<String, usize>;

/// The templates of a spec, checked.
pub struct Templates<'a> {
    spec: &'a Spec,
}

impl<'a> Templates<'a> {
    /// Checks every text and slot, so that drawing fails by values alone.
    pub fn new(spec: &'a Spec) -> Result<Self, String> {
        let mut shared = Depths::new();
        for (at, template) in spec.templates.iter().enumerate() {
            // Slots of its own may be named like those of all templates, which stand for something else then.
            let mut own = Depths::new();
            let known = if template.slots.is_empty() { &mut shared } else { &mut own };
            check(spec, template, known).map_err(|why| format!("template {}: {why}", at + 1))?;
        }
        Ok(Templates { spec })
    }

    /// The row of draw number `draw`, and the place of its template. It depends on seed and number alone.
    pub fn draw(&self, draw: usize) -> (usize, Result<Row, String>) {
        let mut rng = Rng::new(self.spec.seed, &format!("template {draw}"));
        let weights: Vec<f64> = self.spec.templates.iter().map(|template| template.weight).collect();
        let at = pick(&mut rng, &weights);
        let mut drawing = Drawing {
            spec: self.spec,
            template: &self.spec.templates[at],
            seed: rng.next_u64(),
            values: BTreeMap::new(),
            drawn: 0,
        };
        let mut bytes = 0;
        let row = self.spec.columns.iter().map(|column| {
            let text = self.spec.templates[at].row.get(&column.name).map(String::as_str).unwrap_or_default();
            let text = drawing.text(text).map_err(|why| format!("column {:?}: {why}", column.name))?;
            bytes += text.len();
            if bytes > MOST_ROW {
                return Err(format!("the row grows beyond {MOST_ROW} bytes"));
            }
            Ok((column.name.clone(), cell(column, text)?))
        });
        (at, row.collect())
    }
}

/// A text as the column's kind of value.
fn cell(column: &Column, text: String) -> Result<Value, String> {
    let read = match column.kind {
        Kind::Text => Some(Value::from(text.as_str())),
        Kind::Integer => text.trim().parse::<i64>().ok().map(Value::from),
        Kind::Number => text.trim().parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::from),
        Kind::Boolean => text.trim().parse::<bool>().ok().map(Value::from),
        Kind::Json => serde_json::from_str(&text).ok(),
    };
    read.ok_or_else(|| format!("column {:?}: {text:?} is not of its kind ({:?})", column.name, column.kind))
}

/// One row that is being drawn.
struct Drawing<'a> {
    spec: &'a Spec,
    template: &'a Template,
    seed: u64,
    values: BTreeMap<String, String>,
    /// Values drawn so far.
    drawn: usize,
}

impl Drawing<'_> {
    fn text(&mut self, text: &str) -> Result<String, String> {
        let mut out = String::new();
        for part in parse(text)? {
            match part {
                Part::Plain(text) => out.push_str(&text),
                Part::Sum(expr) => out.push_str(&expr.value(&mut |name| self.slot(name))?.to_string()),
                Part::Slot(name, filter) => out.push_str(&filtered(self.slot(&name)?, filter)),
            }
            if out.len() > MOST_BYTES {
                return Err(format!("a text grows beyond {MOST_BYTES} bytes"));
            }
        }
        Ok(out)
    }

    /// The slot's value in this row.
    fn slot(&mut self, name: &str) -> Result<String, String> {
        if let Some(value) = self.values.get(name) {
            return Ok(value.clone());
        }
        let value = self.value(name, name)?;
        self.values.insert(name.to_owned(), value.clone());
        Ok(value)
    }

    /// A value of the slot `name`, drawn for `purpose`.
    fn value(&mut self, name: &str, purpose: &str) -> Result<String, String> {
        let slot = find(self.spec, self.template, name).ok_or_else(|| format!("there is no slot {name:?}"))?;
        self.drawn += 1;
        if self.drawn > MOST_VALUES {
            return Err(format!("slot {name:?}: more than {MOST_VALUES} values would be drawn for one row"));
        }
        // A stream for each slot: what one draws does not depend on which others there are.
        let mut rng = Rng::new(self.seed, purpose);
        match slot {
            Slot::List(entries) => {
                let weights: Vec<f64> = entries.iter().map(|entry| entry.parts().1).collect();
                let (text, _) = entries[pick(&mut rng, &weights)].parts();
                self.text(text)
            }
            Slot::Integer(Integer { integer: [least, most], step }) => {
                let steps = (most - least) / step;
                let at = rng.below(usize::try_from(steps).unwrap_or_default() + 1);
                Ok((least + at as i64 * step).to_string())
            }
            Slot::Number(Number { number: [least, most], decimals }) => {
                let scale = 10f64.powi(*decimals as i32);
                let (least, most) = ((least * scale).ceil() as i64, (most * scale).floor() as i64);
                let at = rng.below(usize::try_from(most - least).unwrap_or_default() + 1);
                let number = (least + at as i64) as f64 / scale;
                Ok(format!("{number:.width$}", width = *decimals as usize))
            }
            Slot::Date(Days { date: [first, last], format }) => {
                let days = last.since(*first).map(|span| span.get_days()).unwrap_or_default();
                let after = jiff::Span::new().days(rng.below(days.unsigned_abs() as usize + 1) as i64);
                let day = first.checked_add(after).map_err(|error| error.to_string())?;
                jiff::fmt::strtime::format(format, day).map_err(|error| format!("format {format:?}: {error}"))
            }
            Slot::Name(Name { name }) => Ok(names::make(*name, &mut rng)),
            Slot::Like(Like { like }) => {
                let other = self.slot(like)?;
                for draw in 0..DRAWS {
                    let value = self.value(like, &format!("{purpose} {draw}"))?;
                    if value != other {
                        return Ok(value);
                    }
                }
                Err(format!("slot {name:?}: {DRAWS} draws gave nothing else than {other:?}"))
            }
            Slot::By(By { by, cases }) => {
                let value = self.slot(by)?;
                let text = cases.get(&value).or_else(|| cases.get("*"));
                let text = text.ok_or_else(|| format!("slot {name:?} has no case for {value:?}"))?;
                self.text(text)
            }
        }
    }
}

fn find<'a>(spec: &'a Spec, template: &'a Template, name: &str) -> Option<&'a Slot> {
    template.slots.get(name).or_else(|| spec.slots.get(name))
}

/// An index by weight.
fn pick(rng: &mut Rng, weights: &[f64]) -> usize {
    let mut left = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * weights.iter().sum::<f64>();
    for (at, weight) in weights.iter().enumerate() {
        left -= weight;
        if left < 0.0 {
            return at;
        }
    }
    weights.len().saturating_sub(1)
}

fn filtered(text: String, filter: Option<Filter>) -> String {
    match filter {
        None => text,
        Some(Filter::Upper) => text.to_uppercase(),
        Some(Filter::Lower) => text.to_lowercase(),
        Some(Filter::Cap) => {
            let mut chars = text.chars();
            chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
        }
    }
}

/// A text in its parts.
fn parse(text: &str) -> Result<Vec<Part>, String> {
    let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
    while let Some(at) = rest.find(['{', '}']) {
        plain.push_str(&rest[..at]);
        let brace = &rest[at..at + 1];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            plain.push_str(brace);
            rest = after;
            continue;
        }
        let inner = rest.split_once('}').filter(|_| brace == "{");
        let (inner, after) = inner.ok_or_else(|| format!("{text:?}: a {brace} stands alone; write it twice"))?;
        rest = after;
        if !plain.is_empty() {
            parts.push(Part::Plain(std::mem::take(&mut plain)));
        }
        parts.push(part(inner)?);
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(Part::Plain(plain));
    }
    Ok(parts)
}

fn part(inner: &str) -> Result<Part, String> {
    let (name, filter) = inner.split_once('|').map_or((inner, None), |(name, filter)| (name, Some(filter.trim())));
    let filter = filter.map(|filter| match filter {
        "upper" => Ok(Filter::Upper),
        "lower" => Ok(Filter::Lower),
        "cap" => Ok(Filter::Cap),
        other => Err(format!("{{{inner}}}: there is no {other:?}; use upper, lower or cap")),
    });
    match (is_name(name.trim()), filter.transpose()?) {
        (true, filter) => Ok(Part::Slot(name.trim().to_owned(), filter)),
        (false, _) => Expr::parse(inner).map(Part::Sum),
    }
}

fn check(spec: &Spec, template: &Template, known: &mut Depths) -> Result<(), String> {
    weight(template.weight)?;
    let lacking = spec.columns.iter().find(|column| !template.row.contains_key(&column.name));
    if let Some(column) = lacking {
        return Err(format!("it has no text for column {:?}", column.name));
    }
    if let Some(name) = template.row.keys().find(|name| spec.column(name).is_none()) {
        return Err(format!("there is no column {name:?}"));
    }
    for text in template.row.values() {
        for name in named(text)? {
            check_slot(spec, template, &name, &mut Vec::new(), known)?;
        }
    }
    Ok(())
}

/// The slots that a text names.
pub(super) fn named(text: &str) -> Result<Vec<String>, String> {
    let names = parse(text)?.into_iter().flat_map(|part| match part {
        Part::Plain(_) => Vec::new(),
        Part::Slot(name, _) => vec![name],
        Part::Sum(expr) => expr.slots().into_iter().map(str::to_owned).collect(),
    });
    Ok(names.collect())
}

/// How deep slots are nested from this one on, if all of them make sense. A row is drawn by calls as deep as that.
fn check_slot(
    spec: &Spec,
    template: &Template,
    name: &str,
    above: &mut Vec<String>,
    known: &mut Depths,
) -> Result<usize, String> {
    if let Some(depth) = known.get(name) {
        return Ok(*depth);
    }
    if above.iter().any(|other| other == name) {
        return Err(format!("slot {name:?} stands within itself"));
    }
    let slot = find(spec, template, name).ok_or_else(|| format!("there is no slot {name:?}; define it in slots"))?;
    let within = slot.check().map_err(|why| format!("slot {name:?}: {why}"))?;
    above.push(name.to_owned());
    let mut depth = 1;
    if above.len() <= DEEPEST {
        for name in within {
            depth = depth.max(1 + check_slot(spec, template, &name, above, known)?);
        }
    }
    if above.len().max(depth) > DEEPEST {
        return Err(format!("slot {name:?} is nested too deep"));
    }
    above.pop();
    known.insert(name.to_owned(), depth);
    Ok(depth)
}

#[cfg(test)]
mod tests;
