//! More than a hundred attacks on the sandbox, each with a canary that shows whether it got out.
//!
//! Every attack is made without a sandbox first, where it must succeed, or it proves nothing. `ATTACKS.md` shows what was
//! measured; `TUNESMITH_UPDATE_MATRIX=1 cargo test -p tunesmith-sandbox -- --ignored attacks::soak`
//! measures and writes it anew.
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tunesmith_sandbox::{Ended, Finished};

mod attack;
mod confusion;
mod host;
mod kernel;
mod matrix;
mod metadata;
mod network;
mod place;
mod processes;
mod reads;
mod resources;
mod secrets;
mod writes;

use attack::{Attack, Needs};
use matrix::{Cell, Matrix};
use place::{Mode, Programs, Run, User};

/// Attacks wait more than they work.
const AT_ONCE: usize = 5;

fn groups() -> Vec<(&'static str, Vec<Attack>)> {
    vec![
        ("Reading files", reads::all()),
        ("Writing files", writes::all()),
        ("Metadata", metadata::all()),
        ("Secrets", secrets::all()),
        ("Processes", processes::all()),
        ("Network", network::all()),
        ("Kernel", kernel::all()),
        ("Resources", resources::all()),
        ("Confusion", confusion::all()),
    ]
}

/// Makes every attack in these modes and says what came of it.
fn measure(modes: &[Mode]) -> Matrix {
    let attacks: Vec<Attack> = groups().into_iter().flat_map(|(_, attacks)| attacks).collect();
    let only = std::env::var("TUNESMITH_ATTACK").ok();
    let chosen = |attack: &&Attack| only.as_ref().is_none_or(|only| attack.name.contains(only.as_str()));
    let (alone, together): (Vec<_>, Vec<_>) = attacks.iter().filter(chosen).partition(|attack| attack.alone);
    let programs = Programs::new();
    let matrix = Mutex::new(Matrix::default());
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(attack) = together.get(next.fetch_add(1, Ordering::SeqCst)) {
            try_it(&programs, attack, modes, &matrix);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    for attack in alone {
        try_it(&programs, attack, modes, &matrix);
    }
    matrix.into_inner().unwrap()
}

/// A machine that is busy with much else can make an attack late, so one success in three tries is enough: it proves
/// that the attack works.
fn without_a_sandbox(programs: &Programs, attack: &Attack, user: User) -> (Run, bool) {
    let mut run = place::run(programs, attack, user, Mode::Off);
    let mut got_out = (attack.proof)(&run);
    for _ in 0..2 {
        if got_out || !matches!(attack.needs, Needs::Nothing | Needs::Root(_)) {
            break;
        }
        run = place::run(programs, attack, user, Mode::Off);
        got_out = (attack.proof)(&run);
    }
    (run, got_out)
}

fn try_it(programs: &Programs, attack: &Attack, modes: &[Mode], matrix: &Mutex<Matrix>) {
    for user in User::possible() {
        let pointless = match attack.needs {
            Needs::Root(why) if *user == User::Ordinary => Some(why),
            Needs::Ordinary(why) if *user == User::Root => Some(why),
            _ => None,
        };
        let note = |mode, cell| matrix.lock().unwrap().note(attack.name, *user, mode, cell);
        if let Some(why) = pointless {
            Mode::ALL.into_iter().for_each(|mode| note(mode, Cell::Impossible(why)));
            continue;
        }
        let (off, got_out) = without_a_sandbox(programs, attack, *user);
        match (attack.needs, got_out) {
            (_, true) => note(Mode::Off, Cell::Escaped),
            (Needs::Kernel(why) | Needs::Ordinary(why), false) => {
                Mode::ALL.into_iter().for_each(|mode| note(mode, Cell::Impossible(why)));
                continue;
            }
            (_, false) => {
                let what = format!("`{}` as {user:?} proves nothing: it fails without a sandbox", attack.name);
                matrix.lock().unwrap().wrong(format!("{what}\n{}", off.output));
                continue;
            }
        }
        for mode in modes {
            let run = place::run(programs, attack, *user, *mode);
            let escaped = (attack.proof)(&run);
            let mut matrix = matrix.lock().unwrap();
            if escaped {
                matrix.escaped(attack.name, *user, *mode, run.output);
            } else {
                matrix.note(attack.name, *user, *mode, Cell::Stopped);
            }
            match run.finished {
                Some(Finished { ended: Ended::Failed(why), .. }) if !run.supervisor_lost => {
                    matrix.wrong(format!("`{}` was not made as {user:?} in mode {mode:?}: {why}", attack.name));
                }
                Some(finished) => matrix.layers(*user, *mode, finished.layers),
                // The caller was killed and could say nothing.
                None => {}
            }
        }
    }
}

#[test]
fn no_attack_succeeds_and_each_succeeds_without_a_sandbox() {
    let matrix = measure(&[Mode::Full]);
    matrix.check(&groups(), &[Mode::Full]);
}

#[test]
#[ignore = "minutes: every attack in every mode"]
fn soak_what_is_said_to_be_missing_is_what_attacks_find() {
    let modes = &Mode::ALL[..5];
    let matrix = measure(modes);
    matrix.check(&groups(), modes);
}
