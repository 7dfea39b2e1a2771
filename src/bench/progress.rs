//! Progress bars, for people only: hidden where there is no terminal, and with `--quiet`.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Makes the bars of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    quiet: bool,
}

impl Progress {
    /// With `quiet`, nothing is ever shown.
    pub fn new(quiet: bool) -> Progress {
        Progress { quiet }
    }

    /// A bar of `length` steps. On standard error, which indicatif hides it from unless it is a terminal.
    pub fn bar(self, length: u64, message: impl Into<String>) -> Bar {
        let target = if self.quiet {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let style = ProgressStyle::with_template(
            "{msg:<34} {wide_bar:.cyan/dim} {percent:>3}% {elapsed:>4}",
        );
        let bar = ProgressBar::with_draw_target(Some(length), target)
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            .with_message(message.into());
        bar.tick();
        Bar(bar)
    }
}

/// A bar; gone from the screen when dropped.
pub struct Bar(ProgressBar);

impl Bar {
    /// `steps` more are done.
    pub fn add(&self, steps: u64) {
        self.0.inc(steps);
    }

    /// What is being done now.
    pub fn say(&self, message: impl Into<String>) {
        self.0.set_message(message.into());
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
