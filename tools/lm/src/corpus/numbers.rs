//! Arithmetic in digits and words, comparisons, dates and small word problems.

use super::{Doc, Words, capital, rng::Rng, service::user};

type Maker = fn(&Words, &mut Rng, usize) -> (String, &'static str, String);

const MAKERS: [Maker; 5] = [sum, spell, compare, date, problem];

/// A few questions of one kind in one chat.
pub(super) fn doc(words: &Words, rng: &mut Rng) -> Doc {
    let make = *rng.pick(&MAKERS);
    let kind = rng.below(60);
    let mut turns = Vec::new();
    for _ in 0..rng.range(1, 5) {
        let (text, cue, answer) = make(words, rng, kind);
        turns.push(user(&text, cue));
        turns.push(("assistant", answer));
    }
    Doc::Chat(turns)
}

const ONES: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

/// A number below a thousand in words.
pub(super) fn in_words(n: usize) -> String {
    match n {
        0..20 => ONES[n].to_owned(),
        20..100 if n.is_multiple_of(10) => TENS[n / 10].to_owned(),
        20..100 => format!("{}-{}", TENS[n / 10], ONES[n % 10]),
        100..1000 if n.is_multiple_of(100) => format!("{} hundred", ONES[n / 100]),
        100..1000 => format!("{} hundred and {}", ONES[n / 100], in_words(n % 100)),
        _ => n.to_string(),
    }
}

/// Mostly small numbers, at most three digits.
fn number(rng: &mut Rng) -> usize {
    match rng.below(10) {
        0..5 => rng.below(13),
        5..8 => rng.below(100),
        _ => rng.below(1000),
    }
}

fn sum(_: &Words, rng: &mut Rng, kind: usize) -> (String, &'static str, String) {
    let (a, b) = (number(rng), number(rng));
    let (high, low) = (a.max(b), a.min(b));
    let cue = ["", "Answer:", "Result:"][kind % 3];
    match (kind / 3) % 6 {
        0 => (format!("{a} + {b} ="), cue, (a + b).to_string()),
        1 => (format!("{high} - {low} ="), cue, (high - low).to_string()),
        2 => {
            let (a, b) = (rng.below(13), rng.below(13));
            (format!("{a} * {b} ="), cue, (a * b).to_string())
        }
        3 => {
            let (a, b) = (rng.range(1, 12), rng.range(1, 12));
            (format!("{} / {a} =", a * b), cue, b.to_string())
        }
        4 => {
            let (a, b) = (rng.below(40), rng.below(40));
            (format!("{} plus {}", in_words(a), in_words(b)), cue, in_words(a + b))
        }
        _ => (format!("What is {high} minus {low}?"), cue, (high - low).to_string()),
    }
}

fn spell(_: &Words, rng: &mut Rng, kind: usize) -> (String, &'static str, String) {
    let n = number(rng);
    match kind % 4 {
        0 => (n.to_string(), "In words:", in_words(n)),
        1 => (in_words(n), "In digits:", n.to_string()),
        2 => (n.to_string(), "Next number:", (n + 1).to_string()),
        _ => (n.to_string(), "Odd or even?", if n.is_multiple_of(2) { "even" } else { "odd" }.to_owned()),
    }
}

fn compare(_: &Words, rng: &mut Rng, kind: usize) -> (String, &'static str, String) {
    let (a, mut b) = (number(rng), number(rng));
    if a == b {
        b += 1;
    }
    match kind % 4 {
        0 => (format!("{a}, {b}"), "Which is bigger?", a.max(b).to_string()),
        1 => (format!("{a}, {b}"), "Which is smaller?", a.min(b).to_string()),
        2 => (format!("Is {a} more than {b}?"), "", if a > b { "yes" } else { "no" }.to_owned()),
        _ => {
            let mut list: Vec<usize> = (0..rng.range(3, 6)).map(|_| number(rng)).collect();
            let show = |l: &[usize]| l.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            let text = show(&list);
            list.sort_unstable();
            (text, "Sort the numbers:", show(&list))
        }
    }
}

fn date(words: &Words, rng: &mut Rng, kind: usize) -> (String, &'static str, String) {
    let months = words.slot("month");
    let (year, index, day) = (rng.range(1950, 2035), rng.below(12), rng.range(1, 28));
    let month = months.get(index).cloned().unwrap_or_default();
    let iso = format!("{year}-{:02}-{day:02}", index + 1);
    let long = format!("{day} {month} {year}");
    let slashed = format!("{day:02}/{:02}/{year}", index + 1);
    match kind % 6 {
        0 => (iso, "Long date:", long),
        1 => (long, "ISO date:", iso),
        2 => (slashed, "Date in words:", long),
        3 => (iso, "Which month?", month),
        4 => (iso, "As day/month/year:", slashed),
        _ => (long, "Which year?", year.to_string()),
    }
}

/// Little stories with numbers, in one or two steps.
fn problem(words: &Words, rng: &mut Rng, kind: usize) -> (String, &'static str, String) {
    let name = rng.pick(words.slot("name")).clone();
    let things = rng.pick(words.slot("items")).clone();
    let (a, b) = (rng.range(5, 40), rng.range(1, 20));
    let low = b.min(a - 1);
    let few = rng.range(2, 9);
    let with_steps = kind.is_multiple_of(2);
    let (text, steps, result) = match rng.below(5) {
        0 => (
            format!("{name} has {a} {things} and finds {b} more. How many {things} are there now?"),
            format!("{a} + {b} = {}", a + b),
            a + b,
        ),
        1 => (
            format!("A shop has {a} {things}. It sells {low}. How many are left?"),
            format!("{a} - {low} = {}", a - low),
            a - low,
        ),
        2 => (
            format!("There are {few} shelves with {b} {things} on each. How many {things} is that?"),
            format!("{few} * {b} = {}", few * b),
            few * b,
        ),
        3 => (
            format!("{name} shares {} {things} among {few} friends. How many does each friend get?", few * b),
            format!("{} / {few} = {b}", few * b),
            b,
        ),
        _ => (
            format!(
                "{} {things} stand in {few} rows of {b}, then {a} more come. How many are there?",
                capital(&in_words(few * b))
            ),
            format!("{few} * {b} = {}; {} + {a} = {}", few * b, few * b, few * b + a),
            few * b + a,
        ),
    };
    (
        text,
        if with_steps { "" } else { "Answer:" },
        if with_steps { format!("{steps}. So {result}.") } else { result.to_string() },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_names() {
        let names: Vec<String> = [0, 13, 20, 42, 100, 305, 999].iter().map(|&n| in_words(n)).collect();
        let want = ["zero", "thirteen", "twenty", "forty-two", "one hundred", "three hundred and five"];
        assert_eq!(names[..6], want);
        assert_eq!(names[6], "nine hundred and ninety-nine");
    }
}
