//! `tunesmith` alone: a session in which a person types tasks, watches their runs, stops them, and says what to do instead.
//!
//! A run that is stopped with Ctrl-C has ended in its log; to go on with it is what `tunesmith resume` does, with what the person
//! says as one more event.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tunesmith_harness::{
    run::Run,
    task::Outcome,
    text::{visible, visible_lines},
};
use tunesmith_sandbox::Cancel;

use crate::{
    commands::{self, print, resume, run::RUNS},
    config::{Config, Values},
    model::spec::{self, Planner},
    run::{self, Failure, Finished, Further},
    terminal::Terminal,
};

mod command;
mod editor;
mod keys;
mod views;
mod words;

use command::Command;
use editor::{Editor, Line};
use keys::Keys;
use words::Words;

/// A session.
struct Session {
    /// What holds for the next run, as in a file of settings.
    set: Values,
    /// Rows for the next run.
    files: Vec<PathBuf>,
    /// The run that was stopped and may go on.
    stopped: Option<Stopped>,
    /// The last run, stopped or not.
    last: Option<PathBuf>,
    /// What it may use from now on.
    further: Further,
    editor: Editor,
    keys: Arc<Keys>,
}

/// A run that waits for what the person says.
struct Stopped {
    dir: PathBuf,
    /// Whether a language model plans it, which can be told something.
    hears: bool,
}

/// Whether a person is here to talk to.
pub fn is_possible() -> bool {
    use std::io::IsTerminal;
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && std::io::stderr().is_terminal()
}

/// Talks until the person leaves.
pub async fn main() -> Result<u8, Failure> {
    let config = Config::here()?;
    config.note().iter().for_each(|note| eprintln!("note: {}", visible(note)));
    let keys = Keys::watch();
    let mut session = Session {
        set: config.values,
        files: Vec::new(),
        stopped: None,
        last: None,
        further: Further::default(),
        editor: Editor::new()?,
        keys,
    };
    session.greet();
    loop {
        match session.read().await {
            Line::Words(line) => match session.take(line.trim()).await {
                Ok(true) => {}
                Ok(false) => return Ok(0),
                Err(failure) => eprintln!("error: {}", visible(&failure.message)),
            },
            Line::Unread => eprintln!("error: the line has bytes that are no UTF-8; type it again"),
            Line::Stop if session.stopped.is_none() => print("no run is at work; Ctrl-D leaves"),
            Line::Stop => session.stop(),
            Line::End => {
                session.stop();
                return Ok(0);
            }
        }
        if session.keys.has_to_leave() {
            return Ok(commands::stop::CANCELLED);
        }
    }
}

impl Session {
    fn greet(&self) {
        let (planner, dir) = (self.planner(), self.dir());
        print(&format!(
            "Tunesmith {}: {}, runs in {}",
            env!("CARGO_PKG_VERSION"),
            visible(planner),
            visible(&dir.display().to_string())
        ));
        if planner == run::PLAYBOOK {
            spec::offers(&|name| std::env::var(name).ok()).iter().for_each(|(variable, form)| {
                print(&format!("{variable} is set: /model {form} lets such a model plan"));
            });
        }
        print("Say what to reach, and name files with @; /help lists commands, Ctrl-D leaves.");
    }

    fn planner(&self) -> &str {
        self.set.planner.as_deref().unwrap_or(run::PLAYBOOK)
    }

    fn dir(&self) -> &Path {
        self.set.dir.as_deref().unwrap_or(Path::new(RUNS))
    }

    async fn read(&mut self) -> Line {
        let prompt = if self.stopped.is_some() { "stopped> " } else { "> " };
        self.editor.line(prompt, self.dir().to_owned()).await
    }

    /// Does what a line says; `false` where the person leaves.
    async fn take(&mut self, line: &str) -> Result<bool, Failure> {
        match command::read(line)? {
            None if line.is_empty() => {}
            None => self.say(line).await?,
            Some(Command::Quit) => return Ok(false),
            Some(Command::Go) => self.go_on(None).await?,
            Some(Command::Undo) => self.undo()?,
            Some(Command::Runs(Some(name))) => self.take_up(&name)?,
            Some(Command::New) => {
                self.stop();
                self.files.clear();
                print("what was stopped and the files are forgotten; settings stay");
            }
            Some(command) => self.set(command)?,
        }
        Ok(true)
    }

    /// A setting, or a look at where things stand.
    fn set(&mut self, command: Command) -> Result<(), Failure> {
        match command {
            Command::Help => command::HELP.iter().for_each(|line| print(line)),
            Command::Files(files) => {
                self.files.extend(files);
                print(&views::files(&self.files));
            }
            Command::Base(base) => {
                self.set.base = base.or(self.set.base.take());
                print(&format!("base: {}", visible(self.set.base.as_deref().unwrap_or("nano"))));
            }
            Command::Model(spec) => {
                if let Some(spec) = spec {
                    run::named(&spec)?;
                    (self.set.planner, self.set.share) = (Some(spec), None);
                }
                print(&views::planner(self.planner(), self.stopped.is_some())?);
            }
            Command::Budget(further) => self.budget(further)?,
            Command::Approve(who, allow) => {
                self.set.approve = who.or(self.set.approve);
                self.set.allow.extend(allow);
                print(&views::approve(&self.set));
            }
            Command::Share(share) => {
                self.set.share = share.or(self.set.share);
                print(&views::share(self.set.share));
            }
            Command::Goal(goals) => {
                if let Some(goals) = goals {
                    self.set.goals = goals;
                }
                print(&views::goals(&self.set.goals));
            }
            Command::Plan => views::plan(&self.last_run()?)?.lines().for_each(print),
            Command::Runs(_) => commands::runs::print_list(self.dir())?,
            Command::Quit | Command::Go | Command::Undo | Command::New => {}
        }
        Ok(())
    }

    /// What runs may use from now on, and what the last one used.
    fn budget(&mut self, further: Further) -> Result<(), Failure> {
        self.set.minutes = further.minutes.or(self.set.minutes);
        self.set.usd = further.usd.or(self.set.usd);
        self.set.disk = further.disk.or(self.set.disk);
        self.set.tokens = further.tokens.and_then(std::num::NonZeroU64::new).or(self.set.tokens);
        self.set.steps = further.steps.and_then(std::num::NonZeroU32::new).or(self.set.steps);
        if self.stopped.is_some() {
            self.further = further.or(self.further);
        }
        print(&views::budget(&self.set));
        self.last.as_ref().map(|dir| views::used(dir)).transpose()?.iter().for_each(|line| print(line));
        Ok(())
    }

    fn last_run(&self) -> Result<Run, Failure> {
        let none = "there is no run yet; say what to reach, or take one up with /runs NAME";
        let dir = self.last.as_ref().ok_or_else(|| Failure::new(2, none))?;
        Run::open(dir).map_err(|error| Failure::new(2, error))
    }

    /// Words are a task, or what a run that was stopped is told.
    async fn say(&mut self, line: &str) -> Result<(), Failure> {
        match &self.stopped {
            None => self.begin(Words::of(line)).await,
            Some(stopped) if stopped.hears => self.go_on(Some(line)).await,
            Some(_) => Err(Failure::new(
                2,
                "the playbook takes no words in the middle of a run; /go goes on with it, Ctrl-C or /new ends it",
            )),
        }
    }

    async fn begin(&mut self, words: Words) -> Result<(), Failure> {
        if !words.files.is_empty() {
            self.files = words.files;
        }
        if !self.files.is_empty() {
            print(&views::files(&self.files));
        }
        self.ask_to_share().await?;
        self.further = Further::default();
        let options = commands::run::Args::of_session(words.text, self.files.clone());
        let (cancel, terminal) = (self.keys.begin(), Terminal::new(false));
        let done = async {
            let options = options.resolve(self.set.clone(), &cancel).await?;
            commands::run::carry_out(&options, &terminal, &cancel).await
        };
        let done = done.await;
        self.ended(done, &cancel)
    }

    /// Goes on with the run that was stopped, perhaps with something that it is told.
    async fn go_on(&mut self, instruction: Option<&str>) -> Result<(), Failure> {
        let none = "no run is stopped; say what to reach, or take one up with /runs NAME";
        let stopped = self.stopped.as_ref().ok_or_else(|| Failure::new(2, none))?;
        let run = Run::open(&stopped.dir).map_err(|error| Failure::new(2, error))?;
        let options = resume::in_session(&run, &self.set)?;
        let (cancel, terminal) = (self.keys.begin(), Terminal::new(false));
        let done = run::resume(run, &options, (self.further, instruction), &terminal, &cancel).await;
        terminal.clear();
        let done = done.inspect(|finished| terminal.finish(finished));
        self.ended(done, &cancel)
    }

    /// What comes after a run: one that the person stopped once may go on.
    fn ended(&mut self, done: Result<Finished, Failure>, cancel: &Cancel) -> Result<(), Failure> {
        let pressed = self.keys.end();
        let finished = done?;
        self.stopped = None;
        self.last = Some(finished.dir.clone());
        if finished.outcome == Outcome::Cancelled && cancel.is_cancelled() && pressed == 1 {
            self.hold(finished.dir)?;
        }
        Ok(())
    }

    /// A run waits from now on.
    fn hold(&mut self, dir: PathBuf) -> Result<(), Failure> {
        let run = Run::open(&dir).map_err(|error| Failure::new(2, error))?;
        let manifest = run.manifest().map_err(|error| Failure::new(2, error))?;
        let hears = run::named(&manifest.planner)? != Planner::Playbook;
        print(if hears {
            "stopped: say what to do instead, /go goes on as it was, Ctrl-C ends it"
        } else {
            "stopped: /go goes on as it was, Ctrl-C ends it"
        });
        self.last = Some(dir.clone());
        self.stopped = Some(Stopped { dir, hears });
        Ok(())
    }

    /// A run of an earlier session or command.
    fn take_up(&mut self, name: &str) -> Result<(), Failure> {
        let run = commands::runs::open(Path::new(name), self.dir())?;
        self.further = Further::default();
        let summary = run.summary();
        if let Some(outcome @ (Outcome::Met | Outcome::NotMet)) = summary.outcome {
            self.last = Some(run.dir().to_owned());
            print(&format!("{} has ended ({outcome}); /plan shows it", visible(name)));
            return Ok(());
        }
        self.hold(run.dir().to_owned())
    }

    /// The run that was stopped has ended.
    fn stop(&mut self) {
        if let Some(stopped) = self.stopped.take() {
            let dir = stopped.dir.display().to_string();
            print(&format!("the run has ended; tunesmith resume '{}' goes on with it", visible(&dir)));
        }
    }

    fn undo(&mut self) -> Result<(), Failure> {
        let run = self.last_run()?;
        let none = "nothing was said to this run after its request, so there is no turn to take back";
        let undone = run::turns::undo(&run)?.ok_or_else(|| Failure::new(2, none))?;
        print(&views::undone(&undone));
        self.hold(run.dir().to_owned())
    }

    /// Asks once whether a model may see rows, where nobody has said so.
    async fn ask_to_share(&mut self) -> Result<(), Failure> {
        if self.set.share.is_some() || !matches!(run::named(self.planner())?, Planner::Hosted(_)) {
            return Ok(());
        }
        let question = format!("May {} see some rows of the data? y, n [n] ", visible_lines(self.planner()));
        let Some(answer) = self.editor.answer(&question).await else {
            return Err(Failure::new(commands::stop::CANCELLED, "nothing was begun"));
        };
        self.set.share = Some(match answer.as_str() {
            "y" | "yes" => commands::run::Shares::Samples,
            _ => commands::run::Shares::None,
        });
        Ok(())
    }
}
