//! Plain texts, read in passages: a document in one piece could neither be sealed in part nor be measured.

use tunesmith_harness::{recipe::Row, rows::Batch};

/// Characters below which a paragraph is no passage of its own: a heading goes with what it stands above.
const SHORT: usize = 60;
/// Characters from which on a paragraph is cut, where a sentence or a line ends. The first that gives passages enough.
const LONG: [usize; 3] = [600, 300, 150];
/// Passages that are enough: fewer can hardly be sealed and measured.
const ENOUGH: usize = 40;

/// The column of texts.
const TEXT: &str = "text";

/// Cuts documents into passages, in order, all of them as finely as it takes to have enough of the whole. What stands beside
/// their texts is left out.
pub(super) fn cut(documents: &mut [Batch]) {
    let enough = |long: &usize| {
        let texts = documents.iter().flat_map(|batch| &batch.rows).filter_map(text);
        texts.flat_map(|text| passages(text, *long)).nth(ENOUGH - 1).is_some()
    };
    let long = LONG.into_iter().find(enough).unwrap_or(LONG[LONG.len() - 1]);
    for batch in documents {
        let passages = batch.rows.iter().filter_map(text).flat_map(|text| passages(text, long));
        batch.rows = passages.map(|passage| Row::from_iter([(TEXT.to_owned(), passage.into())])).collect();
    }
}

fn text(document: &Row) -> Option<&str> {
    document.get(TEXT)?.as_str()
}

fn passages(text: &str, long: usize) -> Vec<String> {
    let (mut done, mut open) = (Vec::new(), String::new());
    for paragraph in paragraphs(text) {
        if !open.is_empty() {
            open.push_str("\n\n");
        }
        open.push_str(&paragraph);
        if open.chars().count() >= SHORT {
            done.extend(pieces(&std::mem::take(&mut open), long));
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
fn pieces(paragraph: &str, long: usize) -> Vec<String> {
    let (mut rest, mut pieces) = (paragraph, Vec::new());
    while let Some((end, _)) = rest.char_indices().nth(long) {
        let at = place(&rest[..end], long);
        pieces.push(rest[..at].trim_end().to_owned());
        rest = rest[at..].trim_start();
    }
    pieces.extend((!rest.is_empty()).then(|| rest.to_owned()));
    pieces
}

/// Where a text that is too long is cut: behind the last sentence, else the last line, else the last word.
fn place(text: &str, long: usize) -> usize {
    // Too near the beginning nothing would be gained.
    let least = text.char_indices().nth(long / 3).map_or(0, |(at, _)| at);
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
            passages(&text, 600),
            [format!("# May\n\nThe fair\n\n{long}"), format!("{long}\nSecond line.\n\nThe end")]
        );
        assert_eq!((passages("Short.", 600), passages(" \n\n", 600)), (vec!["Short.".to_owned()], vec![]));
    }

    #[test]
    fn short_texts_are_cut_finer() {
        let document = |sentences: usize| Batch {
            file: 0,
            rows: vec![Row::from_iter([(
                "text".to_owned(),
                "The bees came early that year. ".repeat(sentences).into(),
            )])],
            lines: vec![1],
            bad: Vec::new(),
            bytes: 0,
            read: 0,
        };
        let most = |sentences| {
            let mut batches = [document(sentences)];
            cut(&mut batches);
            let passages = &batches[0].rows;
            let lengths = passages.iter().map(|row| row["text"].as_str().map_or(0, str::len));
            (passages.len() >= ENOUGH, lengths.max().unwrap_or(0).div_ceil(150))
        };
        assert_eq!((most(2_000), most(500), most(220)), ((true, 4), (true, 2), (true, 1)));
    }

    #[test]
    fn long_paragraphs_are_cut_at_sentences_lines_or_words_and_nothing_is_lost() {
        let of = |unit: &str| {
            let text = unit.repeat(400);
            let passages = passages(text.trim(), 600);
            assert!(passages.len() >= 2 && passages.iter().all(|passage| passage.chars().count() <= 600), "{unit}");
            let joined: String = passages.concat().split_whitespace().collect();
            assert_eq!(joined, text.split_whitespace().collect::<String>());
            passages[0].clone()
        };
        assert!(of("They met. All at once ").ends_with("met."));
        assert!(of("one, two\nthree ").ends_with("two"));
        assert!(of("wort ").ends_with("wort"));
        assert_eq!(of("äöü").chars().count(), 600);
    }
}
