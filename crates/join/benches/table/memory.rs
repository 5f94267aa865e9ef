//! What reading memory costs without any table: cache lines in random order, in twice as much memory as they take, as
//! the table's entries lie.

use crate::cluster::mix;

/// A cache line that names another one.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Line(usize);

/// Lines, one of each pair of which leads to one of another pair, and through all of them.
pub(crate) struct Lines {
    lines: Vec<Line>,
}

impl Lines {
    pub(crate) fn new(count: u64) -> Self {
        let count = usize::try_from(count).unwrap();
        let mut lines = vec![Line::default(); 2 * count];
        // A random order, by Fisher and Yates.
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            order.swap(last, random(last, last + 1));
        }
        let used = |pair: usize| 2 * pair + random(pair ^ 77, 2);
        for (place, pair) in order.iter().enumerate() {
            lines[used(*pair)] = Line(used(order[(place + 1) % count]));
        }
        Self { lines }
    }

    /// The place of a random line.
    pub(crate) fn place(&self, number: u64) -> usize {
        let pair = random(usize::try_from(number).unwrap(), self.lines.len() / 2);
        2 * pair + random(pair ^ 77, 2)
    }

    /// Where so many reads lead, of which each needs the one before.
    pub(crate) fn chase(&self, start: usize, reads: u64) -> usize {
        (0..reads).fold(start, |place, _| self.lines[place].0)
    }

    /// Reads that need nothing of each other.
    pub(crate) fn sum(&self, places: &[usize]) -> usize {
        places.iter().fold(0, |all, place| all ^ self.lines[*place].0)
    }
}

fn random(number: usize, below: usize) -> usize {
    let number = mix(u64::try_from(number).unwrap());
    usize::try_from(number % u64::try_from(below).unwrap()).unwrap()
}
