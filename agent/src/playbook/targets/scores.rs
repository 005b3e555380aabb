//! Scores that a request wants reached.

use tunesmith_harness::task::Goal;

use super::figures::{before, behind, number, rounded, shares};
use crate::playbook::words::Words;

/// Words before a score that make it one to reach.
const REACH: [&str; 16] = [
    "at least",
    "over",
    "above",
    "minimum of",
    "better than",
    "more than",
    "reach|reaches|reaching",
    "achiev*",
    "hit|hits",
    "get|gets to|it|above|past|over",
    "accuracy|accurate|correct|right",
    "f1",
    "accuracy|f1|score|rate of",
    "need|want|expect*",
    "aim for|at",
    "least|minimum",
];
/// Words behind a score that make it one to reach.
const REACHED: [&str; 13] = [
    "accura*",
    "f1",
    "macro",
    "correct*",
    "exact match*",
    "right",
    "exactly right|correct",
    "of the time",
    "of the|all cases",
    "or better|more|higher|above",
    "points|point better|higher|more",
    "success*",
    "minimum",
];
/// Words before and behind a share that bound how much may be wrong.
const MOST: [&str; 6] = ["at most", "less|fewer than", "under|below", "more|worse than", "max|maximum", "only"];
const WRONG: &str = "wrong|mistake|mistakes|error|errors|incorrect|misses|missed|misrouted|misclassified|fail|failures";

/// Metrics by the words that mean them.
const METRICS: [(&str, &str); 6] = [
    ("accura*", "accuracy"),
    ("f1", "macro_f1"),
    ("fields", "field_accuracy"),
    ("exact|exactly match|matches|right|same|correct", "exact_match"),
    ("valid|wellformed|parses|parse|parseable", "well_formed"),
    ("points|point better|higher|gain|improvement|more", "gain"),
];

/// Measures that nothing here computes, which a figure may be asked of.
const UNKNOWN: [(&str, &str); 8] = [
    ("precision", "precision"),
    ("recall", "recall"),
    ("auc|auroc|roc", "AUC"),
    ("bleu", "BLEU"),
    ("rouge*", "ROUGE"),
    ("false positive*|alarm*|negative*", "a rate of false alarms"),
    ("confiden*|sure|certain", "how sure the model is"),
    ("faster|quicker|cheaper", "speed"),
];

/// Losses of raw text, of which less is better, by the words that mean them.
const LOSSES: [(&str, &str); 3] =
    [("perplexity", "perplexity"), ("bits per byte", "bits_per_byte"), ("bpb", "bits_per_byte")];
/// The largest loss that anybody asks for.
const MOST_LOSS: f64 = 1e6;

/// What is to be reached, each once, and the measures that nothing here computes.
pub fn goals(words: &Words) -> (Vec<Goal>, Vec<&'static str>) {
    let (mut goals, mut unknown): (Vec<Goal>, Vec<&'static str>) = Default::default();
    for figure in shares(words) {
        let (before, behind) = (before(words, figure.from), behind(words, figure.to));
        let wrong =
            behind.has(WRONG) && MOST.iter().any(|most| before.has(most)) || before.has("error|mistake rate|share");
        let near = REACH.iter().any(|word| before.ends(word));
        let reach = near || REACHED.iter().any(|word| behind.starts(word));
        if !wrong && !reach {
            continue;
        }
        if let Some((_, what)) = UNKNOWN.iter().find(|(word, _)| before.last(3).has(word) || behind.first(3).has(word))
        {
            unknown.push(*what);
            continue;
        }
        // The word that stands nearest says what is meant.
        let (last, first) = (before.last(4), behind.first(4));
        let distance = |word: &str| {
            let gaps = last.0.all(word).into_iter().map(|found| 2 * (last.0.list.len() - found.end));
            gaps.chain(first.0.all(word).into_iter().map(|found| 2 * found.start + 1)).min()
        };
        let named = METRICS.iter().filter_map(|(word, metric)| Some((distance(word)?, *metric)));
        let metric = named.min().map_or("accuracy", |(_, metric)| metric).to_owned();
        let at_least = if wrong { rounded(1.0 - figure.value) } else { figure.value };
        let goal = Goal::at_least(metric, at_least);
        if !goals.contains(&goal) {
            goals.push(goal);
        }
    }
    goals.extend(losses(words));
    (goals, unknown)
}

/// Losses that raw text shall not pass: "a perplexity below 20", "under 1.5 bits per byte".
fn losses(words: &Words) -> Vec<Goal> {
    let mut goals: Vec<Goal> = Vec::new();
    for (word, metric) in LOSSES {
        for found in words.all(word).into_iter().filter(|found| !words.is_denied(found.start)) {
            let value = |at: usize| number(words.word(at)).filter(|value| *value > 0.0 && *value <= MOST_LOSS);
            let ends = |at: usize| words.list.get(at).is_none_or(|word| word.ends);
            let ahead = (found.end..found.end + 5).take_while(|at| !ends(at.saturating_sub(1))).find_map(value);
            let back = found.start.checked_sub(1).filter(|at| !ends(*at)).and_then(value);
            goals.extend(back.or(ahead).map(|value| Goal::at_most(metric, value)).filter(|goal| !goals.contains(goal)));
        }
    }
    goals
}
