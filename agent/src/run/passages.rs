//! Plain texts, read in passages: a document in one piece could neither be sealed in part nor be measured.

use tunesmith_harness::recipe::Row;

/// Characters below which a paragraph is no passage of its own: a heading goes with what it stands above.
const SHORT: usize = 60;
/// Characters from which on a paragraph is cut, where a sentence or a line ends.
const LONG: usize = 600;

/// The column of texts.
const TEXT: &str = "text";

/// Cuts documents into passages, in order. What stands beside their texts is left out.
pub(super) fn cut(documents: Vec<Row>) -> Vec<Row> {
    let texts = documents.into_iter().filter_map(|row| Some(row.get(TEXT)?.as_str()?.to_owned()));
    let passages = texts.flat_map(|text| passages(&text));
    passages.map(|passage| Row::from_iter([(TEXT.to_owned(), passage.into())])).collect()
}

fn passages(text: &str) -> Vec<String> {
    let (mut done, mut open) = (Vec::new(), String::new());
    for paragraph in paragraphs(text) {
        if !open.is_empty() {
            open.push_str("\n\n");
        }
        open.push_str(&paragraph);
        if open.chars().count() >= SHORT {
            done.extend(pieces(&std::mem::take(&mut open)));
        }
    }
    // A short end goes with what it stands below.
    match done.last_mut().filter(|_| !open.is_empty()) {
        Some(last) => *last = format!("{last}\n\n{open}"),
        None => done.extend((!open.is_empty()).then_some(open)),
    }
    done
}

/// What stands between blank lines.
fn paragraphs(text: &str) -> Vec<String> {
    let mut paragraphs: Vec<Vec<&str>> = vec![Vec::new()];
    for line in text.lines() {
        match (line.trim().is_empty(), paragraphs.last_mut()) {
            (true, Some(last)) if !last.is_empty() => paragraphs.push(Vec::new()),
            (false, Some(last)) => last.push(line.trim_end()),
            _ => {}
        }
    }
    paragraphs.into_iter().filter(|lines| !lines.is_empty()).map(|lines| lines.join("\n")).collect()
}

/// A paragraph in pieces that are not long.
fn pieces(paragraph: &str) -> Vec<String> {
    let (mut rest, mut pieces) = (paragraph, Vec::new());
    while let Some((end, _)) = rest.char_indices().nth(LONG) {
        let at = place(&rest[..end]);
        pieces.push(rest[..at].trim_end().to_owned());
        rest = rest[at..].trim_start();
    }
    pieces.extend((!rest.is_empty()).then(|| rest.to_owned()));
    pieces
}

/// Where a text that is too long is cut: behind the last sentence, else the last line, else the last word.
fn place(text: &str) -> usize {
    // Too near the beginning nothing would be gained.
    let least = text.char_indices().nth(LONG / 3).map_or(0, |(at, _)| at);
    let chars: Vec<(usize, char)> = text.char_indices().filter(|(at, _)| *at >= least).collect();
    let behind = |is: &dyn Fn(char, char) -> bool| {
        chars.windows(2).rev().find(|pair| is(pair[0].1, pair[1].1)).map(|pair| pair[1].0)
    };
    behind(&|one, two| ".!?…。".contains(one) && two.is_whitespace())
        .or_else(|| behind(&|one, _| one == '\n'))
        .or_else(|| behind(&|one, _| one.is_whitespace()))
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heading_goes_with_what_it_stands_above_and_a_short_end_with_what_is_above_it() {
        let long = "It rained on the day of the fair, and nobody minded in the least.";
        let text = format!("# May\n\nThe fair\n\n{long}\n\n{long}\nSecond line.\n \n\nThe end\n");
        assert_eq!(
            passages(&text),
            [format!("# May\n\nThe fair\n\n{long}"), format!("{long}\nSecond line.\n\nThe end")]
        );
        assert_eq!((passages("Short."), passages(" \n\n")), (vec!["Short.".to_owned()], vec![]));
    }

    #[test]
    fn long_paragraphs_are_cut_at_sentences_lines_or_words_and_nothing_is_lost() {
        let of = |unit: &str| {
            let text = unit.repeat(400);
            let passages = passages(text.trim());
            assert!(passages.len() > 2 && passages.iter().all(|passage| passage.chars().count() <= LONG), "{unit}");
            let joined: String = passages.concat().split_whitespace().collect();
            assert_eq!(joined, text.split_whitespace().collect::<String>());
            passages[0].clone()
        };
        assert!(of("They met. All at once ").ends_with("met."));
        assert!(of("one, two\nthree ").ends_with("two"));
        assert!(of("wort ").ends_with("wort"));
        assert_eq!(of("äöü").chars().count(), LONG);
    }
}
