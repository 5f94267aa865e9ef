//! A set of documents of one segment.

/// Bits, one a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DocSet {
    words: Vec<u64>,
    docs: u32,
}

impl DocSet {
    pub(crate) fn empty(docs: u32) -> Self {
        let words = crate::numbers::to_usize(docs.div_ceil(64));
        Self { words: vec![0; words], docs }
    }

    pub(crate) fn full(docs: u32) -> Self {
        let mut set = Self::empty(docs);
        set.words.fill(u64::MAX);
        set.cut();
        set
    }

    /// Clears the bits beyond the last document.
    fn cut(&mut self) {
        let rest = self.docs % 64;
        if let (true, Some(last)) = (rest != 0, self.words.last_mut()) {
            *last &= (1 << rest) - 1;
        }
    }

    pub(crate) fn insert(&mut self, doc: u32) {
        if let Some(word) = self.words.get_mut(crate::numbers::to_usize(doc / 64)) {
            *word |= 1 << (doc % 64);
        }
    }

    pub(crate) fn contains(&self, doc: u32) -> bool {
        self.words.get(crate::numbers::to_usize(doc / 64)).is_some_and(|word| word & (1 << (doc % 64)) != 0)
    }

    pub(crate) fn intersect(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= other;
        }
    }

    pub(crate) fn unite(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
        }
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= !other;
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The documents in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().zip((0_u32..).step_by(64)).flat_map(|(word, base)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                if rest == 0 {
                    return None;
                }
                let bit = rest.trailing_zeros();
                rest &= rest - 1;
                Some(base + bit)
            })
        })
    }
}
