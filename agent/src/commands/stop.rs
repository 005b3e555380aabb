//! Ctrl-C and SIGTERM: the first asks the work to stop, the second leaves at once, whichever it is.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tunesmith_sandbox::Cancel;

/// What a process that was cancelled exits with.
pub const CANCELLED: u8 = 130;

/// Raises `cancel` at the first signal. Jobs die with this process, however it ends.
pub fn watch(cancel: &Cancel) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers a signal ends the process, which is safe too.
        return;
    };
    let cancel = cancel.clone();
    tokio::spawn(async move {
        either(&mut interrupt, &mut terminate).await;
        cancel.cancel();
        eprintln!("stopping; press Ctrl-C again to leave at once");
        either(&mut interrupt, &mut terminate).await;
        std::process::exit(CANCELLED.into());
    });
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
