//! Samples out of columns: all numbers are checked a column at a time, so that making a sample cannot fail and each is written
//! to where it stays.

use super::{ColumnError, Columns};
use crate::raw::{Coarsening, End, OpenedBy, Point, Sample, Text};
use weir_flow::{Address, Millis};

/// Observation points and ends by the number in the column.
const PLACES: [(Point, End); 10] = [
    (Point::Pod, End::Source),
    (Point::Pod, End::Destination),
    (Point::Host, End::Source),
    (Point::Host, End::Destination),
    (Point::Transit, End::Source),
    (Point::Transit, End::Destination),
    (Point::Underlay, End::Source),
    (Point::Underlay, End::Destination),
    (Point::Capture, End::Source),
    (Point::Capture, End::Destination),
];
const OPENED_BY: [OpenedBy; 3] = [OpenedBy::Unknown, OpenedBy::Source, OpenedBy::Destination];
const COARSENED: [Coarsening; 3] = [Coarsening::None, Coarsening::SourcePort, Coarsening::Prefix];

/// Reads samples back out of columns whose lengths were checked.
pub(super) struct Rows<'a, T> {
    tick: Millis,
    strings: &'a [T],
    addresses: &'a [Address],
    columns: &'a Columns,
}

/// Refuses a column in which a number is not below the limit.
fn check<N: Copy + Into<u32>>(name: &'static str, column: &[N], limit: usize) -> Result<(), ColumnError> {
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    // All of a column without leaving off early takes a fraction of the time.
    if column.iter().map(|number| (*number).into()).max().is_none_or(|largest| largest < limit) {
        return Ok(());
    }
    let beyond = column.iter().map(|number| (*number).into()).enumerate().find(|(_, number)| *number >= limit);
    beyond.map_or(Ok(()), |(row, number)| Err(ColumnError::Range(name, i64::from(number), row)))
}

/// An element of a column that may be left out.
fn at<T: Copy + Default>(column: &[T], row: usize) -> T {
    column.get(row).copied().unwrap_or_default()
}

/// The element of a number that was checked.
fn named<T: Clone>(values: &[T], number: u32) -> T {
    values[usize::try_from(number).unwrap_or(usize::MAX)].clone()
}

impl<'a, T: Text> Rows<'a, T> {
    /// Rows of which every number names something.
    ///
    /// # Errors
    /// The first number of a column that does not.
    pub(super) fn new(
        tick: Millis,
        strings: &'a [T],
        addresses: &'a [Address],
        columns: &'a Columns,
    ) -> Result<Self, ColumnError> {
        check("place", &columns.place, PLACES.len())?;
        check("opened_by", &columns.opened_by, OPENED_BY.len())?;
        check("coarsened", &columns.coarsened, COARSENED.len())?;
        check("source", &columns.source, addresses.len())?;
        check("destination", &columns.destination, addresses.len())?;
        // These hold 1 + the index.
        let strings_limit = strings.len().saturating_add(1);
        check("interface", &columns.interface, strings_limit)?;
        check("pod_uid", &columns.pod_uid, strings_limit)?;
        check("container", &columns.container, strings_limit)?;
        check("process", &columns.process, strings_limit)?;
        Ok(Self { tick, strings, addresses, columns })
    }

    fn string(&self, column: &[u32], row: usize) -> Option<T> {
        at(column, row).checked_sub(1).map(|index| named(self.strings, index))
    }

    /// The sample of a row, without what only some samples have.
    #[inline]
    pub(super) fn sample(&self, row: usize) -> Sample<T> {
        let c = self.columns;
        let (point, end) = PLACES[usize::from(c.place[row])];
        let first_seen = self.tick.wrapping_add(c.first_seen[row]);
        let opened = at(&c.opened, row);
        Sample {
            point,
            end,
            interface: self.string(&c.interface, row).unwrap_or_default(),
            source: named(self.addresses, c.source[row]),
            destination: named(self.addresses, c.destination[row]),
            source_port: c.source_port[row],
            destination_port: c.destination_port[row],
            protocol: c.protocol[row],
            translated: None,
            opened_by: OPENED_BY[usize::from(c.opened_by[row])],
            first_seen,
            last_seen: first_seen.wrapping_add(c.last_seen[row]),
            bytes: c.bytes[row],
            packets: c.packets[row],
            tcp_flags: at(&c.tcp_flags, row),
            started: at(&c.started, row),
            ended: at(&c.ended, row),
            opened_at: (opened > 0).then(|| first_seen.saturating_sub(opened - 1)),
            cumulative_bytes: c.bytes[row].saturating_add(at(&c.earlier_bytes, row)),
            cumulative_packets: c.packets[row].saturating_add(at(&c.earlier_packets, row)),
            drops: Vec::new(),
            retransmits: at(&c.retransmits, row),
            round_trip: None,
            pod_uid: self.string(&c.pod_uid, row),
            container: self.string(&c.container, row),
            process: self.string(&c.process, row),
            handshake: None,
            zero_windows: at(&c.zero_windows, row),
            resets: at(&c.resets, row),
            sampling: at(&c.sampling, row).saturating_add(1),
            coarsened: COARSENED[usize::from(at(&c.coarsened, row))],
        }
    }
}
