//! Results of a suite as JUnit XML, as CI systems read it.

use std::fmt::Write;

use tunesmith_harness::{task::Outcome, text::visible};

use super::{
    baseline::{Compared, Row, Verdict},
    board::{self, COLUMNS},
    results::{Results, TaskResult},
};

/// The report. A task below its threshold, or worse than the baseline, is a failure; one that could not be judged is an
/// error.
pub(super) fn xml(results: &Results, compared: Option<&Compared>) -> String {
    let cases: Vec<Case> = results.tasks.iter().map(|task| Case::of(results, task, compared)).collect();
    let count = |kind: &str| cases.iter().filter(|case| case.problem.as_ref().is_some_and(|p| p.kind == kind)).count();
    let (failures, errors) = (count("failure"), count("error"));
    let (suite, tests) = (escaped(&results.suite), cases.len());
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    // Writing to a string cannot fail.
    let _ = writeln!(
        xml,
        "  <testsuite name=\"{suite}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" time=\"{:.3}\">",
        results.total.seconds
    );
    let of_suite = [
        ("planner", results.planner.clone()),
        ("seed", results.seed.to_string()),
        ("sealed_seed", results.sealed_seed.to_string()),
    ];
    properties(&mut xml, "    ", of_suite.iter().map(|(name, value)| (*name, value.as_str())));
    for case in cases {
        let (name, seconds) = (escaped(&case.name), case.seconds);
        let _ = writeln!(xml, "    <testcase classname=\"{suite}\" name=\"{name}\" time=\"{seconds:.3}\">");
        let cells = COLUMNS.iter().zip(&case.cells).map(|((name, _), cell)| (*name, cell.as_str()));
        properties(&mut xml, "      ", cells);
        if let Some(Problem { kind, message, text }) = case.problem {
            let (message, text) = (escaped(&message), escaped(&text));
            let _ = writeln!(xml, "      <{kind} message=\"{message}\">{text}</{kind}>");
        }
        xml.push_str("    </testcase>\n");
    }
    xml + "  </testsuite>\n</testsuites>\n"
}

/// One run.
struct Case {
    name: String,
    seconds: f64,
    cells: Vec<String>,
    problem: Option<Problem>,
}

/// What is wrong with a run.
struct Problem {
    kind: &'static str,
    message: String,
    text: String,
}

impl Case {
    fn of(results: &Results, task: &TaskResult, compared: Option<&Compared>) -> Case {
        let worse = compared
            .and_then(|compared| compared.tasks.iter().find(|row| row.id == task.id))
            .filter(|row| matches!(row.verdict, Verdict::Worse | Verdict::Missing))
            .and_then(Row::line);
        let problem = match (task.exit, worse) {
            (0, None) => None,
            (0, Some(line)) => {
                Some(Problem { kind: "failure", message: "worse than the baseline".to_owned(), text: line })
            }
            (_, line) => Some(Problem {
                kind: if task.outcome == Some(Outcome::NotMet) { "failure" } else { "error" },
                message: task.ended(),
                text: [Some(task.why.clone()), line].into_iter().flatten().collect::<Vec<_>>().join("; "),
            }),
        };
        let (name, cells) = (board::name(results, task), board::cells(results, task));
        Case { name, seconds: task.seconds, cells, problem }
    }
}

fn properties<'a>(xml: &mut String, indent: &str, of: impl Iterator<Item = (&'a str, &'a str)>) {
    let _ = writeln!(xml, "{indent}<properties>");
    for (name, value) in of {
        let _ = writeln!(xml, "{indent}  <property name=\"{}\" value=\"{}\"/>", escaped(name), escaped(value));
    }
    let _ = writeln!(xml, "{indent}</properties>");
}

/// Text for content and attributes. XML cannot hold control characters at all, so they are written out first.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in visible(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
