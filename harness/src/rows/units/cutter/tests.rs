#![allow(clippy::unwrap_used)]

use proptest::{prelude::*, test_runner::RngSeed};

use super::*;

fn ends(mut cutter: Cutter, pieces: &[&[u8]]) -> Vec<usize> {
    let (mut all, mut before) = (Vec::new(), 0);
    for piece in pieces {
        let mut at = 0;
        while let Some(end) = cutter.end(&piece[at..]) {
            at += end;
            all.push(before + at);
        }
        before += piece.len();
    }
    all
}

fn cut(cutter: Cutter, text: &str) -> Vec<&str> {
    let mut at = 0;
    let ends = ends(cutter, &[text.as_bytes()]);
    ends.into_iter().map(|end| &text[std::mem::replace(&mut at, end)..end]).collect()
}

#[test]
fn quoted_line_breaks_end_no_record() {
    let text = "a,\"x\n\"\"y\",b\n1,2\"\n3,\"\"\n\"4\"x\"\r\nrest";
    assert_eq!(cut(Cutter::records(b','), text), ["a,\"x\n\"\"y\",b\n", "1,2\"\n", "3,\"\"\n", "\"4\"x\"\r", "\n"]);
}

#[test]
fn elements_end_at_the_commas_of_the_array_alone() {
    let text = " [{\"a\":[1,2]},\n\"],\\\"\",3 ] \ntail\n";
    assert_eq!(cut(Cutter::elements(), text), [" [", "{\"a\":[1,2]},", "\n\"],\\\"\",", "3 ]", " \n", "tail\n"]);
}

#[test]
fn paragraphs_end_with_a_blank_line() {
    let text = "\none\ntwo\n \nthree\n\n\nfour";
    assert_eq!(cut(Cutter::Paragraphs { blank: true }, text), ["\n", "one\ntwo\n \n", "three\n\n", "\n"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, rng_seed: RngSeed::Fixed(11), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn where_units_end_does_not_depend_on_the_pieces_read(text in "[\\[\\]{}\":,;\\\\\n\r\t\" a1]{0,60}", at in any::<prop::sample::Index>()) {
        let (a, b) = text.as_bytes().split_at(at.index(text.len() + 1));
        for cutter in [|| Cutter::Lines, || Cutter::records(b','), Cutter::elements, || Cutter::Paragraphs { blank: true }] {
            prop_assert_eq!(ends(cutter(), &[a, b]), ends(cutter(), &[text.as_bytes()]));
        }
    }
}
