//! What a job prints: taken line by line, and counted.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

use crate::{Cancel, Line};

/// How long output may still arrive once all processes of a job are dead.
const GRACE: Duration = Duration::from_secs(1);

/// What the two readers of one job share.
#[derive(Debug)]
pub(super) struct Output {
    /// How many bytes may be printed.
    pub most: u64,
    /// How many have been.
    pub printed: AtomicU64,
    /// The longest line that arrives in one piece.
    pub line_bytes: usize,
    /// Raised when that was not enough.
    pub over: Cancel,
    /// Raised when every process of the job is dead.
    pub dead: Cancel,
}

impl Output {
    /// Counts bytes, and raises the alarm when they are too many.
    fn take(&self, bytes: usize) {
        let before = self.printed.fetch_add(bytes as u64, Ordering::Relaxed);
        if before + bytes as u64 > self.most {
            self.over.cancel();
        }
    }

    /// The end of all reading: a process that survived its job may hold a pipe open for ever.
    async fn ended(&self) {
        self.dead.cancelled().await;
        tokio::time::sleep(GRACE).await;
    }
}

/// Sends what a job prints line by line.
pub(super) async fn read_lines(
    mut from: impl AsyncRead + Unpin,
    line: fn(String) -> Line,
    to: mpsc::Sender<Line>,
    output: Arc<Output>,
) {
    let mut pending: Vec<u8> = Vec::new();
    let mut chunk = vec![0; 16 << 10];
    loop {
        let count = tokio::select! {
            biased;
            read = from.read(&mut chunk) => read.unwrap_or(0),
            () = output.ended() => 0,
        };
        if count == 0 {
            break;
        }
        output.take(count);
        if output.over.is_cancelled() {
            // The pipe is still emptied: a broken one would end the job before its limit does.
            continue;
        }
        let mut rest = &chunk[..count];
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            pending.extend(&rest[..end]);
            // Nobody may be listening any more, which is no reason to hold up the job.
            let _ = to.send(line(text(&mut pending))).await;
            rest = &rest[end + 1..];
        }
        pending.extend(rest);
        if pending.len() >= output.line_bytes {
            let _ = to.send(line(text(&mut pending))).await;
        }
    }
    if !pending.is_empty() {
        let _ = to.send(line(text(&mut pending))).await;
    }
}

fn text(bytes: &mut Vec<u8>) -> String {
    let text = String::from_utf8_lossy(bytes).into_owned();
    bytes.clear();
    text
}
