//! Ctrl-C in a session: once stops the turn, twice the run, three times the session. SIGTERM ends all of it.

use std::{
    io, process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tunesmith_sandbox::Cancel;

use crate::commands::stop::CANCELLED;

/// What was pressed while a run is at work.
#[derive(Default)]
pub struct Keys {
    state: Mutex<State>,
    leave: AtomicBool,
    /// The terminal as it was before a line editor had it.
    terminal: Option<Termios>,
}

#[derive(Default)]
struct State {
    /// Stops the run that is at work.
    cancel: Option<Cancel>,
    /// How often it was told to.
    pressed: u32,
}

impl Keys {
    /// Listens from now on.
    pub fn watch() -> Arc<Self> {
        let keys = Arc::new(Keys { terminal: tcgetattr(io::stdin()).ok(), ..Keys::default() });
        if let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        {
            let heard = keys.clone();
            tokio::spawn(async move {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => heard.interrupt(),
                        _ = terminate.recv() => heard.terminate(),
                    }
                }
            });
        }
        keys
    }

    /// A run begins; the result stops it.
    pub fn begin(&self) -> Cancel {
        let cancel = Cancel::default();
        *self.state() = State { cancel: Some(cancel.clone()), pressed: 0 };
        cancel
    }

    /// The run has ended; says how often it was told to stop.
    pub fn end(&self) -> u32 {
        std::mem::take(&mut *self.state()).pressed
    }

    /// Whether the session has to end.
    pub fn has_to_leave(&self) -> bool {
        self.leave.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn interrupt(&self) {
        let mut state = self.state();
        // Without a run the line that is typed takes the key.
        let Some(cancel) = state.cancel.clone() else { return };
        state.pressed += 1;
        match state.pressed {
            1 => eprintln!("stopping this turn; Ctrl-C again ends the run"),
            2 => eprintln!("ending the run; Ctrl-C again leaves at once"),
            _ => self.exit(),
        }
        cancel.cancel();
    }

    /// Leaves at once, with the terminal as it was.
    fn exit(&self) {
        if let Some(terminal) = &self.terminal {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, terminal);
        }
        process::exit(CANCELLED.into());
    }

    /// With a run at work it is stopped first, so that its log has an end.
    fn terminate(&self) {
        let second = self.leave.swap(true, Ordering::Relaxed);
        match (&self.state().cancel, second) {
            (Some(cancel), false) => cancel.cancel(),
            _ => self.exit(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_stops_the_turn_and_twice_the_run() {
        let keys = Keys::default();
        // Without a run there is nothing to stop.
        keys.interrupt();
        let cancel = keys.begin();
        assert!(!cancel.is_cancelled());
        keys.interrupt();
        assert!(cancel.is_cancelled());
        assert_eq!(keys.end(), 1);
        let _next = keys.begin();
        keys.interrupt();
        keys.interrupt();
        assert_eq!((keys.end(), keys.has_to_leave()), (2, false));
    }

    #[test]
    fn a_session_that_is_told_to_end_stops_its_run_first() {
        let keys = Keys::default();
        let cancel = keys.begin();
        keys.terminate();
        assert_eq!((cancel.is_cancelled(), keys.has_to_leave()), (true, true));
    }
}
