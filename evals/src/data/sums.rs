//! Little stories with one step of arithmetic; the answer shows the step and gives the result after `####`.

use super::Draw;

const THINGS: [&str; 6] = ["beets", "figs", "eggs", "candles", "bolts", "corks"];

const OWNERS: [&str; 6] = ["Mara", "Otto", "Ilse", "Nuno", "Runa", "Bertil"];

pub(super) fn draw() -> Draw {
    Box::new(|rng| {
        let (owner, things) = (*rng.pick(&OWNERS), *rng.pick(&THINGS));
        let (a, b) = (rng.range(2, 9), rng.range(2, 9));
        let sum = a + b;
        let more = *rng.pick(&["buys", "gets", "finds"]);
        let less = *rng.pick(&["drops", "eats", "sells"]);
        let (text, step, result) = match rng.below(4) {
            0 => (format!("{owner} has {a} {things}, then {more} {b}."), format!("{a} + {b}"), sum),
            1 => (format!("{a} {things} here, {b} with {owner}."), format!("{a} + {b}"), sum),
            2 => (format!("{owner} has {sum} {things}, then {less} {b}."), format!("{sum} - {b}"), a),
            _ => (format!("{sum} {things} less {b} for {owner}."), format!("{sum} - {b}"), a),
        };
        (text, format!("{step} = {result} {things} #### {result}"))
    })
}

#[cfg(test)]
mod tests {
    use tunesmith_lm::corpus::rng::Rng;

    use super::*;

    #[test]
    fn the_result_is_that_of_the_step_and_its_numbers_are_in_the_story() {
        let (mut draw, mut rng) = (draw(), Rng::new(6));
        for _ in 0..500 {
            let (text, answer) = draw(&mut rng);
            let words: Vec<&str> = answer.split(' ').collect();
            let [a, sign, b, "=", result, things, "####", last] = words[..] else { panic!("{answer:?}") };
            let number = |word: &str| word.parse::<i64>().unwrap();
            let expected = if sign == "+" { number(a) + number(b) } else { number(a) - number(b) };
            assert_eq!((number(result), last), (expected, result), "{answer:?}");
            let told: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).collect();
            assert!([a, b, things].iter().all(|word| told.contains(word)), "{text:?} {answer:?}");
        }
    }
}
