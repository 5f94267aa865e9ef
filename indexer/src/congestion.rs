//! How much the engine is asked to take at once, as its answers tell: a state machine without IO, clock or randomness.
//!
//! What one bulk has met holds for the next ones. One busy answer says little, because an engine that refuses by chance is not helped
//! by smaller bulks; where half of the latest answers are busy, size and number of bulks are halved. They grow back slowly.

#[cfg(test)]
mod tests;

/// How many of the latest eight answers may be busy before less is sent.
const BUSY: u32 = 4;
/// After how many answers in a row without a busy one there may be one more bulk at once.
const CALM: u32 = 8;

/// What may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Operations in one request, at least 1.
    pub operations: usize,
    /// Bulks under way at once, at least 1.
    pub bulks: u16,
}

/// When a request was sent: answers to those of before a cut do not cut again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent(u64);

/// A request that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// When it was sent.
    pub sent: Sent,
    /// Operations in it.
    pub operations: usize,
    /// Operations of the bulk that it was of: one that is far smaller than both its bulk and what is allowed is a remainder, and
    /// tells nothing of whole ones.
    pub of: usize,
}

/// What an engine takes, as far as its answers have told.
#[derive(Clone, Debug)]
pub struct Congestion {
    most: Allowance,
    allowed: Allowance,
    /// How often it was cut.
    cuts: u64,
    /// The latest answers that told something, a bit each: whether it was busy.
    latest: u8,
    /// The largest request that told something since it was cut.
    largest: usize,
    /// Answers in a row without a busy one.
    calm: u32,
}

impl Congestion {
    /// Nothing is known yet: everything is allowed.
    #[must_use]
    pub fn new(most: Allowance) -> Self {
        Self { most, allowed: most, cuts: 0, latest: 0, largest: 0, calm: 0 }
    }

    /// What may be sent now.
    #[must_use]
    pub fn allowance(&self) -> Allowance {
        self.allowed
    }

    /// To be kept with a request that is sent now.
    #[must_use]
    pub fn sent(&self) -> Sent {
        Sent(self.cuts)
    }

    /// The engine was too busy for most of a request.
    pub fn busy(&mut self, request: Request) {
        self.calm = 0;
        if request.sent != self.sent() || !self.tells(request) {
            return;
        }
        self.note(request, true);
        if self.latest.count_ones() >= BUSY {
            self.cut(self.largest);
            self.allowed.bulks = (self.allowed.bulks / 2).max(1);
        }
    }

    /// A request was too large as such, however calm the engine is.
    pub fn too_large(&mut self, request: Request) {
        if request.sent == self.sent() {
            self.cut(request.operations);
        }
    }

    /// The engine took a request.
    pub fn took(&mut self, request: Request) {
        if self.tells(request) {
            self.note(request, false);
        }
        if request.operations.saturating_mul(2) >= self.allowed.operations {
            let step = (self.allowed.operations / 8).max(1);
            self.allowed.operations = self.allowed.operations.saturating_add(step).min(self.most.operations);
        }
        self.calm += 1;
        if self.calm == CALM {
            self.calm = 0;
            self.allowed.bulks = self.allowed.bulks.saturating_add(1).min(self.most.bulks);
        }
    }

    fn tells(&self, request: Request) -> bool {
        request.operations.saturating_mul(2) >= self.allowed.operations.min(request.of)
    }

    fn note(&mut self, request: Request, busy: bool) {
        self.latest = self.latest << 1 | u8::from(busy);
        self.largest = self.largest.max(request.operations);
    }

    fn cut(&mut self, operations: usize) {
        self.allowed.operations = (self.allowed.operations.min(operations) / 2).max(1);
        self.cuts += 1;
        (self.latest, self.largest) = (0, 0);
    }
}
