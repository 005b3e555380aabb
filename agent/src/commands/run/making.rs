//! Rows that a request wants made up: written by a model before the run begins, because only rows that are there can be
//! sealed.

use std::path::{Path, PathBuf};

use tunesmith_harness::{figures::counted, hash::sha256, text::visible};
use tunesmith_sandbox::Cancel;
use tunesmith_tools::data_make::{self, Order, intake::Intake, purse::Limits, spec::Spec, write::JOURNAL};

use super::wished::consent;
use crate::{
    commands::{
        data::teacher::{Named, ask, named, open},
        require::Require,
        work::{Bench, failure},
    },
    playbook::request::Wanted,
    run::{Failure, Options, Watch},
    terminal::Terminal,
};

/// The file of the rows in the directory that they are made in.
const ROWS: &str = "rows.jsonl";

/// The rows that the request wants made up, as files; nothing where it wants none. The same rows are made once: the
/// directory that holds them is named by what was asked, and by whom.
pub async fn rows(
    wanted: &Wanted,
    options: &Options,
    teacher: Option<&str>,
    cancel: &Cancel,
) -> Result<Option<Vec<PathBuf>>, Failure> {
    let Some(made) = &wanted.made else { return Ok(None) };
    if !options.task.files.is_empty() {
        let why = "the playbook makes rows up only where there are none: leave that out of the request, or make more of yours \
                   first with `tunesmith data make` and give both with --file";
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
    let out =
        options.dir.join(format!("made-{}", &sha256(format!("{} {}", spec.hash(), teacher.name()).as_bytes())[..12]));
    write(spec, &out, teacher, options, cancel).await.map(|file| Some(vec![file]))
}

/// Has the rows written, or goes on with what is there.
async fn write(spec: Spec, out: &Path, teacher: Named, options: &Options, cancel: &Cancel) -> Result<PathBuf, Failure> {
    let bench = Bench::new(&Require::default(), cancel)?;
    let (name, model) = (teacher.name(), open(Some(&teacher), &options.jobs, options.task.seed)?);
    let ask = ask(Some(teacher), model.as_deref(), &bench, (None, cancel)).await?;
    let terminal = Terminal::progress_only("making rows");
    let on = |progress| terminal.progress(&progress);
    let order = Order {
        spec,
        intake: Intake::default(),
        out: out.to_owned(),
        resume: out.join(JOURNAL).is_file(),
        beside: Path::new("."),
        limits: Limits { usd: options.task.usd, ..Limits::default() },
        teacher: ask.as_deref(),
        judge: None,
        jobs: bench.jobs(),
        cancel,
        deadline: None,
        on: &on,
    };
    let made = data_make::make(order).await;
    terminal.clear();
    let made = made.map_err(failure)?;
    let short = made.manifest.why.map_or_else(String::new, |why| format!(" ({})", visible(&why)));
    eprintln!(
        "data: {} written by {}{short} in {}; what is measured holds for rows that it writes",
        counted(made.rows, "row"),
        visible(&name),
        visible(&out.display().to_string())
    );
    Ok(out.join(ROWS))
}
