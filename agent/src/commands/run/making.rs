//! Rows that a request wants made up: written by a model before the run begins, because only rows that are there can be
//! sealed.

use std::path::{Path, PathBuf};

use serde::Serialize;
use tunesmith_harness::{event::Cost, figures::counted, hash::sha256, text::visible};
use tunesmith_sandbox::Cancel;
use tunesmith_tools::{
    data_make::{
        self, Made, Order,
        intake::Intake,
        preview::{Preview, preview},
        purse::Limits,
        spec::Spec,
        write::{JOURNAL, MANIFEST, Manifest, ROWS},
    },
    files::read_small,
};

use super::wished::{self, consent};
use crate::{
    commands::{
        data::{
            make::previewed,
            teacher::{Named, ask, named, open},
        },
        require::Require,
        work::{Bench, failure},
    },
    playbook::request::Wanted,
    run::{Ahead, Failure, Options, Watch, in_time},
    terminal::Terminal,
};

/// Bytes of the largest manifest that is read.
const LARGEST: u64 = 16 << 20;

/// Rows that are to be made up.
pub struct Unmade {
    spec: Spec,
    /// Where they are made: the directory is named by what is asked, and whom, so that the same rows are made once.
    out: PathBuf,
    teacher: Named,
}

/// What is to be made up, for people and programs.
#[derive(Serialize)]
pub struct Planned {
    to_make: ToMake,
}

#[derive(Serialize)]
struct ToMake {
    /// Who would be asked.
    by: String,
    /// The columns.
    columns: Vec<String>,
    #[serde(flatten)]
    preview: Preview,
}

impl Unmade {
    /// What the request wants made up; nothing where it wants nothing.
    pub fn of(wanted: &Wanted, options: &Options, teacher: Option<&str>) -> Result<Option<Unmade>, Failure> {
        let Some(made) = &wanted.made else { return Ok(None) };
        if !options.task.files.is_empty() {
            let why = "the playbook makes rows up only where there are none: leave that out of the request, or make more of \
                       yours first with `tunesmith data make` and give both with --file";
            return Err(Failure::new(5, why));
        }
        let teacher = match (teacher, &made.teacher) {
            (Some(spec), _) => named("--teacher", Some(spec))?,
            (None, Some(id)) => {
                consent(options, &format!("the model {} that shall write the rows is on the Hub", visible(id)))?;
                Some(Named::Local(id.clone()))
            }
            (None, None) => None,
        };
        let Some(teacher) = teacher else {
            let why = "there are no rows, and the playbook cannot write any: name a model that does with --teacher (for example \
                       --teacher ollama:MODEL, or local:PATH), or give rows with --file";
            return Err(Failure::new(5, why));
        };
        let spec = made.spec(&options.task.request, wanted.kinds.first(), options.task.seed);
        let spec = Spec::of(spec.into()).map_err(|why| Failure::new(5, why))?;
        let hash = sha256(format!("{} {}", spec.hash(), teacher.name()).as_bytes());
        let out = options.dir.join(format!("made-{}", &hash[..12]));
        Ok(Some(Unmade { spec, out, teacher }))
    }

    /// The file of the rows, where all of them are there.
    pub fn made(&self) -> Option<PathBuf> {
        let manifest: Manifest = serde_json::from_str(&read_small(&self.out.join(MANIFEST), LARGEST).ok()?).ok()?;
        let rows = self.out.join(ROWS);
        (manifest.ended == "complete" && rows.is_file()).then_some(rows)
    }

    /// What would be asked, and of whom.
    pub fn planned(&self) -> Result<Planned, Failure> {
        let preview = preview(&self.spec, self.teacher.price()).map_err(|why| Failure::new(5, why))?;
        let columns = self.spec.columns.iter().map(|column| column.name.clone()).collect();
        Ok(Planned { to_make: ToMake { by: self.teacher.name(), columns, preview } })
    }

    /// Has the rows written, or goes on with what is there; their file is what the run learns from, and their cost is its.
    pub async fn make(self, options: &mut Options, cancel: &Cancel) -> Result<(), Failure> {
        let Unmade { spec, out, teacher } = self;
        let deadline = wished::deadline(options);
        let bench = Bench::new(&Require::default(), cancel)?;
        let (name, model) = (teacher.name(), open(Some(&teacher), &options.jobs, options.task.seed)?);
        let terminal = Terminal::progress_only("making rows");
        let on = |progress| terminal.progress(&progress);
        let making = async {
            let ask = ask(Some(teacher), model.as_deref(), &bench, (None, cancel)).await?;
            let order = Order {
                spec,
                intake: Intake::default(),
                out: out.clone(),
                resume: out.join(JOURNAL).is_file(),
                beside: Path::new("."),
                limits: Limits { usd: options.task.usd, tokens: options.task.tokens, ..Limits::default() },
                teacher: ask.as_deref(),
                judge: None,
                jobs: bench.jobs(),
                cancel,
                deadline,
                on: &on,
            };
            data_make::make(order).await.map_err(failure)
        };
        let made = in_time(deadline, wished::LATE, making).await;
        terminal.clear();
        let made = made?;
        options.ahead = options.ahead.map(|ahead| Ahead { asked: asked(&made), ..ahead });
        options.task.files = vec![out.join(ROWS)];
        let short = made.manifest.why.map_or_else(String::new, |why| format!(" ({})", visible(&why)));
        eprintln!(
            "data: {} written by {}{short} in {}; what is measured holds for rows that it writes",
            counted(made.rows, "row"),
            visible(&name),
            visible(&out.display().to_string())
        );
        Ok(())
    }
}

/// What the questions cost that were asked now. Where an answer did not say what it took, its tokens are unknown, and its
/// dollars the most that they can have been, as with replies that are lost.
fn asked(made: &Made) -> Cost {
    if made.now.questions == 0 {
        return Cost::NOTHING;
    }
    let lost = made.spent.lost;
    let all = if lost.questions > 0 { made.now.plus(lost) } else { made.now };
    Cost { tokens: all.exact.then_some(all.tokens), usd: all.usd }
}

impl Planned {
    /// It in words, line by line.
    pub fn lines(&self) -> Vec<String> {
        let ToMake { by, columns, preview } = &self.to_make;
        let (columns, by) = (columns.join(", "), visible(by));
        let mut lines = vec![format!(
            "data: rows of {columns} would be written by {by}; a dry run asks no model, so the plan ends here"
        )];
        lines.extend(previewed(preview));
        lines
    }
}
