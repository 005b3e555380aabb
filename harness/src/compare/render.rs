//! A comparison as a table, for terminals and for pull requests.

use super::{Comparison, Row};
use crate::{
    figures::{p_value, points},
    text::visible,
};

const NONE: &str = "–";

impl Comparison {
    /// The table, its head first; cells are not yet safe to show.
    pub fn table(&self) -> Vec<Vec<String>> {
        let head = ["task", "metric", "items", "A", "B", "B - A", "p", "adjusted", "detectable", "verdict"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(self.rows.iter().map(cells));
        rows
    }

    /// The comparison as Markdown, for example for a pull request.
    pub fn markdown(&self) -> String {
        let cell = |text: &str| {
            let plain = visible(text).replace('\\', "\\\\");
            ['|', '<', '`', '*', '_', '['].iter().fold(plain, |text, c| text.replace(*c, &format!("\\{c}")))
        };
        let mut lines = vec![format!("**{}**", cell(&self.summary)), String::new()];
        lines.push(format!("A is {}, B is {}.", cell(&self.a), cell(&self.b)));
        lines.push(String::new());
        for (at, row) in self.table().iter().enumerate() {
            lines.push(format!("| {} |", row.iter().map(|text| cell(text)).collect::<Vec<_>>().join(" | ")));
            if at == 0 {
                lines.push("|---|---|--:|--:|--:|--:|--:|--:|--:|---|".to_owned());
            }
        }
        if !self.notes.is_empty() {
            lines.push(String::new());
            lines.extend(self.notes.iter().map(|note| format!("- {}", cell(note))));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

fn cells(row: &Row) -> Vec<String> {
    let metric = if row.filter == "none" { row.metric.clone() } else { format!("{},{}", row.metric, row.filter) };
    let items = row.clusters.map_or(row.n.to_string(), |clusters| format!("{} in {clusters}", row.n));
    let difference = match (row.difference, row.share) {
        (None, _) => NONE.to_owned(),
        (Some(difference), true) => points(difference),
        (Some(difference), false) => format!("{}{}", if difference > 0.0 { "+" } else { "" }, figure(difference)),
    };
    let scale = |value: f64| if row.share { format!("{:+.1}", value * 100.0) } else { figure(value) };
    let interval = row.interval.map_or(String::new(), |(low, high)| format!(" ({} to {})", scale(low), scale(high)));
    let p = |p: Option<f64>| p.map_or(NONE.to_owned(), |p| p_value(p).replace("p = ", "").replace("p < ", "< "));
    let detectable = row.detectable.map_or(NONE.to_owned(), |value| size(row, value).replace(" points", ""));
    vec![
        row.task.clone(),
        metric,
        items,
        side(row, row.a.value, row.a.interval),
        side(row, row.b.value, row.b.interval),
        difference + &interval,
        p(row.p),
        p(row.p_adjusted),
        detectable,
        row.why.clone(),
    ]
}

fn side(row: &Row, value: Option<f64>, interval: Option<(f64, f64)>) -> String {
    let Some(value) = value else { return NONE.to_owned() };
    let show = |value: f64| if row.share { format!("{:.1}", value * 100.0) } else { figure(value) };
    let unit = if row.share { " %" } else { "" };
    let interval = interval.map_or(String::new(), |(low, high)| format!(" ({} to {})", show(low), show(high)));
    format!("{}{unit}{interval}", show(value))
}

/// The size of a difference, with its unit.
pub(super) fn size(row: &Row, value: f64) -> String {
    if row.share { format!("{:.1} points", value * 100.0) } else { figure(value) }
}

/// Four digits that count.
fn figure(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let digits = 3 - value.abs().log10().floor() as i32;
    if (-2..8).contains(&digits) { format!("{value:.*}", digits.max(0) as usize) } else { format!("{value:.3e}") }
}

/// A count of items that is itself an estimate, to two digits: `3 400`.
pub(super) fn rounded(count: usize) -> String {
    let unit = 10_usize.pow(count.max(1).ilog10().saturating_sub(1));
    let digits = (count.div_ceil(unit) * unit).to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}
