//! How a run looks: a line that moves on a terminal, plain lines elsewhere, the log itself for programs.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use indicatif::{ProgressBar, ProgressStyle};
use tunesmith_harness::{
    event::{Event, Kind},
    figures::{bytes, counted, duration, percent},
    redact::redacted,
    score::{Score, Verdict},
    text::{visible, visible_lines},
};
use tunesmith_tools::tool::Progress;

use crate::{
    approvals::{Decision, Proposal},
    commands::{
        table::{short, word},
        unprinted,
    },
    model::Delta,
    run::{Failure, Finished, Watch},
};

mod end;
mod markdown;
mod outputs;
mod question;
mod typed;

use markdown::{Look, Words};
use typed::Waiting;

/// How often plain output says how far a step is: after this time or this share of it.
const PAUSE: (Duration, f64) = (Duration::from_secs(5), 0.1);
/// Characters of the planner's words on the line that moves.
const WORDS: usize = 100;

/// Shows runs and other long work.
pub struct Terminal {
    style: Style,
    colours: bool,
    state: Mutex<State>,
    /// Why output was lost, the first time that it was.
    lost: OnceLock<Failure>,
}

/// To whom the output speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// People at a terminal.
    Live,
    /// People who read a file.
    Plain,
    /// Programs: one event per line, as in the log.
    Json,
    /// Nobody; a caller shows the result as a whole.
    Quiet,
}

#[derive(Default)]
struct State {
    /// The line that moves, while something is under way.
    bar: Option<ProgressBar>,
    /// A step that has returned and may still be judged.
    block: Option<Block>,
    /// When and how far progress was last said in plain output.
    said: Option<(String, Instant, f64)>,
    /// The planner's words as they arrive.
    words: Words,
    /// Losses of the training that is under way, for the curve on the line that moves.
    losses: Vec<f64>,
    /// What the line that moves begins with, for example the task of a suite.
    label: String,
}

/// A step that has returned.
struct Block {
    step: u32,
    tool: String,
    ok: bool,
    result: String,
    seconds: f64,
    scores: Vec<Score>,
}

impl Terminal {
    /// For a run: people where `json` is not set, and a line that moves where they can see one.
    pub fn new(json: bool) -> Self {
        let live = io::stdout().is_terminal() && io::stderr().is_terminal();
        let style = match (json, live) {
            (true, _) => Style::Json,
            (false, true) => Style::Live,
            (false, false) => Style::Plain,
        };
        let colours = style == Style::Live && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Terminal { style, colours, state: Mutex::default(), lost: OnceLock::new() }
    }

    /// For one of several runs, or for work by hand, whose result the caller shows: progress only, on standard error.
    pub fn progress_only(label: &str) -> Self {
        let style = if io::stderr().is_terminal() { Style::Live } else { Style::Quiet };
        let state = State { label: label.to_owned(), ..State::default() };
        Terminal { style, colours: false, state: Mutex::new(state), lost: OnceLock::new() }
    }

    /// The verdict, the figures, what was made and what to do with it.
    pub fn finish(&self, finished: &Finished) {
        let mut state = self.state();
        self.flush(&mut state);
        clear(&mut state);
        drop(state);
        match self.style {
            Style::Json => eprintln!("log: {}", finished.head),
            Style::Live | Style::Plain => end::lines(finished).iter().for_each(|line| self.put(line)),
            Style::Quiet => {}
        }
    }

    /// Why not all of the output could be written.
    pub fn lost(&self) -> Option<Failure> {
        self.lost.get().cloned()
    }

    /// Prints on standard output. What cannot be printed must not end a run, whose log is on the disk.
    fn put(&self, text: &str) {
        let mut out = io::stdout().lock();
        let written = writeln!(out, "{}", redacted(text)).and_then(|()| out.flush());
        if let Some(failure) = written.err().as_ref().and_then(unprinted) {
            self.lost.get_or_init(|| failure);
        }
    }

    /// Takes the line that moves away.
    pub fn clear(&self) {
        clear(&mut self.state());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is half shown after a panic elsewhere is still worth showing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self) -> Look {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
        let width = size.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0).unwrap_or(80);
        // Long lines are hard to read.
        Look { width: width.clamp(20, 100), colours: self.colours }
    }

    fn is_run(&self, state: &State) -> bool {
        matches!(self.style, Style::Live | Style::Plain) && state.label.is_empty()
    }

    /// Prints lines above the line that moves.
    fn say(&self, state: &State, text: &str) {
        match &state.bar {
            Some(bar) => bar.suspend(|| self.put(text)),
            None => self.put(text),
        }
    }

    /// Prints the step that waits for its judgements, because they are all there.
    fn flush(&self, state: &mut State) {
        if let Some(block) = state.block.take() {
            block.lines(self.colours).iter().for_each(|line| self.say(state, line));
        }
    }

    /// Sets the line that moves.
    fn move_line(&self, state: &mut State, message: String) {
        if self.style != Style::Live {
            return;
        }
        let label = if state.label.is_empty() { String::new() } else { format!("{}: ", state.label) };
        let bar = state.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new_spinner().with_style(spinner());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        bar.set_message(redacted(&format!("{label}{message}")).into_owned());
    }

    fn show(&self, state: &mut State, event: &Event) {
        match &event.kind {
            Kind::Started { task, planner, .. } => {
                self.say(state, &format!("{} (planner: {})", visible(&task.request), visible(planner)));
            }
            Kind::Said { text, .. } => {
                let (words, text) = (std::mem::take(&mut state.words), text.trim());
                match self.style {
                    Style::Live => words.finish(text, self.look()).iter().for_each(|line| self.say(state, line)),
                    _ if text.is_empty() => {}
                    _ => self.say(state, &visible_lines(text)),
                }
            }
            Kind::Called { step, tool, .. } => {
                let message = format!("{step}  {}", visible(tool));
                self.move_line(state, message);
            }
            Kind::Returned { step, tool, ok, output, seconds, .. } => {
                clear(state);
                (state.said, state.losses) = (None, Vec::new());
                let result = outputs::line(tool, *ok, output);
                let (step, tool, ok, seconds) = (*step, tool.clone(), *ok, *seconds);
                state.block = Some(Block { step, tool, ok, result, seconds, scores: Vec::new() });
            }
            Kind::Scored { step: None, score } => self.say(state, &judgement(score, "", self.colours)),
            Kind::Scored { .. } => {}
            Kind::Scoped { scope } => {
                let kind = word(scope.kind);
                let text = format!(
                    "scope frozen: {kind}, base {}, {}, at most {} tokens, {}",
                    scope.base, scope.method, scope.max_length, scope.metric
                );
                self.say(state, &visible(&text));
            }
            Kind::Amended { field, from, to, reason } => {
                self.say(state, &visible(&format!("scope changed: {field} from {from} to {to}: {reason}")));
            }
            // What was refused ends the step or the run, which says why.
            Kind::Approved { .. } => {}
            Kind::Guarded { guard, why } => self.say(state, &visible(&format!("! {guard}: {why}"))),
            Kind::Instructed { text } => self.say(state, &format!("> {}", visible_lines(text))),
            Kind::Undone { .. }
            | Kind::Resumed { .. }
            | Kind::Briefed { .. }
            | Kind::Told { .. }
            | Kind::Observed { .. } => {}
            Kind::Compacted { dropped, .. } => {
                self.say(state, &format!("the conversation was shortened: {}", counted(*dropped as usize, "message")));
            }
            Kind::Graded { .. } | Kind::Ended { .. } => clear(state),
        }
    }
}

impl Watch for Terminal {
    fn event(&self, event: &Event) {
        let mut state = self.state();
        match self.style {
            Style::Quiet => {}
            Style::Json => {
                if let Ok(line) = serde_json::to_string(event) {
                    self.put(&line);
                }
            }
            Style::Live | Style::Plain if !self.is_run(&state) => {}
            Style::Live | Style::Plain => {
                if let (Kind::Scored { step: Some(step), score }, Some(block)) = (&event.kind, &mut state.block)
                    && block.step == *step
                {
                    block.scores.push(score.clone());
                    return;
                }
                self.flush(&mut state);
                self.show(&mut state, event);
            }
        }
    }

    fn progress(&self, progress: &Progress) {
        let mut state = self.state();
        self.flush(&mut state);
        if let Some(note) = &progress.note {
            let tell = || eprintln!("{}", visible(note));
            state.bar.as_ref().map_or_else(tell, |bar| bar.suspend(tell));
        }
        for warning in progress.warning.iter().chain(progress.job.iter().flat_map(|job| &job.degraded)) {
            let tell = || eprintln!("warning: {}", visible(warning));
            state.bar.as_ref().map_or_else(tell, |bar| bar.suspend(tell));
        }
        if progress.job.is_some() {
            return;
        }
        match self.style {
            Style::Live => {
                state.losses.extend(progress.loss);
                let curve = sparkline(&state.losses);
                let line = progress_line(progress);
                self.move_line(&mut state, if curve.is_empty() { line } else { format!("{line}  {curve}") });
            }
            Style::Plain if due(&mut state, progress) => self.say(&state, &format!("  {}", progress_line(progress))),
            Style::Plain | Style::Json | Style::Quiet => {}
        }
    }

    fn delta(&self, delta: &Delta<'_>) {
        let mut state = self.state();
        self.flush(&mut state);
        // Nobody sees words but on the line that moves.
        let live = self.style == Style::Live;
        let mut calls = None;
        match delta {
            Delta::Text(_) | Delta::Call { .. } if !live => return,
            Delta::Text(text) => {
                let lines = state.words.push(text, self.look());
                if self.is_run(&state) {
                    lines.iter().for_each(|line| self.say(&state, line));
                }
            }
            Delta::Call { name } => calls = Some(format!("calls {}", visible(name))),
            Delta::Again { error, wait } => {
                state.words = Words::default();
                let line = format!("planner: {error}; asking again in {}", duration(wait.as_secs_f64()));
                if self.is_run(&state) {
                    self.say(&state, &visible(&line));
                }
            }
        }
        let words = calls.unwrap_or_else(|| short(state.words.tail(), WORDS));
        self.move_line(&mut state, format!("planner: {words}"));
    }

    fn note(&self, line: &str) {
        let mut state = self.state();
        self.flush(&mut state);
        match self.style {
            Style::Json => eprintln!("{}", visible(line)),
            Style::Live | Style::Plain if self.is_run(&state) => self.say(&state, &visible(line)),
            Style::Live | Style::Plain | Style::Quiet => {}
        }
    }

    fn decide(&self, proposal: Proposal) -> BoxFuture<'_, Option<Decision>> {
        let mut state = self.state();
        self.flush(&mut state);
        clear(&mut state);
        drop(state);
        if self.style == Style::Quiet || !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
            return Box::pin(std::future::ready(None));
        }
        let waiting = Waiting::default();
        let waited = waiting.seen();
        typed::forget();
        let asked = move || question::ask(&proposal, &mut || typed::line(&waited), &mut io::stderr());
        Box::pin(async move {
            let decision = tokio::task::spawn_blocking(asked).await.ok();
            drop(waiting);
            decision
        })
    }
}

fn clear(state: &mut State) {
    if let Some(bar) = state.bar.take() {
        bar.finish_and_clear();
    }
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// Whether plain output should say this. Steps that are over at once are not worth a line.
fn due(state: &mut State, progress: &Progress) -> bool {
    let share = progress.done as f64 / progress.total.max(1) as f64;
    let (due, first) = match &state.said {
        Some((what, at, then)) => {
            let passed = at.elapsed();
            let far = *what == progress.what && share - then >= PAUSE.1 && passed >= PAUSE.0 / 5;
            (passed >= PAUSE.0 || far, false)
        }
        None => (false, true),
    };
    if due || first {
        state.said = Some((progress.what.clone(), Instant::now(), share));
    }
    due
}

/// `train 120/400, loss 0.312, valid 0.401, 5120 tokens/s, 40 s left`.
pub fn progress_line(progress: &Progress) -> String {
    let mut parts = vec![format!("{} {}/{}", visible(&progress.what), progress.done, progress.total)];
    parts.extend(progress.loss.map(|loss| format!("loss {loss:.3}")));
    parts.extend(progress.valid_loss.map(|loss| format!("valid {loss:.3}")));
    parts.extend(progress.tokens_per_second.map(|rate| format!("{rate:.0} tokens/s")));
    parts.extend(progress.utilisation.map(|share| format!("{} of peak", percent(share))));
    parts.extend(progress.peak_memory.map(bytes));
    parts.extend(
        progress.eta_seconds.filter(|_| progress.done < progress.total).map(|eta| format!("{} left", duration(eta))),
    );
    parts.join(", ")
}

/// A curve of so many columns at most, from the first to the last value; nothing for a single one.
fn sparkline(values: &[f64]) -> String {
    const COLUMNS: usize = 24;
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let values: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    let (low, high) =
        values.iter().fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
    if values.len() < 2 || high <= low {
        return String::new();
    }
    let columns = values.len().min(COLUMNS);
    let mean = |column: usize| {
        let part = &values[column * values.len() / columns..(column + 1) * values.len() / columns];
        part.iter().sum::<f64>() / part.len() as f64
    };
    (0..columns).map(|column| BARS[((mean(column) - low) / (high - low) * 7.0).round() as usize % 8]).collect()
}

impl Block {
    /// The step, what came of it, and the judgements that need attention.
    fn lines(&self, colours: bool) -> Vec<String> {
        let verdicts = self.scores.iter().map(|score| score.verdict);
        let marks: String = match (self.ok, self.scores.is_empty()) {
            (false, _) => mark(Verdict::Fail, colours),
            (true, true) => mark(Verdict::Pass, colours),
            (true, false) => verdicts.map(|verdict| mark(verdict, colours)).collect(),
        };
        let mut lines = vec![format!("{:>2}  {}  {marks}  {}", self.step, visible(&self.tool), duration(self.seconds))];
        if !self.result.is_empty() {
            lines.push(format!("    {}", self.result));
        }
        let attention = self.scores.iter().filter(|score| matches!(score.verdict, Verdict::Warn | Verdict::Fail));
        lines.extend(attention.map(|score| judgement(score, "    ", colours)));
        lines
    }
}

fn judgement(score: &Score, indent: &str, colours: bool) -> String {
    format!("{indent}{} {}: {}", mark(score.verdict, colours), visible(&score.scorer), short(&score.why, 300))
}

fn mark(verdict: Verdict, colours: bool) -> String {
    let (mark, colour) = match verdict {
        Verdict::Pass => ("✓", 32),
        Verdict::Warn => ("!", 33),
        Verdict::Fail => ("✗", 31),
        Verdict::Unknown => ("?", 33),
    };
    if colours { format!("\u{1b}[{colour}m{mark}\u{1b}[0m") } else { mark.to_owned() }
}

#[cfg(test)]
mod tests;
