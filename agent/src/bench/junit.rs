//! Results of a suite as JUnit XML, as CI systems read it.

use std::fmt::Write;

use tunesmith_harness::{task::Outcome, text::visible};

use super::{Results, TaskResult, outcome};

/// The report. A task below its threshold is a failure; one that could not be judged is an error.
pub(super) fn xml(results: &Results) -> String {
    let failed = |task: &&TaskResult| task.outcome == Some(Outcome::NotMet);
    let failures = results.tasks.iter().filter(failed).count();
    let errors = results.tasks.iter().filter(|task| task.exit != 0 && !failed(task)).count();
    let seconds: f64 = results.tasks.iter().map(|task| task.seconds).sum();
    let suite = escaped(&results.suite);
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    let count = results.tasks.len();
    // Writing to a string cannot fail.
    let _ = writeln!(
        xml,
        "  <testsuite name=\"{suite}\" tests=\"{count}\" failures=\"{failures}\" errors=\"{errors}\" time=\"{seconds:.3}\">\n    \
         <properties>\n      <property name=\"planner\" value=\"{}\"/>\n      <property name=\"seed\" value=\"{}\"/>\n      \
         <property name=\"sealed_seed\" value=\"{}\"/>\n    </properties>",
        escaped(&results.planner),
        results.seed,
        results.sealed_seed
    );
    for task in &results.tasks {
        let open =
            format!("    <testcase classname=\"{suite}\" name=\"{}\" time=\"{:.3}\"", escaped(&task.id), task.seconds);
        let _ = match task.exit {
            0 => writeln!(xml, "{open}/>"),
            _ => {
                let kind = if failed(&task) { "failure" } else { "error" };
                let (message, why) = (escaped(&outcome(task)), escaped(&task.why));
                writeln!(xml, "{open}>\n      <{kind} message=\"{message}\">{why}</{kind}>\n    </testcase>")
            }
        };
    }
    xml + "  </testsuite>\n</testsuites>\n"
}

/// Text for content and attributes. XML cannot hold control characters at all, so they are written out first.
fn escaped(text: &str) -> String {
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
