//! Whether a process is ready, and what its components say of themselves.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

/// One thing that must hold for the process to be ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// Its name, e.g. `kafka`.
    pub name: String,
    /// Whether it holds.
    pub ready: bool,
    /// Why, or why not.
    pub reason: String,
}

/// What `/ready` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HealthReport {
    /// Whether every condition holds.
    pub ready: bool,
    /// Names and reasons of the conditions that do not hold.
    pub waiting_for: Vec<String>,
    /// All conditions, by name.
    pub conditions: Vec<Condition>,
}

type StateProvider = Arc<dyn Fn() -> Value + Send + Sync>;

#[derive(Default)]
struct Inner {
    conditions: BTreeMap<String, (bool, String)>,
    providers: BTreeMap<String, StateProvider>,
}

/// The health of the process; clones share it. A process without conditions is ready.
#[derive(Clone)]
pub struct Health {
    inner: Arc<Mutex<Inner>>,
    ready: watch::Sender<bool>,
}

impl Default for Health {
    fn default() -> Self {
        Self { inner: Arc::default(), ready: watch::Sender::new(true) }
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Health").field(&self.report()).finish()
    }
}

impl Health {
    /// Health without conditions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a condition, with why it holds or does not.
    pub fn set_ready(&self, name: &str, ready: bool, reason: impl Into<String>) {
        let all_ready = {
            let mut inner = self.lock();
            inner.conditions.insert(name.to_owned(), (ready, reason.into()));
            inner.conditions.values().all(|(ready, _)| *ready)
        };
        self.ready.send_if_modified(|now| {
            let changed = *now != all_ready;
            *now = all_ready;
            changed
        });
    }

    /// Sets what `/state` shows under this name; asked on each request, so it must be quick.
    pub fn set_state(&self, name: &str, provider: impl Fn() -> Value + Send + Sync + 'static) {
        self.lock().providers.insert(name.to_owned(), Arc::new(provider));
    }

    /// Whether every condition holds.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Waits until every condition holds.
    pub async fn wait_ready(&self) {
        // The sender lives in self, so waiting cannot end in an error.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// All conditions.
    #[must_use]
    pub fn report(&self) -> HealthReport {
        let conditions: Vec<Condition> = self
            .lock()
            .conditions
            .iter()
            .map(|(name, (ready, reason))| Condition { name: name.clone(), ready: *ready, reason: reason.clone() })
            .collect();
        let waiting_for: Vec<String> = conditions
            .iter()
            .filter(|condition| !condition.ready)
            .map(|condition| format!("{}: {}", condition.name, condition.reason))
            .collect();
        HealthReport { ready: waiting_for.is_empty(), waiting_for, conditions }
    }

    /// What every provider says.
    #[must_use]
    pub fn state(&self) -> Value {
        // Providers run without the lock, so that one may use this health itself.
        let providers: Vec<(String, StateProvider)> =
            self.lock().providers.iter().map(|(name, provider)| (name.clone(), Arc::clone(provider))).collect();
        providers.into_iter().map(|(name, provider)| (name, provider())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
