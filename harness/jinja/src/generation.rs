//! `{% generation %}` marks what the assistant says in templates made for training. Text is what is wanted here, so the
//! tag becomes `with`, which opens a scope and does nothing else: white space control and scoping stay as they were.

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
        (" endwith ", after)
    } else {
        (" with ", inner.strip_prefix("generation")?)
    };
    let close = after.trim_start();
    let end = ["-%}", "+%}", "%}"].into_iter().find(|end| close.starts_with(end))?;
    let open = if tag[2..].starts_with(['-', '+']) { &tag[..3] } else { &tag[..2] };
    let length = tag.len() - close.len() + end.len();
    Some((open, word, &close[..end.len()], length))
}
