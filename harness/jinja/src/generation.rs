//! `{% generation %}` marks what the assistant says in templates made for training.
//!
//! The tag becomes a filter block around a scope: white space control and scoping stay as they were. The filter leaves the
//! text as it is and, where spans are asked for, notes where in the output it will stand.

use std::{
    io,
    ops::Range,
    sync::{Mutex, PoisonError},
};

use minijinja::{Error, ErrorKind, Value, value::Object};

/// The variable that holds the tracker; none where nobody asks for spans.
pub(crate) const TRACKER: &str = "generation_tracker__";
/// The filter of the block.
pub(crate) const FILTER: &str = "generation_support__";
const OPEN: &str = " filter generation_support__(generation_tracker__) %}{% with ";
const CLOSE: &str = " endwith %}{% endfilter ";

/// Notes the text of a block, and gives it back.
pub(crate) fn filter(text: Value, tracker: Value) -> Value {
    if let Some(tracker) = tracker.downcast_object_ref::<Tracker>() {
        let mut tracked = tracker.0.lock().unwrap_or_else(PoisonError::into_inner);
        let start = tracked.output.len();
        tracked.blocks.push((start, text.clone()));
    }
    text
}

/// What has been written so far, and which parts of it stood in the tag.
#[derive(Debug, Default)]
pub(crate) struct Tracker(Mutex<Tracked>);

#[derive(Debug, Default)]
struct Tracked {
    output: Vec<u8>,
    /// Where each block begins, and its text.
    blocks: Vec<(usize, Value)>,
}

impl Object for Tracker {}

impl Tracker {
    /// The text and the spans of its blocks.
    ///
    /// Inside a macro or a `set` block the place in the output is not known when the tag is met. transformers notes a wrong
    /// one then; this is an error.
    pub(crate) fn finish(&self) -> Result<(String, Vec<Range<usize>>), Error> {
        let bad = |what| Error::new(ErrorKind::InvalidOperation, what);
        let tracked = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let text = String::from_utf8(tracked.output).map_err(|_| bad("the output is not UTF-8"))?;
        let (mut spans, mut end) = (Vec::with_capacity(tracked.blocks.len()), 0);
        for (start, block) in tracked.blocks {
            let block = block.as_str().unwrap_or_default();
            if start < end || !text.get(start..).is_some_and(|rest| rest.starts_with(block)) {
                return Err(bad(
                    "a generation tag stands in a macro, a set block or another generation tag; move it out",
                ));
            }
            end = start + block.len();
            spans.push(start..end);
        }
        Ok((text, spans))
    }
}

/// Writes to a tracker, up to a limit.
pub(crate) struct Writer<'a>(pub(crate) &'a Tracker, pub(crate) usize);

impl io::Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut tracked = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tracked.output.len() + bytes.len() > self.1 {
            return Err(io::Error::other("the output is too long"));
        }
        tracked.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether `source` has the tag, comments aside.
pub(crate) fn tagged(source: &str) -> bool {
    let mut rest = source;
    while let Some(at) = rest.find('{') {
        rest = &rest[at..];
        if rest.starts_with("{%") && parse(rest).is_some() {
            return true;
        }
        let comment = rest.starts_with("{#").then(|| rest.find("#}")).flatten();
        rest = &rest[comment.map_or(1, |end| end + 2)..];
    }
    false
}

/// Replaces the tag and its end.
pub(crate) fn rewrite(source: &str) -> String {
    if !source.contains("generation") {
        return source.to_string();
    }
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        match parse(tag) {
            Some((open, word, close, length)) => {
                out.push_str(open);
                out.push_str(word);
                out.push_str(close);
                rest = &tag[length..];
            }
            None => {
                out.push_str("{%");
                rest = &tag[2..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// For a tag that is `generation` or `endgeneration`: its opening, its new word, its closing, and its length.
fn parse(tag: &str) -> Option<(&str, &'static str, &str, usize)> {
    let inner = tag[2..].trim_start_matches(['-', '+']).trim_start();
    let (word, after) = if let Some(after) = inner.strip_prefix("endgeneration") {
        (CLOSE, after)
    } else {
        (OPEN, inner.strip_prefix("generation")?)
    };
    let close = after.trim_start();
    let end = ["-%}", "+%}", "%}"].into_iter().find(|end| close.starts_with(end))?;
    let open = if tag[2..].starts_with(['-', '+']) { &tag[..3] } else { &tag[..2] };
    let length = tag.len() - close.len() + end.len();
    Some((open, word, &close[..end.len()], length))
}
