//! GPQA: three wrong answers and the right one, shuffled.
//!
//! lm-eval shuffles with the generator of Python's `random` module, which it seeds with 0 before it builds its tasks, and
//! keeps the shuffled rows in the cache of `datasets`. So all ports begin with that seed: this is what lm-eval gives for one
//! such task alone and an empty cache. Where several of these tasks are asked for at once, lm-eval goes on with the state in
//! which the one before left the generator, and the choices of all but the first stand in another order than here.
//!
//! `gpqa_*_n_shot` has no port: its own generator goes on from one reading of the rows to the next, so that lm-eval 0.4.13
//! asks about one order of the choices and scores the answer against another.

use serde_json::Value;

use super::{column, map, without_brackets};
use crate::eval::{
    functions::{Native, Port},
    python::{random::Random, repr::str_of, strings},
    request::Doc,
};

const PLAIN: (&str, &str) = ("preprocess", "7fa838b1334927d68f31b5842221fc757a6938fd7bf5152b941c523ae9b3e3b1");
const BRACKETS: (&str, &str) = ("preprocess", "a9f595beaedb70aa69fcaef011f98545f560a9f82d5487a79f8aa6ef75ad487f");
const SHUFFLE: (&str, &str) = ("random", "7e18ed429647e8cb5bad80cc3f560145c21e332c8c8733f8416d89ded1ac49bd");

pub(super) const PORTS: &[Native] = &[
    Native {
        name: "process_docs",
        sha256: "52d735859472c0a51faf583be71fcda023c6422b4a96dd7421012b84d9dcaa1e",
        helpers: &[PLAIN, SHUFFLE],
        port: Port::Docs(|docs| shuffled(docs, plain, false)),
    },
    Native {
        name: "process_docs",
        sha256: "52d735859472c0a51faf583be71fcda023c6422b4a96dd7421012b84d9dcaa1e",
        helpers: &[BRACKETS, SHUFFLE],
        port: Port::Docs(|docs| shuffled(docs, bracketless, false)),
    },
    Native {
        name: "process_docs",
        sha256: "1f7fa2b933f648ce86a903b766a4392dceaaa1e2a54afee6425ef192a971900e",
        helpers: &[PLAIN, SHUFFLE],
        port: Port::Docs(|docs| shuffled(docs, plain, true)),
    },
];

/// With `list`, the choices are also a column of their own.
fn shuffled(docs: Vec<Doc>, clean: fn(&str) -> String, list: bool) -> Result<Vec<Doc>, String> {
    let mut random = Random::new(0);
    map(docs, |doc| {
        let names = ["Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3", "Correct Answer"];
        let mut choices = Vec::new();
        for name in names {
            choices.push(match column(doc, name)? {
                Value::Null => " ".to_owned(),
                Value::String(text) => clean(text),
                other => return Err(format!("`{name}` must be a text, not {}", str_of(other.clone()))),
            });
        }
        let right = choices[3].clone();
        random.shuffle(&mut choices);
        // A wrong answer with the same text counts, if it comes first.
        let letter = ["A", "B", "C", "D"].into_iter().zip(&choices).find(|(_, choice)| **choice == right);
        for (at, choice) in choices.iter().enumerate() {
            doc.insert(format!("choice{}", at + 1), choice.as_str().into());
        }
        let letter = letter.map(|(letter, _)| format!("({letter})"));
        if list {
            doc.insert("choices".into(), choices.into());
        }
        doc.insert("answer".into(), letter.into());
        Ok(())
    })
}

fn plain(text: &str) -> String {
    strings::strip(text).replace(" [title]", ". ").replace("  ", " ")
}

fn bracketless(text: &str) -> String {
    without_brackets(&strings::strip(text).replace(" [title]", ". ")).replace("  ", " ")
}
