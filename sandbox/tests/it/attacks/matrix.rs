//! What was measured, as a table in the crate's documentation.
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use tunesmith_sandbox::{Layer, Status};

use super::attack::Attack;
use super::place::{Mode, User};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cell {
    Stopped,
    Escaped,
    /// The attack cannot succeed on this machine, even without a sandbox, for this reason.
    Impossible(&'static str),
}

impl Cell {
    fn text(self) -> &'static str {
        match self {
            Cell::Stopped => "stopped",
            Cell::Escaped => "ESCAPED",
            Cell::Impossible(_) => "n/a",
        }
    }
}

type Column = (User, Mode);

#[derive(Default)]
pub struct Matrix {
    cells: BTreeMap<(&'static str, User, Mode), Cell>,
    layers: BTreeMap<Column, Vec<(Layer, Status)>>,
    /// What attacks printed that got out.
    outputs: BTreeMap<(&'static str, User, Mode), String>,
    wrong: Vec<String>,
}

const INTRODUCTION: &str = "\
# What the sandbox stops

Every row is an attack that is run as a job, with a canary outside that shows whether it got out. The columns are the \
user who runs the caller and what was left out: `full` is everything, `-ns` is without namespaces, `-ll` without \
Landlock, `-both` without both, `watched` supervised and not confined, `off` without any sandbox. An attack that gets \
out without a sandbox and nowhere else is stopped by the sandbox and by nothing else. `n/a` stands where an attack cannot \
succeed on the machine even without a sandbox; the reasons are below the table.

This file is measured and written by

```text
TUNESMITH_UPDATE_MATRIX=1 cargo test -p tunesmith-sandbox -- --ignored attacks::soak
```
";

fn columns() -> impl Iterator<Item = Column> {
    [User::Root, User::Ordinary].into_iter().flat_map(|user| Mode::ALL.into_iter().map(move |mode| (user, mode)))
}

fn title((user, mode): Column) -> String {
    let user = if user == User::Root { "root" } else { "user" };
    let mode = match mode {
        Mode::Full => "full",
        Mode::NoNamespaces => "-ns",
        Mode::NoLandlock => "-ll",
        Mode::Neither => "-both",
        Mode::Watched => "watched",
        Mode::Off => "off",
    };
    format!("{user} {mode}")
}

fn status(status: &Status) -> &'static str {
    match status {
        Status::Enforced => "enforced",
        Status::Partial(_) if is_polled(status) => "polled",
        Status::Partial(_) => "partial",
        Status::Unavailable(_) => "missing",
    }
}

/// A limit that is polled holds: whoever passes it is stopped a moment later, and only that counts.
fn is_polled(status: &Status) -> bool {
    matches!(status, Status::Partial(gap) if gap.starts_with("polled"))
}

fn is_missing(status: &Status) -> bool {
    *status != Status::Enforced && !is_polled(status)
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("ATTACKS.md")
}

impl Matrix {
    pub fn note(&mut self, attack: &'static str, user: User, mode: Mode, cell: Cell) {
        self.cells.insert((attack, user, mode), cell);
    }

    pub fn escaped(&mut self, attack: &'static str, user: User, mode: Mode, output: String) {
        self.note(attack, user, mode, Cell::Escaped);
        self.outputs.insert((attack, user, mode), output);
    }

    pub fn wrong(&mut self, what: String) {
        self.wrong.push(what);
    }

    /// Notes what the sandbox says about itself; it says the same of every job.
    pub fn layers(&mut self, user: User, mode: Mode, layers: Vec<(Layer, Status)>) {
        let known = self.layers.entry((user, mode)).or_insert_with(|| layers.clone());
        if known.is_empty() {
            *known = layers;
        } else if !layers.is_empty() && *known != layers {
            self.wrong.push(format!("the layers differ between jobs of {user:?} in mode {mode:?}: {layers:?}"));
        }
    }

    /// Holds the measurement against what the sandbox says of itself, and against the file.
    pub fn check(mut self, groups: &[(&'static str, Vec<Attack>)], modes: &[Mode]) {
        let attacks: Vec<_> = groups.iter().flat_map(|(_, attacks)| attacks).collect();
        for attack in &attacks {
            let found = modes.iter().flat_map(|mode| self.judge(attack, *mode)).collect::<Vec<_>>();
            self.wrong.extend(found);
        }
        // A filter leaves most of the rest unmeasured.
        if std::env::var("TUNESMITH_ATTACK").is_err() {
            let idle = self.idle(&attacks);
            self.wrong.extend(idle);
            let whole = modes.len() == Mode::ALL.len() - 1 && User::possible().len() == 2;
            if std::env::var("TUNESMITH_UPDATE_MATRIX").is_err() {
                let differing = self.differing(&fs::read_to_string(file()).unwrap(), &attacks);
                self.wrong.extend(differing);
            } else if whole {
                fs::write(file(), self.render(groups)).unwrap();
            }
        }
        assert!(self.wrong.is_empty(), "{} findings:\n{}", self.wrong.len(), self.wrong.join("\n"));
    }

    /// An attack may get out only where its layer is said not to be there.
    fn judge(&self, attack: &Attack, mode: Mode) -> Vec<String> {
        let escaped = |user: &&User| self.cell(attack.name, (**user, mode)) == Some(Cell::Escaped);
        let lies = User::possible().iter().filter(escaped).filter(|user| !self.may_escape(attack, (**user, mode)));
        let said = |user: User| self.outputs.get(&(attack.name, user, mode)).map_or("", String::as_str);
        lies.map(|user| format!("`{}` got out as {user:?} in {mode:?}\n{}", attack.name, said(*user))).collect()
    }

    /// Whether the layer that should have stopped an attack was said not to be there.
    fn may_escape(&self, attack: &Attack, column: Column) -> bool {
        let mut layers = self.layers.get(&column).into_iter().flatten();
        layers.any(|(layer, said)| Some(*layer) == attack.layer && is_missing(said))
    }

    /// Layers that are said not to be there, although nothing gets out.
    fn idle(&self, attacks: &[&Attack]) -> Vec<String> {
        let mut idle = Vec::new();
        for (column, layers) in &self.layers {
            for (layer, said) in layers.iter().filter(|(_, said)| is_missing(said)) {
                let escaped = |attack: &&&Attack| self.cell(attack.name, *column) == Some(Cell::Escaped);
                if !attacks.iter().filter(|attack| attack.layer == Some(*layer)).any(|attack| escaped(&attack)) {
                    idle.push(format!("{layer} is said to be {said} for {}, and no attack got out", title(*column)));
                }
            }
        }
        idle
    }

    fn cell(&self, attack: &str, column: Column) -> Option<Cell> {
        let found = self.cells.iter().find(|((name, user, mode), _)| *name == attack && (*user, *mode) == column);
        found.map(|(_, cell)| *cell)
    }

    /// The measured cells that the file shows otherwise, where the sandbox is made of the same layers.
    fn differing(&self, old: &str, attacks: &[&Attack]) -> Vec<String> {
        let row = |name: &str| {
            let line = old
                .lines()
                .find(|line| line.strip_prefix("| ").is_some_and(|rest| rest.starts_with(&format!("{name} |"))));
            line.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>()).unwrap_or_default()
        };
        let same = |at: usize, column: &Column| {
            self.layers.get(column).is_none_or(|layers| {
                layers.iter().all(|(layer, said)| row(layer.name()).get(at + 1) == Some(&status(said)))
            })
        };
        let comparable: Vec<_> = columns().enumerate().filter(|(at, column)| same(*at, column)).collect();
        let names = attacks.iter().map(|attack| attack.name);
        let mut differing = Vec::new();
        for name in names {
            let known = row(name);
            if !known.contains(&"ESCAPED") {
                differing.push(format!("`{name}` gets out nowhere in the file, so it proves nothing"));
            }
            for (at, column) in &comparable {
                let (found, known) = (self.cell(name, *column), known.get(at + 2));
                let possible = found.filter(|cell| !matches!(cell, Cell::Impossible(_)));
                if let Some(cell) = possible
                    && known != Some(&"n/a")
                    && known != Some(&cell.text())
                {
                    differing.push(format!("`{name}`, {}: {} and not {known:?}", title(*column), cell.text()));
                }
            }
        }
        differing
    }

    fn render(&self, groups: &[(&'static str, Vec<Attack>)]) -> String {
        let mut text = INTRODUCTION.to_string();
        let titles: Vec<_> = columns().map(title).collect();
        let line = "---|".repeat(titles.len());
        writeln!(text, "\n## What the sandbox says of itself\n\n| layer | {} |\n|---|{line}", titles.join(" | "))
            .unwrap();
        for layer in Layer::ALL {
            let says = |column: Column| {
                let layers = self.layers.get(&column).into_iter().flatten();
                layers.filter(|(known, _)| *known == layer).map(|(_, said)| status(said)).next().unwrap_or("none")
            };
            let says: Vec<_> = columns().map(says).collect();
            writeln!(text, "| {layer} | {} |", says.join(" | ")).unwrap();
        }
        for (group, attacks) in groups {
            writeln!(text, "\n## {group}\n\n| attack | layer | {} |\n|---|---|{line}", titles.join(" | ")).unwrap();
            for attack in attacks {
                let layer = attack.layer.map_or("any", Layer::name);
                let cells: Vec<_> =
                    columns().map(|column| self.cell(attack.name, column).map_or("-", Cell::text)).collect();
                writeln!(text, "| {} | {layer} | {} |", attack.name, cells.join(" | ")).unwrap();
            }
        }
        self.footnotes(&mut text, groups);
        text
    }

    fn footnotes(&self, text: &mut String, groups: &[(&'static str, Vec<Attack>)]) {
        let attacks = || groups.iter().flat_map(|(_, attacks)| attacks);
        let escaped = |column: Column| {
            self.cells
                .iter()
                .filter(|((_, user, mode), cell)| (*user, *mode) == column && **cell == Cell::Escaped)
                .count()
        };
        let counts: Vec<_> = columns().map(|column| format!("{} {}", title(column), escaped(column))).collect();
        writeln!(text, "\n## Sums\n\nOf {} attacks these got out: {}.", attacks().count(), counts.join(", ")).unwrap();
        writeln!(text, "\n## Where an attack is impossible anyway\n").unwrap();
        for attack in attacks() {
            for user in [User::Root, User::Ordinary] {
                if let Some(Cell::Impossible(why)) = self.cell(attack.name, (user, Mode::Off)) {
                    let who = if user == User::Root { "root" } else { "an ordinary user" };
                    writeln!(text, "- {} as {who}: {why}.", attack.name).unwrap();
                }
            }
        }
    }
}
