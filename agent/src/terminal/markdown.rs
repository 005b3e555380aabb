//! Markdown as it looks on a terminal, block by block while it arrives.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use tunesmith_harness::{redact::Stream, text::visible};
use unicode_width::UnicodeWidthStr;

use crate::commands::table::table;

/// Bytes of a block that is waited for: it is looked at again with each piece.
const LONGEST: usize = 64 << 10;

/// Words that arrive in pieces: whole blocks are shown as soon as they have ended.
#[derive(Default)]
pub(super) struct Words {
    stream: Stream,
    /// Bytes of what the stream shows that were given out as blocks.
    given: usize,
}

impl Words {
    /// Takes the next piece and gives the lines of the blocks that it ends.
    pub fn push(&mut self, piece: &str, look: Look) -> Vec<String> {
        self.stream.push(piece);
        let rest = &self.stream.shown()[self.given..];
        let whole = match blocks_end(rest) {
            0 if rest.len() > LONGEST => rest.rfind('\n').map_or(0, |at| at + 1),
            whole => whole,
        };
        let lines = self.lines(&rest[..whole], look);
        self.given += whole;
        lines
    }

    /// The last words of the block that has not ended.
    pub fn tail(&self) -> &str {
        let rest = &self.stream.shown()[self.given..];
        rest.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim()
    }

    /// What is left, once all of `text` is there.
    pub fn finish(self, text: &str, look: Look) -> Vec<String> {
        if self.given == 0 {
            return render(text, look);
        }
        let given = self.given;
        let before = Words { given, ..Words::default() };
        before.lines(self.stream.finish().get(given..).unwrap_or_default(), look)
    }

    fn lines(&self, blocks: &str, look: Look) -> Vec<String> {
        let lines = render(blocks, look);
        // One empty line stands between blocks.
        let gap = (self.given > 0 && !lines.is_empty()).then(String::new);
        gap.into_iter().chain(lines).collect()
    }
}

/// Bytes of `text` up to the last place at which a block has ended for sure.
fn blocks_end(text: &str) -> usize {
    let (mut end, mut at, mut fence, mut blank) = (0, 0, None::<&str>, false);
    for line in text.split_inclusive('\n') {
        let words = line.trim_start();
        // What is indented may go on with a list.
        if blank && fence.is_none() && !words.is_empty() && line.len() == words.len() {
            end = at;
        }
        let marks = ["```", "~~~"].into_iter().find(|mark| words.starts_with(mark));
        match (fence, marks) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            _ => {}
        }
        blank = words.is_empty();
        at += line.len();
    }
    end
}

/// How a terminal shows text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Columns.
    pub width: usize,
    /// Whether it has colours.
    pub colours: bool,
}

/// The lines of a text in Markdown. Control characters in it are made visible.
pub(super) fn render(text: &str, look: Look) -> Vec<String> {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut page = Page::new(look);
    Parser::new_ext(text, options).for_each(|event| page.take(event));
    page.end_line();
    while page.lines.last().is_some_and(String::is_empty) {
        page.lines.pop();
    }
    page.lines
}

/// Lines as they are laid out.
struct Page {
    look: Look,
    lines: Vec<String>,
    line: String,
    /// Columns of `line` that are taken.
    column: usize,
    /// A space before the next word.
    gap: bool,
    /// What begins each line: quotes and the space below list marks.
    indents: Vec<String>,
    /// What begins the next line in place of the last indent: the mark of an item.
    mark: Option<String>,
    /// The number of the next item of each list; `None` is a bullet.
    lists: Vec<Option<u64>>,
    bold: usize,
    italic: usize,
    links: Vec<String>,
    /// Whether a block of code is open.
    code: bool,
    /// Rows of the table that is open, and whether a cell of it is.
    rows: Option<Vec<Vec<String>>>,
}

impl Page {
    fn new(look: Look) -> Self {
        Page {
            look,
            lines: Vec::new(),
            line: String::new(),
            column: 0,
            gap: false,
            indents: Vec::new(),
            mark: None,
            lists: Vec::new(),
            bold: 0,
            italic: 0,
            links: Vec::new(),
            code: false,
            rows: None,
        }
    }

    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) if self.code => self.verbatim(&text),
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => self.text(&text, ""),
            Event::Code(text) => self.text(&text, "36"),
            Event::SoftBreak => self.gap = true,
            Event::HardBreak => self.end_line(),
            Event::Rule => {
                self.word(&"─".repeat(self.look.width.min(40)), "2");
                self.end_block();
            }
            Event::TaskListMarker(done) => self.text(if done { "[x] " } else { "[ ] " }, ""),
            Event::InlineMath(text) | Event::DisplayMath(text) | Event::FootnoteReference(text) => self.text(&text, ""),
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Heading { .. } | Tag::Strong => self.bold += 1,
            Tag::Emphasis => self.italic += 1,
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => self.links.push(dest_url.into_string()),
            Tag::BlockQuote(_) => self.indents.push("│ ".to_owned()),
            Tag::CodeBlock(kind) => {
                self.end_line();
                self.code = true;
                self.indents.push("    ".to_owned());
                if let CodeBlockKind::Fenced(language) = kind
                    && !language.is_empty()
                {
                    self.verbatim(&format!("{language}:"));
                }
            }
            Tag::List(first) => {
                self.end_line();
                self.lists.push(first);
            }
            Tag::Item => {
                let mark = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number += 1;
                        format!("{}. ", *number - 1)
                    }
                    _ => "• ".to_owned(),
                };
                self.indents.push(" ".repeat(mark.width()));
                self.mark = Some(mark);
            }
            Tag::Table(_) => self.rows = Some(Vec::new()),
            Tag::TableHead | Tag::TableRow => self.rows.iter_mut().for_each(|rows| rows.push(Vec::new())),
            Tag::TableCell => self.cell(),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(_) => {
                self.bold -= 1;
                self.end_block();
            }
            TagEnd::Strong => self.bold -= 1,
            TagEnd::Emphasis => self.italic -= 1,
            TagEnd::Link | TagEnd::Image => {
                let to = self.links.pop().unwrap_or_default();
                if !to.is_empty() && !self.line.ends_with(&to) && !to.starts_with('#') {
                    self.text(&format!(" ({to})"), "2");
                }
            }
            TagEnd::BlockQuote(_) | TagEnd::CodeBlock => {
                self.end_line();
                self.indents.pop();
                self.code = false;
                self.end_block();
            }
            TagEnd::Item => {
                self.end_line();
                self.mark = None;
                self.indents.pop();
            }
            TagEnd::List(_) => {
                self.lists.pop();
                self.end_block();
            }
            TagEnd::Table => {
                let rows = self.rows.take().unwrap_or_default();
                let prefix = self.indents.concat();
                self.lines.extend(table(&rows).into_iter().map(|line| format!("{prefix}{line}")));
                self.end_block();
            }
            TagEnd::Paragraph if self.lists.is_empty() => self.end_block(),
            TagEnd::Paragraph | TagEnd::HtmlBlock => self.end_line(),
            _ => {}
        }
    }

    /// A new cell of the table, into which text goes.
    fn cell(&mut self) {
        self.rows.iter_mut().filter_map(|rows| rows.last_mut()).for_each(|row| row.push(String::new()));
    }

    /// Words, broken into lines between them. `colour` is what they get beside the style that is on.
    fn text(&mut self, text: &str, colour: &str) {
        if let Some(cell) = self.rows.as_mut().and_then(|rows| rows.last_mut()).and_then(|row| row.last_mut()) {
            cell.push_str(text);
            return;
        }
        self.gap |= text.starts_with(char::is_whitespace);
        for word in text.split_whitespace() {
            self.word(&visible(word), colour);
            self.gap = true;
        }
        self.gap = text.ends_with(char::is_whitespace) || text.is_empty() && self.gap;
    }

    fn word(&mut self, word: &str, colour: &str) {
        let wide = word.width();
        let gap = usize::from(self.gap && self.column > 0);
        if gap > 0 && self.indent() + self.column + gap + wide > self.look.width {
            self.end_line();
        } else if gap > 0 {
            self.line.push(' ');
            self.column += 1;
        }
        let codes = [(self.bold > 0, "1"), (self.italic > 0, "3"), (!colour.is_empty(), colour)];
        let codes: Vec<&str> =
            codes.into_iter().filter(|(on, _)| *on && self.look.colours).map(|(_, code)| code).collect();
        match codes.is_empty() {
            true => self.line.push_str(word),
            false => self.line.push_str(&format!("\u{1b}[{}m{word}\u{1b}[0m", codes.join(";"))),
        }
        self.column += wide;
        self.gap = false;
    }

    /// Lines of code, as they are.
    fn verbatim(&mut self, text: &str) {
        for line in text.lines() {
            self.line = match self.look.colours {
                true => format!("\u{1b}[2m{}\u{1b}[0m", visible(line)),
                false => visible(line).into_owned(),
            };
            self.column = 1;
            self.end_line();
        }
    }

    fn indent(&self) -> usize {
        self.indents.iter().map(|indent| indent.width()).sum()
    }

    fn end_line(&mut self) {
        self.gap = false;
        if self.column == 0 {
            return;
        }
        let (last, outer) = self.indents.split_last().map_or(("", &[][..]), |(last, outer)| (last.as_str(), outer));
        let mark = self.mark.take();
        let line = format!("{}{}{}", outer.concat(), mark.as_deref().unwrap_or(last), self.line);
        self.lines.push(line.trim_end().to_owned());
        (self.line, self.column) = (String::new(), 0);
    }

    /// Ends a block with an empty line below it.
    fn end_block(&mut self) {
        self.end_line();
        if self.lists.is_empty() && self.lines.last().is_some_and(|line| !line.is_empty()) {
            self.lines.push(String::new());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: Look = Look { width: 40, colours: false };

    const TEXT: &str = "# Results of *the* run\n\nThe tuned model reads **better** than `nano`, see [the report](report.html) for \
        all that was measured.\n\n1. prepare the data, which takes a while because there is much of it\n2. train\n   - r = 16\n   - \
        r = 32\n\n```sh\ntunesmith runs list\n  --json\n```\n\n> quoted words that are long enough to be broken into two lines\n\n| model \
        | accuracy |\n|---|---|\n| base | 10 % |\n| tuned | 93 % |\n\n- [x] done\n- [ ] open\n\nends\u{1b}[2J here";

    const LINES: &str = "Results of the run\n\nThe tuned model reads better than nano,\nsee the report (report.html) for all\n\
        that was measured.\n\n1. prepare the data, which takes a while\n   because there is much of it\n2. train\n   • r = 16\n   • r = 32\n\n    \
        sh:\n    tunesmith runs list\n      --json\n\n│ quoted words that are long enough to\n│ be broken into two lines\n\nmodel  \
        accuracy\nbase       10 %\ntuned      93 %\n\n• [x] done\n• [ ] open\n\nends\\u{1b}[2J here";

    #[test]
    fn markdown_is_laid_out_for_a_terminal() {
        assert_eq!(render(TEXT, PLAIN).join("\n"), LINES);
        let colours = render("a **b** `c`", Look { width: 80, colours: true });
        assert_eq!(colours, ["a \u{1b}[1mb\u{1b}[0m \u{1b}[36mc\u{1b}[0m"]);
    }

    #[test]
    fn words_that_arrive_in_pieces_are_shown_block_by_block() {
        let mut words = Words::default();
        let mut pieces = vec![words.push("First *par", PLAIN), words.push("agraph*.\n\nSec", PLAIN)];
        assert_eq!(words.tail(), "First *paragraph*.");
        pieces.push(words.push("ond one\n", PLAIN));
        assert_eq!(words.tail(), "Second one");
        pieces.push(words.finish("First *paragraph*.\n\nSecond one\n", PLAIN));
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        assert_eq!(pieces, [vec![], vec![], lines(&["First paragraph."]), lines(&["", "Second one"])]);
        let fenced = "```\na\n\nb\n```\n\nend";
        assert_eq!(&fenced[blocks_end(fenced)..], "end");
        assert_eq!(blocks_end("```\na\n\nb"), 0);
    }

    proptest! {
        #[test]
        fn however_a_text_is_cut_into_pieces_no_word_is_lost_or_said_twice(
            cuts in proptest::collection::vec(0..TEXT.len(), 0..12)
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|at| TEXT.is_char_boundary(*at)).collect();
            cuts.extend([0, TEXT.len()]);
            cuts.sort_unstable();
            let (mut words, mut lines) = (Words::default(), Vec::new());
            cuts.windows(2).for_each(|cut| lines.extend(words.push(&TEXT[cut[0]..cut[1]], PLAIN)));
            lines.extend(words.finish(TEXT, PLAIN));
            prop_assert_eq!(lines.join("\n"), LINES);
        }

        #[test]
        fn any_text_is_laid_out_without_control_characters(text in "(?s).{0,200}") {
            let lines = render(&text, PLAIN);
            prop_assert!(lines.iter().all(|line| !line.chars().any(|c| c.is_control() && c != '\t')), "{lines:?}");
        }
    }
}
