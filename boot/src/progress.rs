//! Progress on long work: a spinner on a terminal, one plain line elsewhere. Always on standard error.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// One piece of long work; it clears its spinner when dropped.
#[derive(Debug)]
pub struct Step(Option<ProgressBar>);

impl Step {
    /// Announces `what`.
    #[must_use]
    pub fn new(what: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            eprintln!("{what}");
            return Self(None);
        }
        let bar = ProgressBar::new_spinner()
            .with_message("")
            .with_prefix(what.to_owned());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {wide_msg:.dim}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(Some(bar))
    }

    /// Shows what it is about at the moment.
    pub fn at(&self, detail: &str) {
        if let Some(bar) = &self.0 {
            bar.set_message(detail.trim().to_owned());
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
