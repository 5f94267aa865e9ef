//! Who something was over time, in a cache line: what a question about the past reads instead of the whole history.
//!
//! Times are those of [`crate::since`], rounded so that nobody is named too early or too long. What falls into the
//! rounding, or is not certain, or is longer ago than fits, is not said: then the history itself is searched.

use crate::holders::AtNode;
use crate::since::{Moment, Since};
use weir_flow::Millis;

#[cfg(test)]
mod tests;

/// Entries of a history that are looked at, the latest ones, when a timeline is made of it.
pub(crate) const LOOKED_AT: usize = 16;

/// What a timeline says of a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// On this node, or on [`ELSEWHERE`].
    Who(AtNode),
    /// Nobody for certain.
    Nobody,
    /// Nothing: the history must be searched.
    Nothing,
}

/// Of a node where not all that a timeline names were on the same one: the identity says which.
pub(crate) const ELSEWHERE: u32 = u32::MAX - 1;

/// Stands for nobody where an identity's number stands.
const NOBODY: u32 = u32::MAX - 1;
/// Stands for nothing likewise.
const NOTHING: u32 = u32::MAX;

/// The last parts of a history, each from its beginning until a little before the next one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeline<const N: usize> {
    /// Ascending, and [`Since::NEVER`] where there is none.
    begins: [Since; N],
    /// Numbers of identities, [`NOBODY`] and [`NOTHING`].
    whose: [u32; N],
    /// The node of all of them, or [`ELSEWHERE`].
    node: u32,
    /// For how many moments before its beginning nothing is said, because the change is in doubt.
    doubts: [u8; N],
    /// Whether there was nobody before the first part.
    is_whole: bool,
}

impl<const N: usize> Default for Timeline<N> {
    fn default() -> Self {
        Self::SILENT
    }
}

impl<const N: usize> Timeline<N> {
    /// Says nothing.
    pub(crate) const SILENT: Self =
        Self { begins: [Since::NEVER; N], whose: [NOTHING; N], node: ELSEWHERE, doubts: [0; N], is_whole: false };

    /// Of parts in order, of which none begins before the one before ends; with the time before which there was nobody,
    /// if that is known. The last ones are kept where they are too many.
    pub(crate) fn of(nobody_before: Option<Millis>, parts: impl IntoIterator<Item = Part>) -> Self {
        let mut line = Self { is_whole: nobody_before.is_some(), ..Self::SILENT };
        let (mut length, mut said_until) = (0, nobody_before.map(Moment::end));
        let mut node = None;
        for part in parts {
            let (begin, end) = (Since::of(part.from), Moment::end(part.until));
            if !begin.is_before(end) {
                continue;
            }
            let mut doubt = 0;
            if let Some(until) = said_until {
                match u8::try_from(begin.after(until)) {
                    Ok(short) => doubt = short,
                    Err(_) => line.push(&mut length, until.as_since(), 0, NOTHING),
                }
            }
            let whose = match part.said {
                Said::Who(who) if who.identity < NOBODY => {
                    let known = *node.get_or_insert(who.node);
                    line.node = if known == who.node { known } else { ELSEWHERE };
                    node = Some(line.node);
                    who.identity
                }
                Said::Nobody => NOBODY,
                Said::Who(_) | Said::Nothing => NOTHING,
            };
            line.push(&mut length, begin, doubt, whose);
            said_until = Some(end);
        }
        if let Some(until) = said_until.filter(|until| until.as_since() != Since::NEVER) {
            line.push(&mut length, until.as_since(), 0, NOTHING);
        }
        line
    }

    fn push(&mut self, length: &mut usize, begin: Since, doubt: u8, whose: u32) {
        if *length == N {
            self.begins.rotate_left(1);
            self.whose.rotate_left(1);
            self.doubts.rotate_left(1);
            self.is_whole = false;
            *length -= 1;
        }
        let place = (self.begins.get_mut(*length), self.whose.get_mut(*length), self.doubts.get_mut(*length));
        if let (Some(to_begin), Some(to_whose), Some(to_doubt)) = place {
            (*to_begin, *to_whose, *to_doubt) = (begin, whose, doubt);
            *length += 1;
        }
    }

    /// Whether there was nobody before what is said.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Who it was at a moment.
    #[inline]
    pub(crate) fn at(&self, moment: Moment) -> Said {
        let begun: usize = self.begins.iter().map(|begin| usize::from(begin.holds(moment))).sum();
        let next = self.begins.get(begun).zip(self.doubts.get(begun));
        if next.is_some_and(|(begin, doubt)| begin.holds(moment.later(*doubt))) {
            return Said::Nothing;
        }
        match begun.checked_sub(1).and_then(|last| self.whose.get(last)) {
            Some(&NOBODY) => Said::Nobody,
            Some(&NOTHING) => Said::Nothing,
            Some(&identity) => Said::Who(AtNode { identity, node: self.node }),
            None if self.is_whole && moment.is_said() => Said::Nobody,
            None => Said::Nothing,
        }
    }
}

/// From a time until another (exclusive) it was somebody, or nobody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) from: Millis,
    pub(crate) until: Millis,
    pub(crate) said: Said,
}
