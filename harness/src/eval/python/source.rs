//! `inspect.getsource`: the text of one function or class in a Python file.

/// The text of the function or class `name` in `file`, with its decorators and its indentation, or `None` without one.
///
/// Where several have the name, the last of the least indented counts, as it does when Python runs the file.
pub fn function_source(file: &str, name: &str) -> Option<String> {
    let lines: Vec<&str> = file.split_inclusive('\n').collect();
    let starts = statement_starts(file, &lines);
    let defines = |line: &str| {
        let rest = line.trim_start();
        let rest = rest.strip_prefix("async ").map(str::trim_start).unwrap_or(rest);
        let rest = rest.strip_prefix("def ").or_else(|| rest.strip_prefix("class "));
        let rest = rest.map(str::trim_start).and_then(|rest| rest.strip_prefix(name));
        rest.is_some_and(|rest| rest.trim_start().starts_with(['(', '[', ':']))
    };
    let found = (0..lines.len()).filter(|&i| starts[i] && defines(lines[i]));
    let at = found.min_by_key(|&i| (indentation(lines[i]), usize::MAX - i))?;
    let outer = indentation(lines[at]);
    let first = first_decorator(&lines, &starts, at);
    let (mut end, mut body) = (at + 1, None);
    for i in at + 1..lines.len() {
        let line = lines[i];
        if !starts[i] {
            end = i + 1;
            continue;
        }
        let comment = line.trim_start().starts_with('#');
        // A comment belongs to the function only where it stands at least as deep as the body.
        if line.trim().is_empty() || (comment && body.is_none_or(|body| indentation(line) < body)) {
            continue;
        }
        if indentation(line) <= outer {
            break;
        }
        body = body.or(Some(indentation(line)));
        end = i + 1;
    }
    Some(lines[first..end].concat())
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '\t']).len()
}

/// The first of the decorators that stand above line `at`; one may go over several lines.
fn first_decorator(lines: &[&str], starts: &[bool], at: usize) -> usize {
    let mut first = at;
    for i in (0..at).rev().filter(|&i| starts[i]) {
        let line = lines[i].trim();
        if line.starts_with('@') && indentation(lines[i]) == indentation(lines[at]) {
            first = i;
        } else if !line.is_empty() && !line.starts_with('#') {
            break;
        }
    }
    first
}

/// For each line, whether it begins outside of texts and brackets.
fn statement_starts(file: &str, lines: &[&str]) -> Vec<bool> {
    let bytes = file.as_bytes();
    let mut marks = Vec::with_capacity(lines.len());
    let (mut at, mut depth, mut quote): (usize, usize, Option<&[u8]>) = (0, 0, None);
    let mut joined = false;
    for line in lines {
        marks.push(quote.is_none() && depth == 0 && !joined);
        let end = at + line.len();
        joined = false;
        while at < end {
            let byte = bytes[at];
            match quote {
                Some(_) if byte == b'\\' => at += 1,
                Some(close) if bytes[at..].starts_with(close) => {
                    at += close.len() - 1;
                    quote = None;
                }
                Some(_) => {}
                None => match byte {
                    b'#' => {
                        at = end;
                        continue;
                    }
                    b'"' | b'\'' => {
                        let triple = bytes.get(at..at + 3).filter(|three| three.iter().all(|&b| b == byte));
                        quote = Some(triple.unwrap_or(&bytes[at..at + 1]));
                        at += triple.map_or(0, |_| 2);
                    }
                    b'(' | b'[' | b'{' => depth += 1,
                    b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                    b'\\' => joined = true,
                    _ => {}
                },
            }
            at += 1;
        }
        // A text in single quotes ends with its line, unless a backslash stands before the end.
        let goes_on = line.trim_end_matches(['\n', '\r']).ends_with('\\');
        if quote.is_some_and(|close| close.len() == 1) && !goes_on {
            quote = None;
        }
        at = at.max(end);
    }
    marks
}
