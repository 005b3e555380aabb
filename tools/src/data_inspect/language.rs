//! Which language a text is in.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::{
    draw::Drawn,
    output::{Cells, Column, LabelCount},
    text::said,
};

/// Rows that are looked at, and characters of each.
const LOOKED_AT: (usize, usize) = (10_000, 600);
/// Fewest letters of a text whose language can be told, and of one whose halves are compared.
const LETTERS: (usize, usize) = (24, 60);
/// Languages that are named; the rest is `other`.
const NAMED: usize = 8;
/// What cannot be told.
const UNKNOWN: &str = "unknown";

/// The language of a text, if it is long enough, in one language, and told with confidence.
pub(super) fn language(text: &str) -> Option<&'static str> {
    let text: String = text.chars().take(LOOKED_AT.1).collect();
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    if letters < LETTERS.0 {
        return None;
    }
    let sure = |text: &str| whatlang::detect(text).filter(|info| info.is_reliable()).map(|info| info.lang());
    let whole = sure(&text)?;
    if letters >= LETTERS.1 {
        let middle = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
        let middle = text[middle..].find(char::is_whitespace).map_or(middle, |at| middle + at);
        let (head, tail) = text.split_at(middle);
        if let (Some(head), Some(tail)) = (sure(head), sure(tail))
            && head != tail
        {
            return None;
        }
    }
    Some(whole.eng_name())
}

/// Adds the languages of the texts to columns that hold texts of their own.
pub(super) fn look(columns: &mut [Column], sample: &[Drawn]) {
    let sample = &sample[..sample.len().min(LOOKED_AT.0)];
    for column in columns {
        let chats = column.types.contains_key("list");
        let texts = column.cells == Cells::Text && column.labels.is_empty() && column.lengths[2] >= LETTERS.0;
        if texts || chats {
            column.languages = languages(sample, &column.name);
        }
    }
}

fn languages(sample: &[Drawn], column: &str) -> Vec<LabelCount> {
    let filled = |drawn: &Drawn| {
        let text = said(drawn.row.get(column)?);
        (!text.trim().is_empty()).then(|| language(&text).unwrap_or(UNKNOWN))
    };
    let found: Vec<&str> = sample.par_iter().filter_map(filled).collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    found.iter().for_each(|name| *counts.entry(name).or_insert(0) += 1);
    let mut counts: Vec<LabelCount> =
        counts.into_iter().map(|(label, rows)| LabelCount { label: label.to_owned(), rows }).collect();
    counts.sort_by_key(|language| std::cmp::Reverse(language.rows));
    if counts.len() > NAMED {
        let rows = counts.split_off(NAMED).iter().map(|language| language.rows).sum();
        counts.push(LabelCount { label: "other".to_owned(), rows });
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_named_where_it_can_be_told_and_never_guessed() {
        let table = [
            ("The quick brown fox jumps over the lazy dog because it was told to do so by its owner.", Some("English")),
            (
                "Der Hund, den wir gestern im Garten gesehen haben, gehört wahrscheinlich unserer Nachbarin.",
                Some("German"),
            ),
            ("Je ne sais pas pourquoi ma carte bancaire ne fonctionne plus depuis hier soir.", Some("French")),
            ("Почему моя карта больше не работает в магазине рядом с домом?", None),
            ("Γιατί η κάρτα μου δεν λειτουργεί σε αυτό το κατάστημα από χθες το βράδυ;", Some("Greek")),
            ("我昨天在网上订购的银行卡今天还没有送到我家里来请问什么时候可以收到", Some("Mandarin")),
            ("Where is it?", None),
            ("", None),
            ("1234567890 1234567890 1234567890 1234567890", None),
            ("card_arrival top_up lost_phone", None),
            (
                "Why does my card not work in this shop any more since yesterday evening? Warum funktioniert meine Karte \
                 in diesem Laden seit gestern Abend nicht mehr und was soll ich tun?",
                None,
            ),
        ];
        for (text, want) in table {
            assert_eq!(language(text), want, "{text}");
        }
    }
}
