//! How far a transfer is: a bar on a terminal, nothing that moves elsewhere.

use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressStyle};
use tunesmith_harness::{figures::bytes, text::visible};

/// A bar over the bytes of a whole transfer, removed with it.
pub struct Bar(Option<ProgressBar>);

impl Bar {
    /// Says what is on its way, and how much.
    pub fn new(what: &str, size: u64) -> Self {
        eprintln!("{}: {}", visible(what), bytes(size));
        Bar(stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(size);
            let form = "{wide_msg} {bar:20} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
            if let Ok(style) = ProgressStyle::with_template(form) {
                bar.set_style(style);
            }
            bar
        }))
    }

    /// Shows which file is on its way and how much of all is there.
    pub fn at(&self, file: &str, done: u64) {
        if let Some(bar) = &self.0 {
            bar.set_message(visible(file).into_owned());
            bar.set_position(done);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
