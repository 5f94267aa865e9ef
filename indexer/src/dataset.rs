//! The data sets: which topic each is read from, and how its messages become documents. Pure.

use crate::document::{Prepared, Writer, prepare_audit, prepare_dns, prepare_ledger};
use crate::periods::Periods;
use weir_elastic::bulk::{Batch, Place};
use weir_schemas::audit::Audit;
use weir_schemas::dns::Dns;
use weir_schemas::ledger::Ledger;
use weir_schemas::topics;

#[cfg(test)]
mod tests;

/// One topic and the indices that it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dataset {
    /// Flow records.
    Flows,
    /// DNS records.
    Dns,
    /// Ledger lines.
    Ledger,
    /// Audit entries.
    Audit,
}

impl Dataset {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Flows, Self::Dns, Self::Ledger, Self::Audit];

    /// The topic that it is read from.
    #[must_use]
    pub fn topic(self) -> &'static str {
        match self {
            Self::Flows => topics::ENRICHED,
            Self::Dns => topics::DNS,
            Self::Ledger => topics::LEDGER,
            Self::Audit => topics::AUDIT,
        }
    }

    /// Its name in metrics, conditions and groups.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Flows => "flows",
            Self::Dns => "dns",
            Self::Ledger => "ledger",
            Self::Audit => "audit",
        }
    }

    /// The consumer group that reads it: each data set has its own, so that one that stands still holds no other.
    #[must_use]
    pub fn group(self, base: &str) -> String {
        match self {
            Self::Flows => base.to_owned(),
            other => format!("{base}-{}", other.as_str()),
        }
    }

    /// Its part of the memory for records in hand, sixteenths.
    #[must_use]
    pub fn sixteenths(self) -> u64 {
        match self {
            Self::Flows => 10,
            Self::Dns => 4,
            Self::Ledger | Self::Audit => 1,
        }
    }

    /// Writes a message into a batch.
    ///
    /// # Errors
    /// When it is none of this topic's, or can never be a document; nothing is written then.
    pub fn read(
        self,
        value: Option<&[u8]>,
        periods: &Periods,
        writer: &mut Writer,
        batch: &mut Batch,
    ) -> Result<Prepared<Place>, String> {
        let value = value.ok_or("record without a value")?;
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let prepared = match self {
            Self::Flows => return writer.put(value, periods, batch).map_err(|e| words(&e)),
            Self::Dns => {
                let record: Dns = weir_schemas::decode(value).map_err(|e| words(&e))?;
                prepare_dns(&record, periods).map_err(|e| words(&e))
            }
            Self::Ledger => {
                let line: Ledger = weir_schemas::decode(value).map_err(|e| words(&e))?;
                prepare_ledger(&line, periods).map_err(|e| words(&e))
            }
            Self::Audit => {
                let entry: Audit = weir_schemas::decode(value).map_err(|e| words(&e))?;
                prepare_audit(&entry, periods).map_err(|e| words(&e))
            }
        };
        Ok(prepared?.map(|operation| batch.append(&operation)))
    }
}
