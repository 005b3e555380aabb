//! Bounds on templates, checked before they are parsed: the parser is recursive, and its stack is not endless.

/// No template may be longer; published ones have some tens of kB.
const LONGEST_SOURCE: usize = 1 << 20;
/// No tag may have more code, blanks and texts aside.
const LONGEST_TAG: usize = 8192;
/// Branches of conditions nest as deep as there are of them.
const MOST_BRANCHES: usize = 2000;
/// The stack that parsing within these bounds fits in with room to spare.
pub(crate) const STACK: usize = 64 << 20;

/// What is too much about `source`.
pub(crate) fn check(source: &str) -> Result<(), String> {
    if source.len() > LONGEST_SOURCE {
        return Err(format!("it is longer than {LONGEST_SOURCE} bytes"));
    }
    if source.matches("elif").count() > MOST_BRANCHES {
        return Err(format!("it has more than {MOST_BRANCHES} branches"));
    }
    let mut rest = source;
    while let Some(at) = rest.find("{{").into_iter().chain(rest.find("{%")).min() {
        let (code, length) = tag(&rest[at..]);
        if code > LONGEST_TAG {
            return Err(format!("one of its tags has more than {LONGEST_TAG} characters of code"));
        }
        rest = &rest[at + length..];
    }
    Ok(())
}

/// How much code the tag at the start of `source` has, blanks and texts aside, and its length.
fn tag(source: &str) -> (usize, usize) {
    let bytes = source.as_bytes();
    let block = bytes[1] == b'%';
    let (mut at, mut code, mut braces, mut quote) = (2, 0, 0usize, None);
    while at < bytes.len() {
        let byte = bytes[at];
        match quote {
            Some(_) if byte == b'\\' => at += 1,
            Some(open) if byte == open => quote = None,
            Some(_) => {}
            None => {
                let end: &[u8] = if block { b"%}" } else { b"}}" };
                if braces == 0 && bytes[at..].starts_with(end) {
                    at += 2;
                    break;
                }
                match byte {
                    b'"' | b'\'' => quote = Some(byte),
                    b'{' => braces += 1,
                    b'}' => braces = braces.saturating_sub(1),
                    _ => {}
                }
                code += usize::from(!byte.is_ascii_whitespace());
            }
        }
        at += 1;
    }
    // The next tag is looked for after a whole character.
    let mut length = at.min(bytes.len());
    while !source.is_char_boundary(length) {
        length += 1;
    }
    (code, length)
}
