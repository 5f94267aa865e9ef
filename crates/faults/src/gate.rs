//! What holds the bytes of a connection back: the whole proxy's pause, and the connection's own stalls.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

#[derive(Debug)]
pub(crate) struct Gate {
    paused: watch::Receiver<bool>,
    stalled_until: Mutex<Option<Instant>>,
}

impl Gate {
    pub(crate) fn new(paused: watch::Receiver<bool>) -> Self {
        Self { paused, stalled_until: Mutex::new(None) }
    }

    /// Holds both directions of the connection for a while from now.
    pub(crate) fn stall(&self, length: Duration) {
        let until = Instant::now() + length;
        let mut stalled = self.stalled_until.lock().unwrap_or_else(PoisonError::into_inner);
        *stalled = (*stalled).max(Some(until));
    }

    /// Returns once nothing is held back.
    pub(crate) async fn pass(&self) {
        loop {
            let mut paused = self.paused.clone();
            // The sender lives as long as the proxy, whose end ends the connection too.
            if paused.wait_for(|paused| !paused).await.is_err() {
                return;
            }
            let until = *self.stalled_until.lock().unwrap_or_else(PoisonError::into_inner);
            match until.filter(|until| *until > Instant::now()) {
                Some(until) => tokio::time::sleep_until(until).await,
                None => return,
            }
        }
    }
}
