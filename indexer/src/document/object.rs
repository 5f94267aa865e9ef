//! JSON objects written member by member into a line: what a document of a flow says anew for each record.

use super::Time;
use crate::calendar;
use serde::Serialize;
use weir_flow::Millis;

#[cfg(test)]
mod tests;

/// An object that is being written. Names are members' names as they stand in JSON, with quotes and colon, so that each is one
/// copy; [`end`](Self::end) closes it.
#[derive(Debug)]
pub(super) struct Object<'l> {
    line: &'l mut Vec<u8>,
    /// Where its first member begins.
    start: usize,
}

/// Writing fails only where a value has no form in JSON.
type Written = Result<(), serde_json::Error>;

impl<'l> Object<'l> {
    /// Begins an object behind what stands in the line.
    pub(super) fn begin(line: &'l mut Vec<u8>) -> Self {
        line.push(b'{');
        let start = line.len();
        Self { line, start }
    }

    /// Begins an object as a member.
    pub(super) fn object(&mut self, name: &str) -> Object<'_> {
        self.name(name);
        Object::begin(self.line)
    }

    /// Closes it.
    pub(super) fn end(self) {
        self.line.push(b'}');
    }

    #[inline]
    fn name(&mut self, name: &str) {
        if self.line.len() > self.start {
            self.line.push(b',');
        }
        self.line.extend_from_slice(name.as_bytes());
    }

    /// A member whose value is JSON already.
    #[inline]
    pub(super) fn raw(&mut self, name: &str, value: &[u8]) {
        self.name(name);
        self.line.extend_from_slice(value);
    }

    /// More of what stands last, or more members, each behind a comma: JSON already.
    #[inline]
    pub(super) fn more(&mut self, text: &[u8]) {
        self.line.extend_from_slice(text);
    }

    pub(super) fn value(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Written {
        self.name(name);
        serde_json::to_writer(&mut *self.line, value)
    }

    #[inline]
    pub(super) fn number(&mut self, name: &str, value: u64) -> Written {
        self.value(name, &value)
    }

    /// A counter of something rare: absent when it is zero.
    #[inline]
    pub(super) fn rare(&mut self, name: &str, value: u64) -> Written {
        if value == 0 { Ok(()) } else { self.number(name, value) }
    }

    pub(super) fn optional(&mut self, name: &str, value: Option<&impl Serialize>) -> Written {
        value.map_or(Ok(()), |value| self.value(name, value))
    }

    /// A list: absent when it is empty.
    pub(super) fn list<T: Serialize>(&mut self, name: &str, values: &[T]) -> Written {
        if values.is_empty() { Ok(()) } else { self.value(name, values) }
    }

    /// A flag: absent when it is not set.
    pub(super) fn flag(&mut self, name: &str, set: bool) {
        if set {
            self.raw(name, b"true");
        }
    }

    pub(super) fn time(&mut self, name: &str, time: Millis) -> Written {
        match calendar::iso(time) {
            Some(text) => {
                let mut quoted = [b'"'; calendar::LENGTH + 2];
                let [_, inside @ .., _] = &mut quoted;
                *inside = text;
                self.raw(name, &quoted);
                Ok(())
            }
            // Which says why.
            None => self.value(name, &Time(time)),
        }
    }
}
