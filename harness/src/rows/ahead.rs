//! Work on many things at once, with results in the order in which it was asked for.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::{Receiver, TryRecvError, sync_channel},
};

/// Most things that are worked on ahead of the one that is waited for.
const MOST: usize = 16;
/// Most bytes in them, where it is not said otherwise.
const BYTES: usize = 32 << 20;

/// Results on their way, in order.
pub(super) struct Ahead<T> {
    queue: VecDeque<(usize, Receiver<T>)>,
    /// Most bytes in them; one may always be worked on.
    most: usize,
}

impl<T: Send + 'static> Ahead<T> {
    pub fn new() -> Ahead<T> {
        Ahead::holding(BYTES)
    }

    /// With room for so many bytes.
    pub fn holding(most: usize) -> Ahead<T> {
        Ahead { queue: VecDeque::new(), most }
    }

    /// Whether it is time to wait for the first result rather than to ask for more.
    pub fn is_full(&self) -> bool {
        let bytes: usize = self.queue.iter().map(|(bytes, _)| bytes).sum();
        self.queue.len() >= (2 * rayon::current_num_threads()).min(MOST) || bytes >= self.most
    }

    /// Has a thread of the pool do some work, on so many bytes.
    pub fn ask(&mut self, bytes: usize, work: impl FnOnce() -> T + Send + 'static) {
        let (done, result) = sync_channel(1);
        rayon::spawn(move || {
            // A panic in a thread of the pool would end the process; here the one who waits learns of it. Nobody may be
            // waiting any more.
            if let Ok(result) = catch_unwind(AssertUnwindSafe(work)) {
                let _ = done.send(result);
            }
        });
        self.queue.push_back((bytes, result));
    }

    /// Waits for the first result; `None` where nothing was asked for, `Some(None)` where the work broke down.
    pub fn wait(&mut self) -> Option<Option<T>> {
        let (_, result) = self.queue.pop_front()?;
        loop {
            match result.try_recv() {
                Ok(item) => return Some(Some(item)),
                Err(TryRecvError::Disconnected) => return Some(None),
                // A thread of the pool works meanwhile, for it may be the one that is to do this work.
                Err(TryRecvError::Empty) if rayon::yield_now() == Some(rayon::Yield::Executed) => {}
                Err(TryRecvError::Empty) => return Some(result.recv().ok()),
            }
        }
    }

    /// Waits for nothing any more.
    pub fn clear(&mut self) {
        self.queue.clear();
    }
}
