//! Progress on standard error: a bar if it is a terminal, nothing otherwise.

use crate::failure::Failure;
use crate::output;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use regraft::progress::{Progress, Stage};
use std::io::IsTerminal;

/// One bar at a time, made when it is first moved.
#[derive(Default)]
pub struct Bars {
    bar: Option<(String, ProgressBar)>,
}

const TEMPLATE: &str = "{prefix:>12} {bar:30} {pos}/{len} {msg}";

impl Bars {
    /// Shows how far a piece of work is.
    pub fn progress(&mut self, progress: Progress) {
        let Progress { stage, done, total } = progress;
        let total = total.unwrap_or(done);
        match stage {
            Stage::Downloading => {
                let kib = |bytes: u64| (bytes >> 10) as usize;
                self.show("fetching KiB", kib(done), kib(total), String::new());
            }
            _ => self.show(&stage.to_string(), done as usize, total as usize, String::new()),
        }
    }

    /// Shows `done` of `total` under a title, with a message after it. Another title begins another
    /// bar.
    pub fn show(&mut self, title: &str, done: usize, total: usize, message: String) {
        if !std::io::stderr().is_terminal() || output::is_silent() {
            return;
        }
        if self.bar.as_ref().is_none_or(|(shown, _)| shown != title) {
            self.clear();
            let bar =
                ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
            bar.set_style(
                ProgressStyle::with_template(TEMPLATE)
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar.set_prefix(title.to_owned());
            self.bar = Some((title.to_owned(), bar));
        }
        if let Some((_, bar)) = &self.bar {
            bar.set_position(done as u64);
            bar.set_message(message);
        }
    }

    /// Removes the bar, so that lines can be written.
    pub fn clear(&mut self) {
        if let Some((_, bar)) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// The output of a long command while it works: lines and, below them, a bar.
pub struct Narration {
    pub bars: Bars,
    to_error: bool,
    written: Result<(), Failure>,
}

impl Narration {
    /// Writes lines to standard output, or to standard error if standard output is for JSON.
    pub fn new(to_error: bool) -> Self {
        Self { bars: Bars::default(), to_error, written: Ok(()) }
    }

    /// Writes a line. A failure to write is reported by [`Self::end`], so that the work itself is
    /// finished first.
    pub fn say(&mut self, text: String) {
        self.bars.clear();
        if self.to_error {
            output::aside(text);
        } else if self.written.is_ok() {
            self.written = output::line(text);
        }
    }

    /// Takes the bar away.
    ///
    /// # Errors
    /// If a line could not be written.
    pub fn end(mut self) -> Result<(), Failure> {
        self.bars.clear();
        self.written
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A time in words short enough for a bar: `3m05s`.
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds:02}s"),
        (hours, minutes, _) => format!("{hours}h{minutes:02}m"),
    }
}
