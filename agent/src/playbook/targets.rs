//! Figures in a request: scores to reach, the size of what is shipped, the time there is.

use tunesmith_harness::task::Goal;

use super::words::Words;

/// Words up to which a figure's meaning is looked for, before and behind it.
const NEAR: usize = 6;

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
const REACHED: [&str; 12] = [
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
const UNKNOWN: [(&str, &str); 9] = [
    ("precision", "precision"),
    ("recall", "recall"),
    ("auc|auroc|roc", "AUC"),
    ("bleu", "BLEU"),
    ("rouge*", "ROUGE"),
    ("perplexity", "perplexity"),
    ("false positive*|alarm*|negative*", "a rate of false alarms"),
    ("confiden*|sure|certain", "how sure the model is"),
    ("faster|quicker|cheaper", "speed"),
];

/// A figure in the text.
struct Figure {
    value: f64,
    /// The words that it takes.
    from: usize,
    to: usize,
}

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
        let goal = Goal { metric, at_least };
        if !goals.contains(&goal) {
            goals.push(goal);
        }
    }
    (goals, unknown)
}

/// The most bytes of what is shipped; each that is named.
pub fn bytes(words: &Words) -> Vec<u64> {
    const UNITS: [(&str, f64); 6] = [
        ("kb|kilobyte|kilobytes", 1e3),
        ("kib", 1024.0),
        ("mb|megabyte|megabytes|meg|megs", 1e6),
        ("mib", 1048576.0),
        ("gb|gigabyte|gigabytes|gig|gigs", 1e9),
        ("gib", 1073741824.0),
    ];
    const BOUNDS: [&str; 9] = [
        "under|below|within|max|maximum",
        "at most",
        "smaller|less|lighter than",
        "bigger|larger|more|over|heavier than",
        "no|not over",
        "up to",
        "fit|fits in|into|on|within",
        "exceed*",
        "limit of|is",
    ];
    let found = measured(words, &UNITS).into_iter().filter(|figure| {
        let (before, behind) = (before(words, figure.from), behind(words, figure.to));
        let bound = alone(words, figure)
            || BOUNDS.iter().any(|bound| before.last(4).has(bound))
            || behind.first(3).has("max|maximum|limit|tops")
            || behind.first(3).has("or less|smaller|under")
            || behind.first(3).has("at most");
        // Memory of a machine is no size of a file.
        let memory = behind.first(3).has("ram|memory|vram") || before.last(3).has("ram|memory|vram");
        bound && !memory
    });
    let mut found: Vec<u64> = found.map(|figure| figure.value as u64).collect();
    found.dedup();
    found
}

/// The minutes that there are; each that is named.
pub fn minutes(words: &Words) -> Vec<f64> {
    const UNITS: [(&str, f64); 2] = [("minute|minutes|min|mins", 1.0), ("hour|hours|hr|hrs|h", 60.0)];
    const CUES: [&str; 7] = [
        "in|within|under|below|max|maximum|only|budget|limit",
        "at most",
        "less|more|longer|over than",
        "have|got|spend|take|takes|give",
        "up to",
        "budget|limit of|is",
        "done|finish*|ready",
    ];
    let mut found: Vec<f64> = Vec::new();
    for figure in measured(words, &UNITS) {
        let (before, behind) = (before(words, figure.from).last(4), behind(words, figure.to).first(3));
        let cue = alone(words, &figure)
            || CUES.iter().any(|cue| before.has(cue))
            || behind.has("max|maximum|tops|limit|budget|wall|enough|alright")
            || behind.has("at most")
            || behind.has("or less|so")
            || self::behind(words, figure.to).has("alright|fine|okay|ok|enough");
        // Times of what the rows tell about.
        let told = before.has("last|past|previous|every|each|old|per|after|ago")
            || behind.has("ago|old|late|delay*|before|earlier");
        if cue && !told && !found.contains(&figure.value) {
            found.push(figure.value);
        }
    }
    found
}

/// Numbers of parameters, as models are named by: `0.5B`, `135M parameters`, `half a billion parameters`; each with whether
/// it is the most.
pub fn parameters(words: &Words) -> Vec<(u64, bool)> {
    const UNITS: [(&str, f64); 2] = [("b|bn|billion", 1e9), ("m|million", 1e6)];
    const MOST: &str = "under|below|most|max|maximum|smaller|less";
    let of_model = |figure: &Figure| {
        let attached = figure.to - figure.from == 1 && words.word(figure.from).ends_with('b');
        attached || behind(words, figure.to).first(3).has("parameter|parameters|param|params|model|models|base|weights")
    };
    let found = measured(words, &UNITS).into_iter().filter(of_model);
    let mut found: Vec<(u64, bool)> =
        found.map(|figure| (figure.value as u64, before(words, figure.from).last(3).has(MOST))).collect();
    found.dedup();
    found
}

/// Parameters as a base's name states them: `Llama-2-13b-hf`.
pub fn of_name(name: &str) -> Option<u64> {
    let parts = name.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.'));
    let sizes = parts.filter_map(|part| {
        let part = part.to_ascii_lowercase();
        let (number, unit) = part.split_at_checked(part.len().checked_sub(1)?)?;
        let factor = match unit {
            "b" => 1e9,
            "m" => 1e6,
            _ => return None,
        };
        Some((number.parse::<f64>().ok()? * factor) as u64)
    });
    sizes.max()
}

/// Shares of a whole: `90 %`, `0.9`, `nine out of ten`.
fn shares(words: &Words) -> Vec<Figure> {
    let mut found = Vec::new();
    for (at, word) in words.list.iter().enumerate() {
        let Some(value) = number(&word.text) else { continue };
        let next = |n: usize| words.word(at + n);
        let percent = |n: usize| match (next(n), next(n + 1)) {
            ("%" | "percent" | "percents" | "pct", _) => Some(n + 1),
            ("per", "cent") => Some(n + 2),
            _ => None,
        };
        // "9 out of 10", "nine in ten", "9 times out of 10".
        let of = [1, 2].into_iter().find_map(|n| match (next(n), next(n + 1), next(n + 2)) {
            ("out", "of", whole) => Some((number(whole)?, n + 3)),
            ("in", whole, _) if n == 1 => Some((number(whole)?, n + 2)),
            _ => None,
        });
        let figure = if let Some(taken) = percent(1) {
            // Rounded once: 99.9 / 100 is not 0.999.
            let share = format!("{}e-2", word.text).parse().unwrap_or(value / 100.0);
            Some((share, taken))
        } else if let Some((whole, taken)) = of.filter(|(whole, _)| *whole >= 2.0 && value < *whole) {
            Some((rounded(value / whole), taken))
        } else {
            let plain = word.text.contains('.') && word.text.matches('.').count() == 1;
            let unit = next(1).chars().next().is_some_and(|c| c.is_ascii_digit());
            (plain && !unit && value < 1.0).then_some((value, 1))
        };
        if let Some((value, taken)) = figure.filter(|(value, _)| *value > 0.0 && *value <= 1.0) {
            found.push(Figure { value, from: at, to: at + taken });
        }
    }
    found
}

/// Figures with a unit, attached to the number or behind it.
fn measured(words: &Words, units: &[(&str, f64)]) -> Vec<Figure> {
    let unit = |word: &str| {
        let fits = |(names, _): &&(&str, f64)| names.split('|').any(|name| name == word);
        units.iter().find(fits).map(|(_, factor)| *factor)
    };
    let mut found: Vec<Figure> = Vec::new();
    for (at, word) in words.list.iter().enumerate() {
        if found.last().is_some_and(|last| last.to > at) {
            continue;
        }
        let digits = word.text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.text.len());
        let attached = number(&word.text[..digits]).zip(unit(&word.text[digits..])).map(|(n, unit)| (n * unit, 1));
        let figure = attached.or_else(|| {
            let (value, taken) = amount(words, at)?;
            unit(words.word(at + taken)).map(|unit| (value * unit, taken + 1))
        });
        if let Some((value, taken)) = figure.filter(|(value, _)| *value > 0.0) {
            let half = words.word(at + taken) == "and"
                && words.word(at + taken + 1) == "a"
                && words.word(at + taken + 2) == "half";
            let whole = unit(words.word(at + taken - 1)).filter(|_| half);
            let value = value + whole.unwrap_or(0.0) / 2.0;
            found.push(Figure { value, from: at, to: at + taken });
        }
    }
    found
}

/// A number from a word on, and the words it takes: `ten`, `half an`, `a couple of`.
fn amount(words: &Words, at: usize) -> Option<(f64, usize)> {
    let phrase = |n: usize| words.word(at + n);
    match (phrase(0), phrase(1), phrase(2)) {
        ("half", "a" | "an", _) => Some((0.5, 2)),
        ("half", _, _) => Some((0.5, 1)),
        ("quarter", "of", "a" | "an") => Some((0.25, 3)),
        ("couple", "of", _) => Some((2.0, 2)),
        ("a" | "an", _, _) => Some((1.0, 1)),
        (word, _, _) => Some((number(word)?, 1)),
    }
}

/// A number in digits, or a small one in words.
fn number(word: &str) -> Option<f64> {
    const NAMES: [(&str, f64); 24] = [
        ("one", 1.0),
        ("two", 2.0),
        ("three", 3.0),
        ("four", 4.0),
        ("five", 5.0),
        ("six", 6.0),
        ("seven", 7.0),
        ("eight", 8.0),
        ("nine", 9.0),
        ("ten", 10.0),
        ("twelve", 12.0),
        ("fifteen", 15.0),
        ("twenty", 20.0),
        ("thirty", 30.0),
        ("forty", 40.0),
        ("fifty", 50.0),
        ("sixty", 60.0),
        ("seventy", 70.0),
        ("eighty", 80.0),
        ("ninety", 90.0),
        ("nineteen", 19.0),
        ("hundred", 100.0),
        ("eleven", 11.0),
        ("eighteen", 18.0),
    ];
    if word.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return word.parse().ok();
    }
    NAMES.iter().find(|(name, _)| *name == word).map(|(_, value)| *value)
}

fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// Whether a figure is a part of a sentence of its own, as in terse lists: `f1>=.9, 10min, under 20 MB`.
fn alone(words: &Words, figure: &Figure) -> bool {
    let begins = figure.from.checked_sub(1).is_none_or(|at| words.list[at].pauses);
    let ends = words.list.get(figure.to - 1).is_none_or(|word| word.pauses) || figure.to == words.list.len();
    begins && ends
}

/// Words on one side of a figure, in its sentence.
struct Side(Words);

fn side(words: &Words, range: std::ops::Range<usize>) -> Side {
    Side(Words { text: String::new(), list: words.list[range].to_vec() })
}

fn before(words: &Words, at: usize) -> Side {
    let from = (at.saturating_sub(NEAR)..at).rev().take_while(|place| !words.list[*place].ends).last().unwrap_or(at);
    side(words, from..at)
}

fn behind(words: &Words, at: usize) -> Side {
    let end = (at + NEAR).min(words.list.len());
    let over = at.checked_sub(1).is_some_and(|last| words.list[last].ends);
    let stop = (at..end).find(|place| words.list[*place].ends).map_or(end, |place| place + 1);
    side(words, at..if over { at } else { stop })
}

impl Side {
    fn has(&self, pattern: &str) -> bool {
        self.0.has(pattern)
    }

    fn starts(&self, pattern: &str) -> bool {
        self.0.all(pattern).iter().any(|found| found.start == 0)
    }

    fn ends(&self, pattern: &str) -> bool {
        self.0.all(pattern).iter().any(|found| found.end == self.0.list.len())
    }

    fn first(&self, most: usize) -> Side {
        side(&self.0, 0..most.min(self.0.list.len()))
    }

    fn last(&self, most: usize) -> Side {
        let len = self.0.list.len();
        side(&self.0, len.saturating_sub(most)..len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goal(request: &str) -> Vec<(String, f64)> {
        goals(&Words::new(request)).0.into_iter().map(|goal| (goal.metric, goal.at_least)).collect()
    }

    fn one(metric: &str, at_least: f64) -> Vec<(String, f64)> {
        vec![(metric.to_owned(), at_least)]
    }

    #[test]
    fn scores_to_reach_are_read_in_many_words() {
        for (request, want) in [
            ("at least 90 % F1", one("macro_f1", 0.9)),
            ("accuracy over 0.85.", one("accuracy", 0.85)),
            ("f1>=85%", one("macro_f1", 0.85)),
            ("reach accuracy 99.9%. then ship it", one("accuracy", 0.999)),
            ("I need 80% f1", one("macro_f1", 0.8)),
            ("it should be right nine times out of ten", one("accuracy", 0.9)),
            ("it should get at least 9 out of 10 right", one("accuracy", 0.9)),
            ("correct 95 percent of the time", one("accuracy", 0.95)),
            ("no more than 5% mistakes", one("accuracy", 0.95)),
            ("clf msg->team, f1>=.9", one("macro_f1", 0.9)),
            ("ideally at least 85% of the fields correct", one("field_accuracy", 0.85)),
            ("correct in minimum 80 percents", one("accuracy", 0.8)),
            ("60 per cent exactly right would do", one("exact_match", 0.6)),
            ("at least 70 % exactly right", one("exact_match", 0.7)),
            ("valid JSON at least 99 % of the time", one("well_formed", 0.99)),
            ("at least 90 % accuracy and 0.8 F1", vec![("accuracy".into(), 0.9), ("macro_f1".into(), 0.8)]),
        ] {
            assert_eq!(goal(request), want, "{request}");
        }
    }

    #[test]
    fn numbers_that_are_no_score_are_no_goal() {
        for request in [
            "classify tickets collected over 1 year",
            "route these into more than 1 team",
            "what we recover 0.9 of",
            "train it on more than 1.0 rows",
            "train it, overall 0.9 is nice",
            "train a model above 0.5b",
            "train it on at least 200 % of what we have",
            "train it at over 0 %",
            "train it above the 90 percentile, over 90 percentile",
            "train it with over 0.9.1",
            "train it on 80 % of the rows",
        ] {
            assert_eq!(goal(request), vec![], "{request}");
        }
        assert_eq!(goals(&Words::new("at least 90 % recall")), (vec![], vec!["recall"]));
    }

    #[test]
    fn sizes_bound_what_is_shipped() {
        let of = |request| bytes(&Words::new(request));
        assert_eq!(of("under 20 MB"), [20_000_000]);
        assert_eq!(of("f1>=.9, <20MB, 10min"), [20_000_000]);
        assert_eq!(of("no bigger than 50 megabytes"), [50_000_000]);
        assert_eq!(of("it has to fit in 1.5GB"), [1_500_000_000]);
        assert_eq!(of("a file of 10 MiB or less"), [10_485_760]);
        assert!(of("my laptop has 8 GB of RAM, it must fit in 8 GB of memory").is_empty());
        assert!(of("the file has 20 MB of text").is_empty());
    }

    #[test]
    fn times_bound_the_run() {
        let of = |request| minutes(&Words::new(request));
        assert_eq!(of("in 10 minutes"), [10.0]);
        assert_eq!(of("f1>=.9, <20MB, 10min, gguf"), [10.0]);
        assert_eq!(of("20 min wall clock."), [20.0]);
        assert_eq!(of("you have half an hour"), [30.0]);
        assert_eq!(of("don't take longer than an hour and a half"), [90.0]);
        assert_eq!(of("within a quarter of an hour"), [15.0]);
        assert_eq!(of("ready in twenty mins, 20 minutes at most"), [20.0]);
        assert!(of("emails of the last 10 minutes; orders 3 hours late").is_empty());
    }

    #[test]
    fn sizes_of_models_are_parameters() {
        let of = |request| parameters(&Words::new(request));
        assert_eq!(of("something around 0.5B"), [(500_000_000, false)]);
        assert_eq!(
            of("a 135M parameter model, below half a billion parameters"),
            [(135_000_000, false), (500_000_000, true)]
        );
        assert!(of("20M rows").is_empty());
    }
}
