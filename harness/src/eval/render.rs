//! An evaluation as Markdown for a pull request, as a page with small plots, and as rows of a table.

use minijinja::AutoEscape;
use serde::Serialize;

use super::figure::Figure;
use crate::{
    figures::percent,
    report::render::{in_markdown, page},
};

const HTML: &str = include_str!("results.html.j2");
const MARKDOWN: &str = include_str!("results.md.j2");

/// What is not known or does not apply.
const NONE: &str = "–";

/// Width of a plot in its own units.
const WIDTH: f64 = 200.0;

/// The figures as Markdown, with `notes` below.
pub fn markdown(figures: &[Figure], notes: &[String]) -> String {
    page(in_markdown(), MARKDOWN, View { model: "", rows: rows(figures), notes })
}

/// The figures as one page that needs nothing else: no script, no file.
pub fn html(model: &str, figures: &[Figure], notes: &[String]) -> String {
    page(AutoEscape::Html, HTML, View { model, rows: rows(figures), notes })
}

/// The figures as cells, the first row their names.
pub fn cells(figures: &[Figure]) -> Vec<Vec<String>> {
    let head = ["task", "metric", "filter", "shots", "value", "95 % interval", "chance", "rows", "stderr (lm-eval)"];
    let head = head.map(str::to_owned).to_vec();
    let row = |row: Row| {
        vec![row.name, row.metric, row.filter, row.n_shot, row.value, row.interval, row.chance, row.n, row.stderr]
    };
    std::iter::once(head).chain(rows(figures).into_iter().map(row)).collect()
}

#[derive(Serialize)]
struct View<'a> {
    model: &'a str,
    rows: Vec<Row>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct Row {
    name: String,
    metric: String,
    filter: String,
    n_shot: String,
    value: String,
    interval: String,
    chance: String,
    n: String,
    stderr: String,
    plot: Option<Plot>,
}

/// Places along the axis of a plot.
#[derive(Serialize)]
struct Plot {
    value: String,
    low: Option<String>,
    high: Option<String>,
    chance: Option<String>,
}

fn rows(figures: &[Figure]) -> Vec<Row> {
    figures.iter().map(row).collect()
}

fn row(figure: &Figure) -> Row {
    let none = || NONE.to_owned();
    let arrow = match figure.higher_is_better {
        Some(true) => " ↑",
        Some(false) => " ↓",
        None => "",
    };
    Row {
        name: format!("{}{}", "· ".repeat(figure.depth), figure.task),
        metric: format!("{}{arrow}", figure.metric),
        filter: figure.filter.clone(),
        n_shot: figure.n_shot.map_or_else(none, |n| n.to_string()),
        value: figure.shown(),
        interval: figure.shown_interval().unwrap_or_else(none),
        chance: figure.chance.map_or_else(none, percent),
        n: figure.n.to_string(),
        stderr: figure.stderr.map_or_else(none, |e| format!("{e:.4}")),
        plot: plot(figure),
    }
}

fn plot(figure: &Figure) -> Option<Plot> {
    let at = |share: f64| format!("{:.1}", share.clamp(0.0, 1.0) * WIDTH);
    let value = figure.value.filter(|_| figure.is_share())?;
    Some(Plot {
        value: at(value),
        low: figure.interval.map(|i| at(i.0)),
        high: figure.interval.map(|i| at(i.1)),
        chance: figure.chance.map(at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Vec<Figure> {
        let figure = Figure {
            task: "a <b>|c".into(),
            depth: 0,
            filter: "none".into(),
            metric: "acc".into(),
            n_shot: Some(5),
            value: Some(0.5),
            interval: Some((0.4, 0.6)),
            method: Some("wilson".into()),
            stderr: Some(0.05),
            n: 100,
            higher_is_better: Some(true),
            chance: Some(0.25),
            format_failures: None,
        };
        let other = Figure {
            task: "inner".into(),
            depth: 1,
            metric: "word_perplexity".into(),
            value: Some(12.5),
            interval: None,
            method: None,
            stderr: None,
            higher_is_better: Some(false),
            chance: None,
            n_shot: None,
            ..figure.clone()
        };
        let unknown = Figure { value: None, interval: None, ..other.clone() };
        vec![figure, other, unknown]
    }

    #[test]
    fn a_pull_request_shows_every_number_with_what_it_is_worth() {
        insta::assert_snapshot!(markdown(&figures(), &["one <i>note</i>".to_owned()]));
    }

    #[test]
    fn the_page_escapes_names_and_draws_only_shares() {
        let page = html("m <script>", &figures(), &[]);
        assert!(!page.contains("<script>") && page.contains("m &lt;script&gt;"), "{page}");
        assert!(page.contains("cx=\"100.0\"") && page.contains("x1=\"80.0\" x2=\"120.0\""), "{page}");
        assert_eq!(page.matches("<svg").count(), 1);
    }

    #[test]
    fn what_is_unknown_is_never_zero() {
        let cells = cells(&figures());
        let last = cells.last().unwrap();
        assert_eq!(last.as_slice(), ["· inner", "word_perplexity ↓", "none", "–", "unknown", "–", "–", "100", "–"]);
    }
}
