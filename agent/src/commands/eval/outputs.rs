//! Files that an evaluation writes beside its own: for pull requests, for people, for CI.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use tunesmith_harness::{
    compare::{self, Row},
    eval::{figure::Figure, render, results::Results},
};

use crate::{
    bench::{
        args::{writable, write},
        junit::escaped,
    },
    commands::usage,
    run::Failure,
};

/// Where results go beside the terminal.
#[derive(Clone, Debug, clap::Args)]
pub struct Outputs {
    /// Write the table as Markdown, for a pull request
    #[arg(long, value_name = "FILE", requires = "tasks")]
    markdown: Option<PathBuf>,
    /// Write a page with plots
    #[arg(long, value_name = "FILE", requires = "tasks")]
    html: Option<PathBuf>,
    /// Write a JUnit XML report
    #[arg(long, value_name = "FILE", requires = "tasks")]
    junit: Option<PathBuf>,
    /// Earlier --out directory of the same tasks; being worse beyond noise is exit code 3
    #[arg(long, value_name = "DIR", requires = "tasks")]
    pub baseline: Option<PathBuf>,
}

impl Outputs {
    /// Finds out before the long run that a file cannot be written or a baseline cannot be read.
    pub fn check(&self) -> Result<(), Failure> {
        for (option, path) in [("--markdown", &self.markdown), ("--html", &self.html), ("--junit", &self.junit)] {
            path.as_deref().map(|path| writable(option, path)).transpose()?;
        }
        match &self.baseline {
            Some(path) => compare::load(path, None).map(drop).map_err(|error| usage(error.to_string())),
            None => Ok(()),
        }
    }

    /// What is worse than the baseline beyond noise; `out` holds the files of this evaluation.
    pub fn regressions(&self, out: &Path) -> Result<Vec<Row>, Failure> {
        let Some(baseline) = &self.baseline else { return Ok(Vec::new()) };
        let wrong = |error: compare::CompareError| usage(error.to_string());
        let (current, baseline) =
            (compare::load(out, None).map_err(wrong)?, compare::load(baseline, None).map_err(wrong)?);
        compare::regressions(&current, &baseline, &compare::Options::default()).map_err(wrong)
    }

    /// Writes the files.
    pub fn write(&self, model: &str, results: &Results, worse: &[Row]) -> Result<(), Failure> {
        let Results { tunesmith: own, .. } = results;
        write(&self.markdown, || render::markdown(&own.figures, &own.notes))?;
        write(&self.html, || render::html(model, &own.figures, &own.notes))?;
        write(&self.junit, || junit(&own.figures, worse))
    }
}

/// One test case for each figure; one that is worse than the baseline has failed.
fn junit(figures: &[Figure], worse: &[Row]) -> String {
    let failed = |figure: &Figure| {
        let same = |row: &&Row| row.task == figure.task && row.metric == figure.metric && row.filter == figure.filter;
        worse.iter().find(same)
    };
    let failures = figures.iter().filter(|figure| failed(figure).is_some()).count();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  \
         <testsuite name=\"eval\" tests=\"{}\" failures=\"{failures}\" errors=\"0\">\n",
        figures.len()
    );
    for figure in figures {
        let name = escaped(&format!("{},{}", figure.metric, figure.filter));
        let shown = escaped(&match figure.shown_interval() {
            Some(interval) => format!("{} ({interval}) on {}", figure.shown(), figure.n),
            None => format!("{} on {}", figure.shown(), figure.n),
        });
        // Writing to a string cannot fail.
        let _ = writeln!(xml, "    <testcase classname=\"{}\" name=\"{name}\">", escaped(&figure.task));
        if let Some(row) = failed(figure) {
            let _ = writeln!(xml, "      <failure message=\"{}\"/>", escaped(&row.why));
        }
        let _ = writeln!(xml, "      <system-out>{shown}</system-out>\n    </testcase>");
    }
    xml + "  </testsuite>\n</testsuites>\n"
}
