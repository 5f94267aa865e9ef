//! Aggregation levels.

/// How much of a flow's key a record keeps (Calico's vocabulary).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// Everything: both addresses, both ports, protocol.
    Zero,
    /// Without the initiator's port.
    One,
    /// By workload: without addresses and pod names.
    Two,
    /// By workload and without the responder's port.
    Three,
}

impl Level {
    /// The level's number, 0 to 3.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Zero => 0,
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
        }
    }

    /// The level with this number, if there is one.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        match number {
            0 => Some(Self::Zero),
            1 => Some(Self::One),
            2 => Some(Self::Two),
            3 => Some(Self::Three),
            _ => None,
        }
    }

    /// Whether records keep both addresses.
    #[must_use]
    pub fn keeps_addresses(self) -> bool {
        self <= Self::One
    }
}
