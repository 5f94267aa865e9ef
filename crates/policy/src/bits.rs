//! Sets of small numbers.

/// A set of numbers that grows with the largest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bits(Vec<u64>);

fn place(number: u32) -> (usize, u64) {
    (index(number / 64), 1 << (number % 64))
}

/// A number as a place in a list.
pub(crate) fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The number of a place in a list; the largest for what has no number, which no list reaches.
pub(crate) fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

impl Bits {
    pub(crate) fn insert(&mut self, number: u32) {
        let (word, bit) = place(number);
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    pub(crate) fn contains(&self, number: u32) -> bool {
        let (word, bit) = place(number);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The members, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().enumerate().flat_map(|(at, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                if rest == 0 {
                    return None;
                }
                let bit = rest.trailing_zeros();
                rest &= rest - 1;
                Some(number(at).saturating_mul(64).saturating_add(bit))
            })
        })
    }
}
