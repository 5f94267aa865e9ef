//! Whether the topic is read, as too much is in hand or too far ahead, or not: pure but for the times that it is given.

use std::time::Duration;
use tokio::time::Instant;

#[cfg(test)]
mod tests;

/// How long what comes may be left where it is before partitions are paused: others wait so long for a rebalance at most.
const LONGEST_HOLD: Duration = Duration::from_secs(2);

/// How much there is of what may be there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) is: u64,
    pub(super) limit: u64,
}

/// What holds reading back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Bytes in hand.
    pub(super) held: Share,
    /// Offsets read beyond the position that can be committed.
    pub(super) ahead: Share,
}

impl Load {
    /// Which limit is reached, if one is.
    pub(super) fn full(&self) -> Option<&'static str> {
        let reached = |share: Share| share.is >= share.limit;
        match (reached(self.held), reached(self.ahead)) {
            (true, _) => Some("memory"),
            (false, true) => Some("ahead"),
            (false, false) => None,
        }
    }

    /// Whether both are below half of their limits.
    fn has_room(&self) -> bool {
        [self.held, self.ahead].iter().all(|share| share.is < share.limit / 2)
    }
}

/// Whether the topic is read, as too much is in hand or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// It is read.
    Read,
    /// What comes is left where it is for the moment, until then at most: the member is not heard meanwhile.
    Wait(Instant),
    /// Its partitions are paused, and the member is heard. What was fetched ahead is thrown away and fetched again later, which
    /// takes as much of the processor as documents do: so not for each moment in which the engine is slower than the topic.
    Paused,
}

impl Pace {
    /// The next pace, with so much in hand at a time.
    pub(super) fn next(self, load: Load, now: Instant) -> Self {
        let full = load.full().is_some();
        match self {
            Self::Read if full => Self::Wait(now + LONGEST_HOLD),
            Self::Wait(_) if !full => Self::Read,
            Self::Wait(until) if now >= until => Self::Paused,
            Self::Paused if load.has_room() => Self::Read,
            same => same,
        }
    }

    /// Until when what comes is left where it is, if it is.
    pub(super) fn until(self) -> Option<Instant> {
        match self {
            Self::Wait(until) => Some(until),
            Self::Read | Self::Paused => None,
        }
    }
}
