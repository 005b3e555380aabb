//! Asks a person whether something may be done: they see it whole, may edit it, refuse it with a reason, or allow it for the
//! run.

use std::io::Write;

use serde_json::Value;
use tunesmith_harness::text::{visible, visible_lines};

use crate::approvals::{Decision, Proposal};

/// Gives the next line that a person types, without its end; `None` at the end of the input.
pub type Lines<'a> = dyn FnMut() -> Option<String> + 'a;

/// Asks until there is an answer; the end of the input is a no.
pub fn ask(proposal: &Proposal, input: &mut Lines<'_>, output: &mut dyn Write) -> Decision {
    let _ = writeln!(output, "{}", visible(&proposal.what));
    if let Some((tool, args)) = &proposal.call {
        let args = serde_json::to_string_pretty(args).unwrap_or_default();
        let _ = writeln!(output, "{} {}", visible(tool), visible_lines(&args));
    }
    if let Some(flag) = &proposal.flag {
        let _ = writeln!(output, "({} would allow it)", visible(flag));
    }
    let edit = if proposal.call.is_some() { ", e to edit it" } else { "" };
    loop {
        let answer = line(&format!("Do it? y, n{edit}, r for the rest of the run [n] "), input, output);
        match answer.as_deref().map(str::to_lowercase).as_deref() {
            Some("y" | "yes") => return Decision::ONCE,
            Some("r" | "run") => return Decision::Granted { edited: None, for_run: true },
            Some("e" | "edit") if proposal.call.is_some() => {
                if let Some(edited) = edited(input, output) {
                    return Decision::Granted { edited: Some(edited), for_run: false };
                }
            }
            Some("" | "n" | "no") => {
                let reason = line("Why not? The planner is told; empty for no reason: ", input, output);
                return Decision::Refused { reason: reason.filter(|reason| !reason.is_empty()) };
            }
            Some(_) => {}
            None => return Decision::Refused { reason: None },
        }
    }
}

/// Other arguments; `None` goes back to the question.
fn edited(input: &mut Lines<'_>, output: &mut dyn Write) -> Option<Value> {
    loop {
        let text = line("The arguments as one line of JSON; empty to go back: ", input, output)?;
        if text.is_empty() {
            return None;
        }
        match serde_json::from_str::<Value>(&text) {
            Ok(Value::Object(args)) => return Some(Value::Object(args)),
            Ok(_) => drop(writeln!(output, "that is not a JSON object")),
            Err(error) => drop(writeln!(output, "that is not JSON: {error}")),
        }
    }
}

fn line(prompt: &str, input: &mut Lines<'_>, output: &mut dyn Write) -> Option<String> {
    write!(output, "{prompt}").and_then(|()| output.flush()).ok()?;
    input().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tunesmith_harness::event::Capability;

    use super::*;

    fn asked(answers: &str) -> (Decision, String) {
        let proposal = Proposal {
            what: "reach a.test".into(),
            capability: Capability::Network,
            call: Some(("shell".into(), json!({"command": "curl a.test\u{1b}[2J"}))),
            flag: Some("--allow network:a.test".into()),
        };
        let mut output = Vec::new();
        let mut lines = answers.lines().map(str::to_owned);
        let decision = ask(&proposal, &mut || lines.next(), &mut output);
        (decision, String::from_utf8(output).unwrap())
    }

    #[test]
    fn a_person_sees_all_and_may_allow_refuse_or_edit() {
        let (decision, shown) = asked("y\n");
        assert_eq!(decision, Decision::ONCE);
        assert!(shown.starts_with("reach a.test\nshell {\n  \"command\": \"curl a.test"), "{shown}");
        assert!(shown.contains("(--allow network:a.test would allow it)") && !shown.contains('\u{1b}'), "{shown}");
        let granted = |edited, for_run| Decision::Granted { edited, for_run };
        assert_eq!(asked("what?\nR\n").0, granted(None, true));
        let other = json!({"command": "true"});
        let edits = format!("e\n{{\n[1]\n{other}\n");
        assert_eq!(asked(&edits).0, granted(Some(other), false));
        let refused = |reason: Option<&str>| Decision::Refused { reason: reason.map(str::to_owned) };
        assert_eq!(asked("n\nnot that host\n").0, refused(Some("not that host")));
        for silent in ["", "n\n\n", "\n", "e\n", "e\n\nn\n"] {
            assert_eq!(asked(silent).0, refused(None), "{silent:?}");
        }
    }
}
