//! What goes wrong, as a pure function of a seed.

use crate::http::Bulk;
use kafka_protocol::messages::ApiKey;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// One way to go wrong. A connection of a [tcp](crate::Proxy::tcp) proxy is one exchange: what its client sends is the
/// request, what comes back the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The answer comes later, by up to this long.
    Delay {
        /// The longest delay.
        at_most: Duration,
    },
    /// The answer trickles.
    Throttle {
        /// How fast, at least 1.
        bytes_per_second: u64,
    },
    /// Nothing moves on the connection for a while, as if the server were stopped; then it goes on.
    Stall {
        /// How long.
        length: Duration,
    },
    /// Nothing comes back on the connection any more, but it stays open and takes what is sent; the request is not
    /// passed on.
    Blackhole,
    /// The connection is reset: before the request is passed on when `within` is 0, else after 1 to `within` bytes of the
    /// answer, or at its end when it is shorter.
    Reset {
        /// The most bytes of the answer that still come.
        within: u64,
    },
    /// The request is passed on; of the connection to the client only the answers' half is closed.
    HalfClose,
    /// The request is passed on; the connection is closed (without a reset) after 0 to `within` bytes of the answer, or
    /// at its end when it is shorter.
    Cut {
        /// The most bytes of the answer that still come.
        within: u64,
    },
    /// The request is passed on and answered; the connection is reset in place of the answer.
    DropAnswer,
    /// HTTP only: this status in place of an answer; the request is not passed on.
    Status(u16),
    /// HTTP only, for bulk requests to a search engine (uncompressed): some of the items are answered so and not passed on.
    /// With 429 and 5xx it is by chance each time anew; with another status the same items are refused again.
    Items {
        /// The items' status.
        status: u16,
        /// The error's name.
        code: &'static str,
        /// How many of a thousand.
        per_mille: u16,
    },
    /// HTTP only, for bulk requests: everything is done, and the answer lacks an item.
    ShortAnswer,
}

/// The kinds of [`Fault`], by which they are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the fault of that name")]
pub enum Kind {
    Delay,
    Throttle,
    Stall,
    Blackhole,
    Reset,
    HalfClose,
    Cut,
    DropAnswer,
    Status,
    Items,
    ShortAnswer,
}

impl Fault {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Delay { .. } => Kind::Delay,
            Self::Throttle { .. } => Kind::Throttle,
            Self::Stall { .. } => Kind::Stall,
            Self::Blackhole => Kind::Blackhole,
            Self::Reset { .. } => Kind::Reset,
            Self::HalfClose => Kind::HalfClose,
            Self::Cut { .. } => Kind::Cut,
            Self::DropAnswer => Kind::DropAnswer,
            Self::Status(_) => Kind::Status,
            Self::Items { .. } => Kind::Items,
            Self::ShortAnswer => Kind::ShortAnswer,
        }
    }
}

/// A fault and the exchanges that it strikes.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub(crate) fault: Fault,
    share: f64,
    skip: u64,
    at_most: u64,
    apis: Vec<i16>,
    paths: Vec<String>,
}

impl Rule {
    /// A fault that strikes every exchange.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        Self { fault, share: 1.0, skip: 0, at_most: u64::MAX, apis: Vec::new(), paths: Vec::new() }
    }

    /// Strikes this share of the exchanges, 0 to 1.
    #[must_use]
    pub fn share(mut self, share: f64) -> Self {
        self.share = share;
        self
    }

    /// Spares the first exchanges that it could strike.
    #[must_use]
    pub fn skip(mut self, exchanges: u64) -> Self {
        self.skip = exchanges;
        self
    }

    /// Strikes no more often than this.
    #[must_use]
    pub fn at_most(mut self, times: u64) -> Self {
        self.at_most = times;
        self
    }

    /// Strikes only these requests to Kafka.
    #[must_use]
    pub fn apis(mut self, apis: &[ApiKey]) -> Self {
        self.apis = apis.iter().map(|api| *api as i16).collect();
        self
    }

    /// Strikes only HTTP requests whose path (without its query) ends so, `/_bulk` for example.
    #[must_use]
    pub fn paths(mut self, ends: &[&str]) -> Self {
        self.paths = ends.iter().map(|end| (*end).to_owned()).collect();
        self
    }

    fn covers(&self, request: &Request<'_>) -> bool {
        match request {
            Request::Connection => self.apis.is_empty() && self.paths.is_empty(),
            Request::Kafka(api) => self.paths.is_empty() && (self.apis.is_empty() || self.apis.contains(api)),
            Request::Http(path) => {
                self.apis.is_empty() && (self.paths.is_empty() || self.paths.iter().any(|end| path.ends_with(end)))
            }
        }
    }
}

/// What a request is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request<'a> {
    Connection,
    Kafka(i16),
    /// The path without its query.
    Http(&'a str),
}

/// A fault with its numbers drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Delay(Duration),
    Throttle(u64),
    Stall(Duration),
    Blackhole,
    /// Before the request is passed on.
    Reset,
    /// After so many bytes of the answer.
    ResetAfter(u64),
    HalfClose,
    CutAfter(u64),
    DropAnswer,
    Status(u16),
    Bulk(Bulk),
}

/// Rules under a seed; the first that strikes an exchange decides what becomes of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    seed: u64,
    pub(crate) rules: Vec<Rule>,
}

/// How often a rule could have struck, and has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Strikes {
    seen: u64,
    struck: u64,
}

impl Plan {
    /// A plan without rules: nothing goes wrong.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, rules: Vec::new() }
    }

    /// Adds a rule.
    #[must_use]
    pub fn with(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// What becomes of exchange number `exchange` on connection number `connection`.
    pub(crate) fn decide(
        &self,
        strikes: &mut [Strikes],
        request: &Request<'_>,
        connection: u64,
        exchange: u64,
    ) -> Option<Action> {
        for (number, (rule, strikes)) in (0_u64..).zip(self.rules.iter().zip(strikes)) {
            if !rule.covers(request) {
                continue;
            }
            strikes.seen += 1;
            if strikes.seen <= rule.skip || strikes.struck >= rule.at_most {
                continue;
            }
            let drawn = [self.seed, number, connection, exchange].into_iter().fold(0, |state, word| mix(state ^ word));
            if fraction(drawn) < rule.share {
                strikes.struck += 1;
                return Some(action(rule.fault, mix(drawn)));
            }
        }
        None
    }
}

fn action(fault: Fault, drawn: u64) -> Action {
    match fault {
        Fault::Delay { at_most } => Action::Delay(at_most.mul_f64(fraction(drawn))),
        Fault::Throttle { bytes_per_second } => Action::Throttle(bytes_per_second.max(1)),
        Fault::Stall { length } => Action::Stall(length),
        Fault::Blackhole => Action::Blackhole,
        Fault::Reset { within: 0 } => Action::Reset,
        Fault::Reset { within } => Action::ResetAfter(1 + drawn % within),
        Fault::HalfClose => Action::HalfClose,
        Fault::Cut { within } => Action::CutAfter(drawn.checked_rem(within.saturating_add(1)).unwrap_or(drawn)),
        Fault::DropAnswer => Action::DropAnswer,
        Fault::Status(status) => Action::Status(status),
        Fault::Items { status, code, per_mille } => Action::Bulk(Bulk::Refuse { status, code, per_mille, drawn }),
        Fault::ShortAnswer => Action::Bulk(Bulk::Short),
    }
}

/// One step of splitmix64.
pub(crate) fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number from 0 to below 1.
pub(crate) fn fraction(drawn: u64) -> f64 {
    let high = u32::try_from(drawn >> 32).unwrap_or(0);
    f64::from(high) / (f64::from(u32::MAX) + 1.0)
}
