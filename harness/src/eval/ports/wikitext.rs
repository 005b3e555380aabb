//! WikiText: how likely an article is, per word and byte of the page before its text was joined again.

use std::sync::LazyLock;

use serde_json::Value;

use super::text;
use crate::eval::{
    filters::Answer,
    functions::{Items, Native, Port},
    metrics::Item,
    process::parts,
    python::regex::{Error, Regex},
    request::Doc,
};

pub(super) const PORTS: &[Native] = &[
    Native {
        name: "wikitext_detokenizer",
        sha256: "0b4da6ccdf92edba7202d01c3d299307fe929876ecfed0def3e8dd732f549d62",
        helpers: &[],
        port: Port::Doc(detokenized),
    },
    Native {
        name: "process_results",
        sha256: "63f322707ad6f395b690b41477c74228b2f48d6bc5a87643c7b89c2aa3c059a2",
        helpers: &[],
        port: Port::Results(process_results),
    },
];

/// Blanks that the data set has inside of numbers and before signs.
const SIGNS: [(&str, &str); 9] = [
    (" @-@ ", "-"),
    (" @,@ ", ","),
    (" @.@ ", "."),
    (" : ", ": "),
    (" ; ", "; "),
    (" . ", ". "),
    (" ! ", "! "),
    (" ? ", "? "),
    (" , ", ", "),
];

/// What is put right last: headings, degrees, line breaks, numbers, and genitives.
const REST: [(&str, &str); 8] = [
    ("= = = =", "===="),
    ("= = =", "==="),
    ("= =", "=="),
    (" ° ", "°"),
    (" \n", "\n"),
    ("\n ", "\n"),
    (" N ", " 1 "),
    (" 's", "'s"),
];

/// What stands between a pair of signs loses the white space at both ends.
static PAIRS: LazyLock<Result<Vec<(Regex, String)>, Error>> = LazyLock::new(|| {
    let pairs = [
        ("\\(", "\\)", "(", ")"),
        ("\\[", "\\]", "[", "]"),
        ("{", "}", "{", "}"),
        ("\"", "\"", "\"", "\""),
        ("'", "'", "'", "'"),
    ];
    let pair = |(open, close, before, after)| {
        let pattern = Regex::new(&format!(r"{open}\s*([^{close}]*?)\s*{close}"))?;
        Ok((pattern, format!(r"{before}\1{after}")))
    };
    pairs.into_iter().map(pair).collect()
});

fn detokenized(doc: &Doc) -> Result<Value, String> {
    // The second pattern of lm-eval was meant for numbers after an apostrophe and hits only this.
    static SLASHES: LazyLock<Result<Regex, Error>> = LazyLock::new(|| Regex::new("/' [0-9]/"));
    let said = |e: &Error| e.to_string();
    let mut page = text(doc, "page")?.replace("s '", "s'");
    page = SLASHES.as_ref().map_err(said)?.sub("/'[0-9]/", &page, 0).map_err(|e| said(&e))?;
    page = replaced(page, &SIGNS);
    for (pattern, replacement) in PAIRS.as_ref().map_err(said)? {
        page = pattern.sub(replacement, &page, 0).map_err(|e| said(&e))?;
    }
    Ok(replaced(page, &REST).into())
}

fn replaced(text: String, table: &[(&str, &str)]) -> String {
    table.iter().fold(text, |text, (from, to)| text.replace(from, to))
}

fn process_results(doc: &Doc, answers: &[Answer]) -> Result<Items, String> {
    let [Answer::Rolling(sum)] = answers else {
        return Err("its filtered answer must be one log-likelihood of a text".into());
    };
    let page = text(doc, "page")?;
    let words = Item::Weighted(*sum, parts(page) as u64);
    let bytes = Item::Weighted(*sum, page.len() as u64);
    let items = [("word_perplexity", words), ("byte_perplexity", bytes.clone()), ("bits_per_byte", bytes)];
    Ok(items.map(|(name, item)| (name.to_owned(), item)).into())
}
