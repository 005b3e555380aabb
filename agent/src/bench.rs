//! `tunesmith bench`: a suite of tasks, each run as a user would run it, each held to its threshold.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    path::{Path, PathBuf},
    time::Instant,
};

use serde::Serialize;
use tunesmith_evals::{Suite, Task, agents};
use tunesmith_harness::{
    figures::{duration, percent},
    grade::{Baselines, Gain, Grade, Measured, metric_value},
    redact::redacted,
    report::Report,
    rows,
    task::{self, Outcome},
    text::visible,
};
use tunesmith_sandbox::{Cancel, Local};

use crate::{
    commands::{
        print, print_json,
        require::Require,
        run::Sandboxes,
        stop::CANCELLED,
        table::{NONE, short, table},
        usage,
    },
    model::spec,
    run::{self, Approve, Failure, Finished, Options},
    show::Share,
    terminal::Terminal,
};

mod junit;

const EXAMPLE: &str = "\
Example:
  tunesmith bench smoke --planner playbook --junit smoke.xml

Rows are drawn anew for each call, so that no planner can know them; the seed that is printed draws the same rows again.
Planners: as for run, and two that check the tasks themselves: oracle must pass each, null must fail it.";

/// Run a suite of tasks; exit code 0 only if every task reaches its threshold
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// The suite, for example smoke
    suite: String,
    /// Who plans: as for run, or oracle, or null
    #[arg(long, value_name = "SPEC", env = "TUNESMITH_PLANNER", default_value = "playbook")]
    planner: String,
    /// Only this task; may be repeated [default: all]
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Model to start from: nano, a directory or a .gguf file [default: nano]
    #[arg(long, value_name = "MODEL")]
    base: Option<String>,
    /// Seed of everything random in the runs
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Seed of the rows [default: drawn, and printed]
    #[arg(long, value_name = "N")]
    sealed_seed: Option<u64>,
    /// Where the runs are kept
    #[arg(long, value_name = "DIR", default_value = "runs")]
    out: PathBuf,
    /// Write a JUnit XML report
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Confinement of jobs
    #[arg(long, value_enum, default_value_t = Sandboxes::On)]
    sandbox: Sandboxes,
    #[command(flatten)]
    require: Require,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What a suite came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Results {
    suite: String,
    planner: String,
    seed: u64,
    sealed_seed: u64,
    /// Whether every task reached its threshold.
    met: bool,
    tasks: Vec<TaskResult>,
}

/// What one task came to. What is not known is null.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct TaskResult {
    id: String,
    /// Null where there was no run.
    outcome: Option<Outcome>,
    why: String,
    metric: String,
    /// The least value of the metric that counts.
    goal: f64,
    base: Option<f64>,
    tuned: Option<f64>,
    seconds: f64,
    run: Option<PathBuf>,
    #[serde(skip)]
    exit: u8,
}

/// How to name another place for a suite's runs.
const OUT: &str = "keep them elsewhere with --out";

/// Runs the suite.
pub async fn main(args: Args, cancel: &Cancel) -> Result<u8, Failure> {
    let suite = tunesmith_evals::suite(&args.suite).map_err(|error| usage(error.to_string()))?;
    let suite = chosen(suite, &args.only)?;
    let planner = Planner::parse(&args.planner)?;
    let jobs = args.require.jobs(args.sandbox)?;
    let report = args.junit.as_deref().map(writable).transpose()?;
    let sealed_seed = args.sealed_seed.unwrap_or_else(drawn);
    if !args.json {
        print(&format!(
            "suite {}, planner {}, rows of --sealed-seed {sealed_seed}",
            suite.name,
            visible(&args.planner)
        ));
    }
    let files = args.out.join(format!("bench-{}-{sealed_seed}", suite.name));
    let unwritable = |path: &Path, error: std::io::Error| Failure::unwritten(path, &error, OUT);
    std::fs::create_dir_all(&files).map_err(|error| unwritable(&files, error))?;
    let mut tasks = Vec::new();
    for task in &suite.tasks {
        if cancel.is_cancelled() {
            break;
        }
        let file = files.join(format!("{}.jsonl", task.id));
        rows::write_jsonl(&file, task.rows(sealed_seed)).map_err(|error| unwritable(&file, error))?;
        let spec = planner.spec(&suite.name, task, &files)?;
        let result = one(&args, task, (file, spec, jobs.clone()), cancel).await;
        if !args.json {
            print(&format!("{}: {}, {}", result.id, outcome(&result), duration(result.seconds)));
        }
        tasks.push(result);
    }
    let met = tasks.len() == suite.tasks.len() && tasks.iter().all(|task| task.outcome == Some(Outcome::Met));
    let (name, seed) = (suite.name.clone(), args.seed);
    let results = Results { suite: name, planner: args.planner.clone(), seed, sealed_seed, met, tasks };
    if args.json {
        print_json(&results)?;
    } else {
        results.lines().iter().for_each(|line| print(line));
    }
    if let Some(path) = report {
        let xml = junit::xml(&results);
        let xml = redacted(&xml);
        tunesmith_harness::run::write_atomically(&path, xml.as_bytes()).map_err(|error| Failure::new(5, error))?;
    }
    Ok(results.exit(cancel.is_cancelled()))
}

/// Where the report goes, as an absolute path, found out before the suite is run by making its directory and a file in it.
fn writable(report: &Path) -> Result<PathBuf, Failure> {
    let wrong = |why: &str| usage(format!("--junit {}: {why}; name another file", report.display()));
    if let Some(what) = rows::not_a_file(report) {
        return Err(wrong(&format!("{what}, not a file")));
    }
    let path = std::path::absolute(report).map_err(|error| wrong(&error.to_string()))?;
    let dir = path.parent().unwrap_or(&path);
    let beside = std::fs::create_dir_all(dir).and_then(|()| tempfile::tempfile_in(dir));
    beside.map_err(|error| wrong(&format!("cannot be written: {}", run::plain(&error))))?;
    Ok(path)
}

/// Does one task as a user's run would.
async fn one(args: &Args, task: &Task, (file, planner, jobs): (PathBuf, String, Local), cancel: &Cancel) -> TaskResult {
    let options = Options {
        task: task::Task {
            request: task.request.clone(),
            files: vec![file],
            test: None,
            test_share: None,
            base: args.base.clone(),
            goals: vec![task.goal.clone()],
            artifacts: Vec::new(),
            minutes: Some(task.minutes),
            steps: None,
            usd: None,
            seed: args.seed,
        },
        planner,
        dir: args.out.clone(),
        share: Share::None,
        approve: Approve::Auto,
        allow: Vec::new(),
        jobs,
    };
    let terminal = Terminal::progress_only(&task.id);
    let began = Instant::now();
    let done = run::run(&options, &terminal, cancel).await;
    terminal.clear();
    TaskResult::of(task, done, began.elapsed().as_secs_f64())
}

impl TaskResult {
    fn of(task: &Task, done: Result<Finished, Failure>, seconds: f64) -> Self {
        let (id, metric, goal) = (task.id.clone(), task.goal.metric.clone(), task.goal.at_least);
        match done {
            Err(failure) => TaskResult {
                id,
                outcome: None,
                why: failure.message,
                metric,
                goal,
                base: None,
                tuned: None,
                seconds,
                run: None,
                exit: failure.exit,
            },
            Ok(done) => {
                let Report { base, tuned, gain, .. } = &done.report;
                let (base, tuned) = (value(base, &None, &metric), value(tuned, gain, &metric));
                TaskResult {
                    base,
                    tuned,
                    id,
                    outcome: Some(done.outcome),
                    why: done.why,
                    metric,
                    goal,
                    seconds,
                    run: Some(done.dir),
                    exit: done.outcome.exit_code(),
                }
            }
        }
    }
}

/// The value of `metric` for one model; `gain` is what it is against another.
fn value(measured: &Option<Measured>, gain: &Option<Gain>, metric: &str) -> Option<f64> {
    let measured = measured.as_ref()?;
    let grade = Grade {
        metric: String::new(),
        base: measured.clone(),
        tuned: Some(measured.clone()),
        gain: gain.clone(),
        baselines: Baselines::default(),
        artifacts: Vec::new(),
        confusion: None,
        errors: Vec::new(),
        unusable: Vec::new(),
        items: Vec::new(),
    };
    metric_value(&grade, metric)
}

impl Results {
    /// 0 if every task is at its threshold; else what the first one that is not ended as.
    fn exit(&self, cancelled: bool) -> u8 {
        match self.tasks.iter().find(|task| task.exit != 0) {
            _ if cancelled => CANCELLED,
            _ if self.met => 0,
            Some(task) => task.exit,
            None => Outcome::NotMet.exit_code(),
        }
    }

    fn lines(&self) -> Vec<String> {
        let head = ["task", "metric", "base", "tuned", "goal", "time", "outcome"].map(str::to_owned).to_vec();
        let figure = |value: Option<f64>| value.map_or_else(|| NONE.to_owned(), percent);
        let row = |task: &TaskResult| {
            vec![
                task.id.clone(),
                task.metric.replace('_', " "),
                figure(task.base),
                figure(task.tuned),
                percent(task.goal),
                duration(task.seconds),
                outcome(task),
            ]
        };
        let rows: Vec<Vec<String>> = [head].into_iter().chain(self.tasks.iter().map(row)).collect();
        let mut lines = vec![String::new()];
        lines.extend(table(&rows));
        for task in self.tasks.iter().filter(|task| task.exit != 0) {
            lines.push(format!("{}: {}", task.id, short(&task.why, 300)));
        }
        let met = self.tasks.iter().filter(|task| task.exit == 0).count();
        lines.push(format!("{met} of {} tasks at their threshold", self.tasks.len()));
        lines
    }
}

fn outcome(task: &TaskResult) -> String {
    task.outcome.map_or_else(|| "no run".to_owned(), |outcome| outcome.to_string())
}

/// Who plans a suite.
enum Planner {
    /// The same one for every task.
    Spec(String),
    /// The script that must pass the task.
    Oracle,
    /// The script that must fail it.
    Null,
}

impl Planner {
    fn parse(text: &str) -> Result<Self, Failure> {
        match text {
            "oracle" => Ok(Planner::Oracle),
            "null" => Ok(Planner::Null),
            _ if text.starts_with("scripted:") => run::named(text).map(|_| Planner::Spec(text.to_owned())),
            _ => spec::parse(text)
                .map(|_| Planner::Spec(text.to_owned()))
                .map_err(|error| usage(format!("{error}, or oracle, or null"))),
        }
    }

    /// The `--planner` of a task's run; a script is written beside its rows.
    fn spec(&self, suite: &str, task: &Task, files: &Path) -> Result<String, Failure> {
        let (name, script) = match self {
            Planner::Spec(spec) => return Ok(spec.clone()),
            Planner::Null => ("null", agents::NULL),
            Planner::Oracle => {
                let missing = || usage(format!("the task {} has no oracle", task.id));
                ("oracle", agents::oracle(suite, &task.id).ok_or_else(missing)?)
            }
        };
        let path = files.join(format!("{}.{name}.jsonl", task.id));
        std::fs::write(&path, script).map_err(|error| Failure::unwritten(&path, &error, OUT))?;
        Ok(format!("scripted:{}", path.display()))
    }
}

/// The tasks that were asked for.
fn chosen(mut suite: Suite, only: &[String]) -> Result<Suite, Failure> {
    if let Some(unknown) = only.iter().find(|id| !suite.tasks.iter().any(|task| task.id == **id)) {
        let known: Vec<&str> = suite.tasks.iter().map(|task| task.id.as_str()).collect();
        return Err(usage(format!("{} has no task {unknown:?}; its tasks are: {}", suite.name, known.join(", "))));
    }
    suite.tasks.retain(|task| only.is_empty() || only.contains(&task.id));
    Ok(suite)
}

/// A seed that nobody can know beforehand, small enough for every reader of JSON. The standard library's hash maps are
/// keyed by the system's randomness, which is all that is needed here.
fn drawn() -> u64 {
    RandomState::new().build_hasher().finish() >> 11
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(id: &str, outcome: Option<Outcome>, exit: u8) -> TaskResult {
        TaskResult {
            id: id.into(),
            outcome,
            why: "a < b\u{1b} & \"c\"".into(),
            metric: "accuracy".into(),
            goal: 0.8,
            base: Some(0.25),
            tuned: (exit == 0).then_some(0.9),
            seconds: 12.34,
            run: None,
            exit,
        }
    }

    fn results(tasks: Vec<TaskResult>) -> Results {
        let met = tasks.iter().all(|task| task.exit == 0);
        Results { suite: "smoke".into(), planner: "null".into(), seed: 0, sealed_seed: 7, met, tasks }
    }

    #[test]
    fn the_exit_code_is_that_of_the_first_task_below_its_threshold() {
        let (met, below) = (result("a", Some(Outcome::Met), 0), result("b", Some(Outcome::NotMet), 3));
        let blocked = result("c", None, 5);
        assert_eq!(results(vec![met.clone()]).exit(false), 0);
        assert_eq!(results(vec![met.clone(), below.clone(), blocked.clone()]).exit(false), 3);
        assert_eq!(results(vec![met.clone(), blocked]).exit(false), 5);
        assert_eq!(results(vec![met, below]).exit(true), 130);
    }

    #[test]
    fn the_table_has_a_line_per_task_and_a_reason_per_failure() {
        let results = results(vec![result("a", Some(Outcome::Met), 0), result("bb", None, 5)]);
        let want = [
            "",
            "task  metric     base   tuned    goal  time  outcome",
            "a     accuracy  25.0 %  90.0 %  80.0 %  12 s  goal met",
            "bb    accuracy  25.0 %       –  80.0 %  12 s  no run",
            "bb: a < b\\u{1b} & \"c\"",
            "1 of 2 tasks at their threshold",
        ];
        let squeeze = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let got: Vec<String> = results.lines().iter().map(|line| squeeze(line)).collect();
        assert_eq!(got, want.map(squeeze));
    }

    #[test]
    fn a_gain_is_no_accuracy_and_a_base_has_none() {
        let measured = Measured {
            value: 0.75,
            interval: (0.5, 0.9),
            n: 20,
            exact_match: 0.5,
            format_failures: 0.25,
            macro_f1: None,
        };
        let (measured, gain) = (Some(measured), Some(Gain { value: 0.125, interval: (0.0, 0.2), p_value: 0.03 }));
        let of = |metric| (value(&measured, &None, metric), value(&measured, &gain, metric));
        let same = |value| (Some(value), Some(value));
        assert_eq!(of("gain"), (None, Some(0.125)));
        assert_eq!([of("accuracy"), of("exact_match"), of("well_formed")], [same(0.75), same(0.5), same(0.75)]);
        assert_eq!((of("macro_f1"), value(&None, &gain, "gain")), ((None, None), None));
    }

    #[test]
    fn junit_is_well_formed_whatever_the_reason_says() {
        let xml = junit::xml(&results(vec![result("a", Some(Outcome::Met), 0), result("b", None, 5)]));
        let want = concat!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n",
            "<testsuites>\n",
            "  <testsuite name=\"smoke\" tests=\"2\" failures=\"0\" errors=\"1\" time=\"24.680\">\n",
            "    <properties>\n",
            "      <property name=\"planner\" value=\"null\"/>\n",
            "      <property name=\"seed\" value=\"0\"/>\n",
            "      <property name=\"sealed_seed\" value=\"7\"/>\n",
            "    </properties>\n",
            "    <testcase classname=\"smoke\" name=\"a\" time=\"12.340\"/>\n",
            "    <testcase classname=\"smoke\" name=\"b\" time=\"12.340\">\n",
            "      <error message=\"no run\">a &lt; b\\u{1b} &amp; &quot;c&quot;</error>\n",
            "    </testcase>\n",
            "  </testsuite>\n",
            "</testsuites>\n",
        );
        assert_eq!(xml, want);
    }

    #[test]
    fn drawn_seeds_differ_and_fit_in_json() {
        let seeds: Vec<u64> = (0..8).map(|_| drawn()).collect();
        assert!(seeds.iter().all(|seed| *seed < 1 << 53));
        assert!(seeds.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
