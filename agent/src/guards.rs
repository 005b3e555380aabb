//! Notices when a planner gets nowhere: it talks instead of acting, repeats itself, or cannot write a call.
//!
//! A guard looks at the unbroken streak that ends now, so that progress clears it. Its first two strikes are told to
//! the planner, the third ends the run.

use serde_json::Value;

/// The strike that ends a run.
pub const LAST: u32 = 3;

/// Watches a run.
#[derive(Default)]
pub struct Guards {
    talk: u32,
    malformed: u32,
    same: u32,
    last: Option<(String, Value, String)>,
}

/// A guard that fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strike {
    /// The guard.
    pub guard: &'static str,
    /// How often in a row, from 1.
    pub count: u32,
    /// What it saw.
    pub why: String,
    /// What the planner is told.
    pub note: &'static str,
}

impl Guards {
    /// A turn without a call, with work still open.
    pub fn talked(&mut self) -> Strike {
        self.talk += 1;
        Strike {
            guard: "text_only",
            count: self.talk,
            why: format!("{} turns in a row without a call", self.talk),
            note: "That was text without a tool call, and the work is not finished. Call the next tool now, \
                   or call finish if everything asked for is done.",
        }
    }

    /// A call and its result; `malformed` when its arguments did not fit.
    pub fn called(&mut self, tool: &str, args: &Value, malformed: bool, result: &str) -> Option<Strike> {
        self.talk = 0;
        self.malformed = if malformed { self.malformed + 1 } else { 0 };
        let now = (tool.to_owned(), sorted(args), result.to_owned());
        self.same = if self.last.as_ref() == Some(&now) { self.same + 1 } else { 1 };
        self.last = Some(now);
        // Repetition first: it says more than that the repeated call was also malformed.
        if self.same >= 3 {
            return Some(Strike {
                guard: "repetition",
                count: self.same - 2,
                why: format!("{tool} called {} times in a row with the same arguments and result", self.same),
                note: "You made the same call with the same result again. Change something, or take another way.",
            });
        }
        (self.malformed >= 2).then(|| Strike {
            guard: "malformed_arguments",
            count: self.malformed - 1,
            why: format!("{} calls in a row with arguments that do not fit", self.malformed),
            note: "The arguments were wrong again. Send fewer of them: only the required ones, as plain JSON.",
        })
    }
}

/// The same value with the keys of every object sorted, so that their order makes no difference.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Object(map) => {
            let sorted_map: std::collections::BTreeMap<String, Value> =
                map.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            sorted_map.into_iter().collect()
        }
        other => other.clone(),
    }
}
