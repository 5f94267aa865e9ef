//! Who writes: a Lease (`coordination.k8s.io`), by the rules of Kubernetes' own leader election. Pure.
//!
//! The holder renews it; when it has not been seen to change for its duration, another may take it. Only one's own clock is
//! used, from when a change was seen, so that clocks need not agree. It only keeps a second process waiting quietly: that no
//! two write is ensured by the fenced transactional producer, whatever the lease says. Hence the holder goes on while the
//! API does not answer, and stops only when it sees another's name.

use weir_flow::Millis;

#[cfg(test)]
mod tests;

/// How long a lease holds without being renewed, s.
pub const DURATION_SECONDS: i32 = 15;

/// The state of a lease, as far as it decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Who holds it; empty when it was given back.
    pub holder: String,
    /// How long it holds without being renewed, ms.
    pub duration: Millis,
    /// What changes with every writing of it.
    pub version: String,
}

/// What to do about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is nobody's: write it as one's own, unless it has changed meanwhile.
    Take,
    /// It is one's own: write it again.
    Renew,
    /// It is another's.
    Wait,
}

/// What one process has seen of a lease.
#[derive(Clone, Debug)]
pub struct Election {
    identity: String,
    seen: Option<(Seen, Millis)>,
}

impl Election {
    /// For a process with this name, which no other may have.
    #[must_use]
    pub fn new(identity: String) -> Self {
        Self { identity, seen: None }
    }

    /// This process's name.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Takes the lease as it is at `now` (any clock that only goes forward, ms); absent when there is none yet.
    pub fn decide(&mut self, lease: Option<Seen>, now: Millis) -> Decision {
        let Some(lease) = lease.filter(|lease| !lease.holder.is_empty()) else {
            self.seen = None;
            return Decision::Take;
        };
        if lease.holder == self.identity {
            return Decision::Renew;
        }
        let since = match &self.seen {
            Some((known, since)) if *known == lease => *since,
            _ => now,
        };
        let over = now.saturating_sub(since) >= lease.duration;
        self.seen = Some((lease, since));
        if over { Decision::Take } else { Decision::Wait }
    }
}
