//! The output as a page for people, with small plots, without scripts or anything from elsewhere.

use serde::Serialize;
use tunesmith_harness::{report::html_page, svg};

use super::output::{LabelCount, Output};

const PAGE: &str = include_str!("page.html.j2");

/// What the template shows beside the output itself.
#[derive(Serialize)]
struct View<'a> {
    output: &'a Output,
    /// Of the columns: the share of cells that are missing, as a bar.
    missing: Vec<Option<String>>,
    labels: Vec<Bar<'a>>,
    tokens: Option<String>,
}

/// A label with a bar as long as its share of the most frequent one.
#[derive(Serialize)]
struct Bar<'a> {
    label: &'a LabelCount,
    bar: Option<String>,
}

/// Lays the output out as an HTML page.
pub fn page(output: &Output) -> String {
    let share = |part: usize, of: usize| part as f64 / of.max(1) as f64;
    let counts = output.labels.as_ref().map(|labels| labels.counts.as_slice()).unwrap_or_default();
    let most = counts.first().map_or(0, |label| label.rows);
    let bar = |label| Bar { label, bar: svg::bar(share(label.rows, most), None) };
    let tokens = output.tokens.as_ref();
    let view = View {
        output,
        missing: output.columns.iter().map(|column| svg::bar(share(column.missing, output.rows), None)).collect(),
        labels: counts.iter().map(bar).collect(),
        tokens: tokens.and_then(|t| svg::histogram(&t.histogram, t.histogram_to, "tokens", "rows", t.max_length)),
    };
    html_page(PAGE, view)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_inspect::output::{Cells, Column, Finding, Weight};

    #[test]
    fn what_the_rows_hold_cannot_act_on_the_page() {
        let hostile = "<script>alert(1)</script>\u{1b}[2J";
        let column = Column {
            name: hostile.into(),
            cells: Cells::Text,
            missing: 1,
            distinct: 2,
            lengths: [1, 2, 3, 4],
            labels: Vec::new(),
            examples: vec![hostile.into()],
            absent: [1, 0, 0],
            placeholders: 0,
            types: [(hostile.to_owned(), 2)].into(),
            distinct_estimated: true,
            lengths_error: None,
            numbers: None,
            languages: vec![LabelCount { label: hostile.into(), rows: 2 }],
        };
        let finding =
            Finding { kind: "x".into(), weight: Weight::Spoils, rows: 1, of: 2, why: format!("column {hostile}") };
        let output = Output { rows: 3, columns: vec![column], findings: vec![finding], ..Output::default() };
        let html = page(&output);
        assert!(!html.contains("<script") && !html.contains('\u{1b}') && !html.contains("://"), "{html}");
        assert!(html.contains("&lt;script&gt;") && html.contains("<svg class=\"bar\""), "{html}");
    }
}
