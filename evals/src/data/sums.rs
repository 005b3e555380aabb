//! Little stories with two steps of arithmetic; the answer shows the steps and gives the result after `####`.

use super::Draw;

const CRATES: [&str; 10] =
    ["beets", "figs", "eggs", "quinces", "candles", "bolts", "buttons", "corks", "marbles", "walnuts"];

const OWNERS: [&str; 10] = ["Mara", "Otto", "Ilse", "Nuno", "Runa", "Bertil", "Saskia", "Piet", "Edda", "Henk"];

pub(super) fn draw() -> Draw {
    Box::new(|rng| {
        let (owner, things) = (*rng.pick(&OWNERS), *rng.pick(&CRATES));
        let (a, b) = (rng.range(2, 9), rng.range(2, 9));
        let sum = a + b;
        let less = rng.range(1, 5.min(sum - 1));
        let (text, second, result) = match rng.below(4) {
            0 => (
                format!("{owner} has {a} {things}, buys {b} and drops {less}. How many are left?"),
                format!("{sum} - {less}"),
                sum - less,
            ),
            1 => (
                format!("A sack with {a} {things} and a sack with {b}. {owner} takes {less}. What remains?"),
                format!("{sum} - {less}"),
                sum - less,
            ),
            2 => (
                format!("{owner} packs {a} {things} at dawn, {b} at noon and {less} at dusk. How many in all?"),
                format!("{sum} + {less}"),
                sum + less,
            ),
            _ => (
                format!("There are {a} {things} here, {b} there and {less} with {owner}. How many is that?"),
                format!("{sum} + {less}"),
                sum + less,
            ),
        };
        (text, format!("{a} + {b} = {sum}, {second} = {result} #### {result}"))
    })
}
