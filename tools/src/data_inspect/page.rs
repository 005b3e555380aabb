//! The output as a page for people, with small plots, without scripts or anything from elsewhere.

use serde::Serialize;
use tunesmith_harness::report::{data_section, html_page};

use super::output::Output;

const PAGE: &str = include_str!("page.html.j2");

/// What the template shows: the output, and what it has in common with the report of a run.
#[derive(Serialize)]
struct View<'a> {
    output: &'a Output,
    section: Option<String>,
}

/// Lays the output out as an HTML page.
pub fn page(output: &Output) -> String {
    let section = serde_json::to_value(output).ok().and_then(|output| data_section(&output, "h2", true));
    html_page(PAGE, View { output, section })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_inspect::output::{Cells, Column, Finding, LabelCount, Weight};

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
