//! How much the engine is asked to take at once, as its answers tell: a state machine without IO, clock or randomness.
//!
//! What one bulk has met holds for the next ones. One busy answer says little, because an engine that refuses by chance is not helped
//! by smaller bulks, nor by fewer at once; where half of the latest answers are busy, or several in a row, size and number of bulks are
//! halved. They grow back slowly, also while some answers are busy.

#[cfg(test)]
mod tests;

/// How many of the latest sixteen answers are busy when less is sent. Of an engine that refuses three of ten by chance it is seldom
/// so many.
const BUSY: u32 = 8;
/// How many in a row are busy when less is sent: an engine to which bulks are too large refuses all of them.
const IN_A_ROW: u32 = 4;
/// After how many answers there may be one more bulk at once.
const ROUND: u32 = 8;
/// How many of them may be busy for that.
const CALM: u32 = 3;

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
    latest: u16,
    /// The largest request that told something since it was cut.
    largest: usize,
    /// Answers since there was last asked whether there may be one more bulk, or since it was cut.
    answers: u32,
    /// How many of them were busy.
    busy: u32,
}

impl Congestion {
    /// Nothing is known yet: everything is allowed.
    #[must_use]
    pub fn new(most: Allowance) -> Self {
        Self { most, allowed: most, cuts: 0, latest: 0, largest: 0, answers: 0, busy: 0 }
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
        if request.sent != self.sent() {
            return;
        }
        if self.tells(request) {
            self.note(request, true);
            if self.latest.count_ones() >= BUSY || self.latest.trailing_ones() >= IN_A_ROW {
                self.cut(self.largest);
                self.allowed.bulks = (self.allowed.bulks / 2).max(1);
                return;
            }
        }
        self.busy += 1;
        self.answered();
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
        self.answered();
    }

    /// Allows one more bulk at once where few of a round's answers were busy.
    fn answered(&mut self) {
        self.answers += 1;
        if self.answers == ROUND {
            if self.busy <= CALM {
                self.allowed.bulks = self.allowed.bulks.saturating_add(1).min(self.most.bulks);
            }
            (self.answers, self.busy) = (0, 0);
        }
    }

    fn tells(&self, request: Request) -> bool {
        request.operations.saturating_mul(2) >= self.allowed.operations.min(request.of)
    }

    fn note(&mut self, request: Request, busy: bool) {
        self.latest = self.latest << 1 | u16::from(busy);
        self.largest = self.largest.max(request.operations);
    }

    fn cut(&mut self, operations: usize) {
        self.allowed.operations = (self.allowed.operations.min(operations) / 2).max(1);
        self.cuts += 1;
        (self.latest, self.largest, self.answers, self.busy) = (0, 0, 0, 0);
    }
}
