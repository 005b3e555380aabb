//! A flag that says "stop", shared by everyone who has to.
use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

/// A cheap flag that is raised once and seen by all of its clones.
#[derive(Clone, Default)]
pub struct Cancel(Arc<watch::Sender<bool>>);

impl Cancel {
    /// Raises the flag; it stays raised.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }

    /// Whether the flag is raised.
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns as soon as the flag is raised.
    pub async fn cancelled(&self) {
        let mut flag = self.0.subscribe();
        // The sender lives as long as `self`, so this ends only when the flag is raised.
        let _ = flag.wait_for(|raised| *raised).await;
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cancel").field(&self.is_cancelled()).finish()
    }
}
