//! One line on standard error for a person who watches; nothing where nobody does.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};
use weir_enricher::replay::Progress;

/// Time between two looks of the line.
const EVERY: Duration = Duration::from_millis(200);
/// How many characters the bar has.
const BAR: usize = 24;

/// The line; it is wiped away at the end.
pub(crate) struct ProgressLine {
    shown: Option<Instant>,
    watched: bool,
}

impl ProgressLine {
    pub(crate) fn new() -> Self {
        Self { shown: None, watched: std::io::stderr().is_terminal() }
    }

    /// Shows how far it is, five times a second at most.
    pub(crate) fn show(&mut self, progress: &Progress) {
        if self.watched && self.shown.is_none_or(|shown| shown.elapsed() >= EVERY) {
            self.shown = Some(Instant::now());
            // A closed standard error is no reason to fail.
            let _ = write!(std::io::stderr(), "\r\x1b[K{}", render(progress));
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn render(progress: &Progress) -> String {
    let done = BAR * usize::from(progress.permille) / 1_000;
    let bar: String = (0..BAR).map(|i| if i < done { '#' } else { '.' }).collect();
    format!(
        "replay [{bar}] {:>3} %  {} messages, {} records, {} MiB wait",
        progress.permille / 10,
        progress.messages,
        progress.records.saturating_add(progress.dns),
        progress.memory >> 20
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_as_long_as_what_is_done() {
        let progress = Progress { messages: 7, bytes: 70, records: 2, dns: 1, permille: 500, memory: 2 << 20 };
        let expected = "replay [############............]  50 %  7 messages, 3 records, 2 MiB wait";
        assert_eq!(render(&progress), expected);
    }
}
