#![allow(clippy::unwrap_used)]

use std::time::Instant;

use proptest::prelude::*;

use super::{
    super::join::{Links, Sets},
    *,
};
use crate::samples::{self, Random};

const WORDS: &[&str] =
    &["card", "money", "transfer", "please", "bank", "lost", "why", "account", "pin", "cash", "a", "my"];

/// `texts` and more of them: new combinations of their halves, and every fifth with up to three words changed.
fn varied(texts: &[String], count: usize) -> Vec<String> {
    let mut random = Random(7);
    let mut out = texts[..texts.len().min(count)].to_vec();
    while out.len() < count {
        let mut words: Vec<&str> = texts[random.below(texts.len())].split(' ').collect();
        if random.below(5) == 0 {
            for _ in 0..=random.below(3) {
                let (at, word) = (random.below(words.len()), WORDS[random.below(WORDS.len())]);
                if random.below(2) == 0 { words[at] = word } else { words.insert(at, word) }
            }
        } else {
            let other: Vec<&str> = texts[random.below(texts.len())].split(' ').collect();
            words.truncate(words.len() / 2 + 1);
            words.extend(&other[other.len() / 2..]);
        }
        out.push(words.join(" "));
    }
    out
}

fn made(count: usize) -> Vec<String> {
    let mut random = Random(1);
    let mut text = || -> Vec<&str> { (0..6 + random.below(10)).map(|_| WORDS[random.below(WORDS.len())]).collect() };
    varied(&(0..count / 5).map(|_| text().join(" ")).collect::<Vec<_>>(), count)
}

/// Eight sentences with a city, a thing and a number: thousands of rows of one likeness, just below and above the threshold.
fn templated(count: usize) -> Vec<String> {
    const SENTENCES: [&str; 8] = [
        "Hi, my order {n} of a {p} has not arrived in {c} yet, can you check where it is?",
        "I bought a {p} in {c} last week and it broke, order {n}, I want my money back.",
        "Please cancel order {n}: the {p} is no longer needed, I have moved from {c}.",
        "The {p} that I got in {c} is the wrong colour, the order number is {n}.",
        "How long does delivery of a {p} to {c} take? My order is {n}.",
        "Your courier in {c} left the {p} with a neighbour I do not know, order {n}.",
        "I was charged twice for the {p} ({n}), my bank in {c} says so too.",
        "Can I change the address of order {n} to {c}? It is a {p}.",
    ];
    const THINGS: [&str; 8] = ["blender", "lamp", "kettle", "chair", "phone case", "toaster", "desk", "mirror"];
    const CITIES: [&str; 8] = ["Leeds", "York", "Boston", "Austin", "Dublin", "Perth", "Oslo", "Turin"];
    let mut random = Random(3);
    (0..count)
        .map(|_| {
            let sentence = SENTENCES[random.below(8)].replace("{n}", &format!("{:06}", random.below(1_000_000)));
            sentence.replace("{p}", THINGS[random.below(8)]).replace("{c}", CITIES[random.below(8)])
        })
        .collect()
}

fn near(likeness: f64) -> Near {
    Near::new(Jaccard::new(likeness).unwrap(), 0)
}

struct All(Vec<(usize, usize)>);

impl Links for All {
    fn wants(&mut self, _: usize, _: usize) -> bool {
        true
    }

    fn link(&mut self, a: usize, b: usize) {
        self.0.push((a.min(b), a.max(b)));
    }
}

/// Of the texts that are like one that was kept, the share that was found, by comparing all of them exactly.
fn recall(texts: &[String], likeness: f64) -> f64 {
    let found = near(likeness).add_all(texts);
    let normal: Vec<String> = texts.iter().map(|text| normalise(text)).collect();
    let docs: Vec<&[String]> = normal.iter().map(std::slice::from_ref).collect();
    let mut pairs = All(Vec::new());
    let everyone: Vec<usize> = (0..texts.len()).collect();
    Sets::of(&docs).join(&everyone, Jaccard::new(likeness).unwrap(), &mut pairs);
    let mut missed: Vec<usize> =
        pairs.0.iter().filter(|(a, b)| found[*a].is_none() && found[*b].is_none()).map(|(_, b)| *b).collect();
    missed.sort_unstable();
    missed.dedup();
    let found = found.iter().flatten().count();
    found as f64 / (found + missed.len()) as f64
}

fn jaccard(a: &str, b: &str) -> f64 {
    let [a, b] = [a, b].map(|text| set(&normalise(text)).into_iter().collect::<std::collections::BTreeSet<u64>>());
    let shared = a.intersection(&b).count();
    shared as f64 / (a.len() + b.len() - shared) as f64
}

#[test]
fn rows_are_told_apart_by_what_they_say() {
    let texts = [
        "I still have not received my new card, I ordered it over a week ago.",
        "How do I locate my card?",
        "i still have not received my new card!! i ordered it over a  week ago",
        "I still have not received my new card. I had ordered it over a week ago.",
        "How do I find my card?",
        "",
        "...",
        " ",
        "???",
    ];
    let mut near = near(0.8);
    let got = near.add_all(&texts);
    assert_eq!(got, [None, None, Some(0), Some(0), None, None, None, Some(5), None]);
    assert_eq!(near.kept(), 6);
    assert_eq!([near.find("HOW do I locate my card"), near.find("where is it")], [Some(1), None]);
}

#[test]
fn bands_find_all_but_one_in_fifty_at_the_threshold() {
    assert_eq!([0.5, 0.6, 0.7, 0.8, 0.9, 1.0].map(shape), [(30, 3), (29, 4), (22, 5), (17, 7), (11, 11), (1, 128)]);
    for thousandth in 500..=1000 {
        let likeness = f64::from(thousandth) / 1000.0;
        let (bands, rows) = shape(likeness);
        let found = 1.0 - (1.0 - likeness.powi(rows as i32)).powi(bands as i32);
        assert!(found >= 1.0 - MISSED - 1e-12 && bands * rows <= MINIMA, "{likeness}: {found}");
    }
    assert_eq!([Jaccard::new(0.49), Jaccard::new(1.01), Jaccard::new(f64::NAN)], [None; 3]);
}

#[test]
fn nearly_all_of_what_exact_comparison_finds_is_found() {
    for (texts, likeness) in [(made(3000), 0.8), (made(3000), 0.6), (templated(2000), 0.8), (templated(1500), 0.7)] {
        let recall = recall(&texts, likeness);
        assert!(recall >= 0.97, "{likeness}: {recall}");
    }
}

#[test]
fn the_number_of_cores_and_of_texts_at_once_changes_nothing() {
    let mut texts = made(BLOCK + 2000);
    texts[77] = "long ".repeat(BLOCK_BYTES / 4);
    let mut one = near(0.8);
    let want: Vec<Option<usize>> = texts.iter().map(|text| one.add(text)).collect();
    assert!(want.iter().flatten().count() > 100);
    for (threads, at_once) in [(1, 7000), (3, 7000), (2, 999)] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut near = near(0.8);
        let got = pool.install(|| texts.chunks(at_once).flat_map(|texts| near.add_all(texts)).collect::<Vec<_>>());
        assert_eq!(got, want);
    }
}

#[test]
fn a_crowd_of_nearly_like_texts_makes_no_search_long() {
    let texts: Vec<String> = (0..2000).map(|n| format!("{} {n}", WORDS.repeat(3).join(" "))).collect();
    let mut near = near(0.8);
    for (number, text) in texts.iter().enumerate() {
        // Kept although they are alike, as texts just below the threshold would be.
        let sketch = near.sketch(text);
        near.keep(&sketch, number as u32);
    }
    let met: Vec<Vec<u32>> =
        texts.iter().map(|text| near.candidates(&near.sketch(text).bands, 0..texts.len())).collect();
    let most = met.iter().map(Vec::len).max().unwrap();
    assert!((CROWD..=near.width * CROWD).contains(&most), "{most}");
    assert!(near.used < texts.len() * near.width / 2, "{}", near.used);
    // Equal texts meet in any crowd.
    assert!(met.iter().zip(0..).all(|(met, place)| met.contains(&place)));
}

#[test]
fn what_is_held_is_bounded_for_each_text() {
    let texts = made(20_000);
    let mut near = near(0.8);
    near.add_all(&texts);
    let text = texts.iter().map(String::len).sum::<usize>() / texts.len();
    let each = near.memory() / near.kept();
    assert!(each <= 18 * 21 + 2 * (48 + text), "{each}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60, rng_seed: proptest::test_runner::RngSeed::Fixed(5), failure_persistence: None, ..Default::default()
    })]

    #[test]
    fn nothing_is_left_out_that_is_not_like_something_kept(
        texts in prop::collection::vec("[ab\u{1F600}]{0,2}(card|lost| my|é){0,9}[abc]{0,2}", 2..40),
        likeness in prop::sample::select(vec![0.5, 0.75, 0.8, 1.0]),
        seed in any::<u64>(),
    ) {
        let mut near = Near::new(Jaccard::new(likeness).unwrap(), seed);
        let found = near.add_all(&texts);
        for (number, like) in found.iter().enumerate() {
            if let Some(like) = like {
                prop_assert!(*like < number && found[*like].is_none());
                prop_assert!(jaccard(&texts[*like], &texts[number]) >= likeness);
            }
        }
        // Equal texts have equal sketches, whatever the seed.
        prop_assert_eq!(near.add_all(&texts).iter().flatten().count(), texts.len());
    }
}

/// The sentences of real texts, where they are.
fn real() -> Option<Vec<String>> {
    let files = ["banking77/train.csv", "gsm8k/train.jsonl"].map(samples::rows);
    let rows = files.into_iter().collect::<Option<Vec<_>>>()?.concat();
    let texts = rows.iter().filter_map(|row| row.values().next()?.as_str());
    let sentences = texts.flat_map(|text| text.split(". ")).filter(|text| text.len() >= 30);
    Some(sentences.map(str::to_owned).collect())
}

#[test]
fn nearly_all_of_what_exact_comparison_finds_in_real_texts_is_found() {
    let Some(texts) = real() else { return };
    let recall = recall(&texts[..12_000], 0.8);
    assert!(recall >= 0.97, "{recall}");
}

#[test]
#[ignore = "a million rows"]
fn soak_a_million_short_rows() {
    let mut kinds = vec![("made of templates", templated(1_000_000))];
    kinds.extend(real().map(|texts| ("real and varied", varied(&texts, 1_000_000))));
    for (kind, texts) in kinds {
        let start = Instant::now();
        let mut near = near(0.8);
        let found = near.add_all(&texts).iter().flatten().count();
        let seconds = start.elapsed().as_secs_f64();
        let recall = recall(&texts[..50_000], 0.8);
        println!(
            "{kind}: {} rows in {seconds:.1} s (wanted: 60), {found} left out, {} kept in {} MB, recall of the first 50,000 \
             {recall:.4} (wanted: 0.95)",
            texts.len(),
            near.kept(),
            near.memory() / 1_000_000,
        );
        assert!(recall >= 0.95);
    }
}
