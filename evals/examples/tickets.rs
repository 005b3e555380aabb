//! Prints `evals/data/tickets.csv`.

fn main() {
    print!("{}", tunesmith_evals::data::tickets::csv());
}
