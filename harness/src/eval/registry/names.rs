//! Names against patterns, and the name that was probably meant.

/// Whether a name fits a pattern of `*`, `?`, `[abc]` and `[!abc]`, as Python's `fnmatch` has them.
pub fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    // Where the last star stands, and how far the name was when it was met: the only place to go back to.
    let mut star = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
            continue;
        }
        if let Some(next) = one(&pattern, p, name[n]) {
            (p, n) = (next, n + 1);
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            (p, n) = (at + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

/// Where the pattern goes on after it took one character, if it takes this one.
fn one(pattern: &[char], at: usize, c: char) -> Option<usize> {
    match *pattern.get(at)? {
        '?' => Some(at + 1),
        '[' => match set_end(pattern, at) {
            Some(end) => in_set(&pattern[at + 1..end], c).then_some(end + 1),
            None => (c == '[').then_some(at + 1),
        },
        literal => (literal == c).then_some(at + 1),
    }
}

/// The `]` that ends a set. One that stands first is a member.
fn set_end(pattern: &[char], at: usize) -> Option<usize> {
    let first = at + 1 + usize::from(pattern.get(at + 1) == Some(&'!'));
    (first + 1..pattern.len()).find(|&end| pattern[end] == ']')
}

fn in_set(set: &[char], c: char) -> bool {
    let (negated, set) = match set.split_first() {
        Some(('!', rest)) => (true, rest),
        _ => (false, set),
    };
    let mut at = 0;
    let mut found = false;
    while at < set.len() {
        if set.get(at + 1) == Some(&'-') && at + 2 < set.len() {
            found |= (set[at]..=set[at + 2]).contains(&c);
            at += 3;
        } else {
            found |= set[at] == c;
            at += 1;
        }
    }
    found != negated
}

/// The known name that needs the fewest changes, if they are at most a third of the letters.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> Option<String> {
    let wanted: Vec<char> = name.chars().take(100).collect();
    let most = wanted.len().div_ceil(3);
    let near = known.filter(|other| other.len().abs_diff(name.len()) <= most);
    let best = near.map(|other| (changes(&wanted, other), other)).min()?;
    (best.0 <= most).then(|| best.1.clone())
}

/// Levenshtein's distance.
fn changes(wanted: &[char], other: &str) -> usize {
    let mut row: Vec<usize> = (0..=wanted.len()).collect();
    for (i, c) in other.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, &w) in wanted.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (above + 1).min(row[j] + 1).min(corner + usize::from(w != c));
            corner = above;
        }
    }
    row[wanted.len()]
}
