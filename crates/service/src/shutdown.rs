//! When to stop: a token that SIGINT and SIGTERM cancel, and the time a service has to finish.

#[cfg(test)]
mod tests;

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code when a second signal ends the process at once.
pub const EXIT_SECOND_SIGNAL: i32 = 130;

/// Cancels its token on the first SIGINT or SIGTERM, and ends the process on the second.
#[derive(Debug, Clone)]
pub struct Shutdown {
    token: CancellationToken,
}

/// Work that did not finish in the time that it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not stopped after {}", humantime::format_duration(*.grace))]
pub struct DrainTimeout {
    /// The time that was given.
    pub grace: Duration,
}

impl Shutdown {
    /// Starts to listen for signals. Needs a tokio runtime.
    ///
    /// # Errors
    /// If the signal handlers cannot be installed.
    pub fn new() -> std::io::Result<Self> {
        let shutdown = Self::without_signals();
        // Ctrl-C on a terminal.
        let interrupt = signal(SignalKind::interrupt())?;
        // What Kubernetes, systemd and `kill` send.
        let terminate = signal(SignalKind::terminate())?;
        tokio::spawn(watch(interrupt, terminate, shutdown.token.clone()));
        Ok(shutdown)
    }

    /// One that only [`Shutdown::trigger`] cancels, for tests and for parts inside another process.
    #[must_use]
    pub fn without_signals() -> Self {
        Self { token: CancellationToken::new() }
    }

    /// The token that is cancelled when the process shall stop.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Cancels the token as a signal would.
    pub fn trigger(&self) {
        self.token.cancel();
    }
}

/// Waits for `work` to finish, `grace` at most.
///
/// # Errors
/// [`DrainTimeout`] if it did not finish; it is dropped then.
pub async fn drain<F: Future>(grace: Duration, work: F) -> Result<F::Output, DrainTimeout> {
    tokio::time::timeout(grace, work).await.map_err(|_| DrainTimeout { grace })
}

async fn watch(mut interrupt: Signal, mut terminate: Signal, token: CancellationToken) {
    let name = next(&mut interrupt, &mut terminate).await;
    tracing::info!(signal = name, "stopping; a second signal stops at once");
    token.cancel();
    let name = next(&mut interrupt, &mut terminate).await;
    tracing::warn!(signal = name, "stopping at once");
    std::process::exit(EXIT_SECOND_SIGNAL);
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) -> &'static str {
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}
