//! The templates, with an escape that no value can get around.

use minijinja::{AutoEscape, Environment, Error, HtmlEscape, Output, State, Value, syntax::SyntaxConfig, value::Serde};
use serde::Serialize;

use super::{Report, view::View};
use crate::text::{visible, visible_lines};

const HTML: &str = include_str!("report.html.j2");
const MARKDOWN: &str = include_str!("report.md.j2");

pub(super) fn html(report: &Report) -> String {
    render(AutoEscape::Html, HTML, report)
}

pub(super) fn markdown(report: &Report) -> String {
    render(in_markdown(), MARKDOWN, report)
}

fn render(escape: AutoEscape, template: &str, report: &Report) -> String {
    page(escape, template, View::of(report))
}

/// Lays out one of the program's own HTML templates; texts in `context` cannot act on the page.
pub fn html_page(template: &str, context: impl Serialize) -> String {
    page(AutoEscape::Html, template, context)
}

/// Lays out one of the program's own Markdown templates; texts in `context` stay words.
pub fn markdown_page(template: &str, context: impl Serialize) -> String {
    page(in_markdown(), template, context)
}

/// Lays out one of the program's own templates with `context`, in which every text is escaped.
pub(crate) fn page(escape: AutoEscape, template: &str, context: impl Serialize) -> String {
    try_page(escape, template, context).unwrap_or_else(|error| format!("the page cannot be laid out: {error:#}\n"))
}

/// How texts are escaped in Markdown.
pub(crate) fn in_markdown() -> AutoEscape {
    AutoEscape::Custom("markdown".into())
}

/// The templates are part of the binary and are rendered by the tests: an error is a defect, or a context of another shape.
pub(super) fn try_page(escape: AutoEscape, template: &str, context: impl Serialize) -> Result<String, Error> {
    let mut env = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    env.set_syntax(syntax.trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?);
    env.set_auto_escape_callback(move |_| escape.clone());
    env.set_formatter(format);
    env.add_filter("code", |text: &str| Value::from_safe_string(code(text)));
    env.render_str(template, Serde(context))
}

/// Prints a value: control characters made visible, then escaped for the page unless the template itself made it.
fn format(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    let text = value.to_string();
    let done = match state.auto_escape() {
        _ if value.is_safe() => out.write_str(&text),
        // In HTML a line break is harmless, and shown only where the style says so.
        AutoEscape::Html => write!(out, "{}", HtmlEscape(&visible_lines(&text))),
        _ => out.write_str(&escape_markdown(&visible(&text))),
    };
    done.map_err(Error::from)
}

/// Escapes what Markdown, a table cell or raw HTML would act on, and nothing else, so that the source reads well too.
fn escape_markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut before = None;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let after = rest.as_str();
        let next = after.chars().next();
        match c {
            '<' if next.is_some_and(|n| n.is_ascii_alphabetic() || "/!?".contains(n)) => out.push_str("&lt;"),
            '&' if next.is_some_and(|n| n.is_ascii_alphabetic() || n == '#') => out.push_str("&amp;"),
            // Addresses would turn into links.
            ':' if after.starts_with("//") => out.push_str("&#58;"),
            '.' if out.get(out.len().wrapping_sub(3)..).is_some_and(|w| w.eq_ignore_ascii_case("www")) => {
                out.push_str("&#46;")
            }
            '@' => out.push_str("&#64;"),
            // Between letters an underscore stands for itself.
            '_' if before.is_some_and(char::is_alphanumeric) && next.is_some_and(char::is_alphanumeric) => out.push(c),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '$' => out.extend(['\\', c]),
            // At the start of a line these would begin a heading, a list, a rule or a quotation.
            '#' | '-' | '+' | '=' | '>' if before.is_none() && !next.is_some_and(|n| n.is_ascii_digit()) => {
                out.extend(['\\', c]);
            }
            '.' | ')' if !out.is_empty() && out.chars().all(|d| d.is_ascii_digit()) && next == Some(' ') => {
                out.extend(['\\', c]);
            }
            c => out.push(c),
        }
        before = Some(c);
    }
    out
}

/// An indented code block: no text inside can end it.
fn code(text: &str) -> String {
    visible_lines(text).lines().map(|line| format!("    {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_acts_on_no_word_and_plain_words_stay_plain() {
        let table = [
            (
                "Goal met: 1.5 % to 2 (p < 0.001), R & D, a_b, q8_0.gguf",
                "Goal met: 1.5 % to 2 (p < 0.001), R & D, a_b, q8_0.gguf",
            ),
            ("<b> </b> <!-- &lt; &#60;", "&lt;b> &lt;/b> &lt;!-- &amp;lt; &amp;#60;"),
            ("https://a.b www.c.d e@f", "https&#58;//a.b www&#46;c.d e&#64;f"),
            ("`a` *b* _c_ [d](e) |f| \\ $g$ ~h~", "\\`a\\` \\*b\\* \\_c\\_ \\[d\\](e) \\|f\\| \\\\ \\$g\\$ \\~h\\~"),
            ("# a # b", "\\# a # b"),
            ("- a - b", "\\- a - b"),
            ("-1.5 and +2", "-1.5 and +2"),
            ("12. a 3. b", "12\\. a 3. b"),
        ];
        for (text, want) in table {
            assert_eq!(escape_markdown(text), want);
        }
    }
}
