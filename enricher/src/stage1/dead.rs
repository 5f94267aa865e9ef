//! Dead letters that wait for their generation.

use weir_schemas::dead_letter::DeadLetter;

/// The most bytes that the letters of one generation keep of messages: they are written in one transaction with all else.
pub(super) const BYTES: usize = 16 << 20;

/// Memory of a letter besides its texts and bytes, roughly.
const LETTER: usize = 256;

/// The dead letters of a generation, in the order of the log, with the offsets of their messages.
#[derive(Debug, Default)]
pub(super) struct Dead {
    letters: Vec<(i64, DeadLetter)>,
    memory: usize,
}

impl Dead {
    /// Takes the next letter; whether it keeps the bytes of its message. Which do is a function of the log.
    pub(super) fn take(&mut self, offset: i64, mut letter: DeadLetter) -> bool {
        let kept =
            |letter: &DeadLetter| [&letter.key, &letter.value].into_iter().flatten().map(Vec::len).sum::<usize>();
        let fits = self.memory.saturating_add(kept(&letter)) <= BYTES;
        if !fits {
            (letter.key, letter.value) = (None, None);
        }
        self.memory += LETTER + letter.cause.len() + letter.topic.len() + kept(&letter);
        self.letters.push((offset, letter));
        fits
    }

    /// The letters, with their offsets.
    pub(super) fn into_letters(self) -> Vec<(i64, DeadLetter)> {
        self.letters
    }

    /// The offset of the first.
    pub(super) fn first_offset(&self) -> Option<i64> {
        self.letters.first().map(|(offset, _)| *offset)
    }

    /// Bytes held, roughly.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }
}
