//! The broker's counters.

use std::sync::atomic::{AtomicU64, Ordering};

/// One counter that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: usize) {
        self.0.fetch_add(u64::try_from(n).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// All counters of a broker, since its start.
        #[derive(Debug, Default)]
        pub(crate) struct Metrics { $($(#[$doc])* pub(crate) $name: Counter,)* }

        impl Metrics {
            /// The name and value of each counter, in a fixed order.
            pub(crate) fn snapshot(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)*]
            }
        }
    };
}

counters! {
    /// Connections taken.
    connections_accepted,
    /// Connections closed at once because too many were open.
    connections_refused,
    /// Connections closed because of bytes that are no request.
    connections_malformed,
    /// Connections closed because the client was too slow or silent for too long.
    connections_timed_out,
    /// Requests answered.
    requests,
    /// Requests whose size or element count was over the limit.
    requests_too_large,
    /// Requests of an API or version that is not served.
    requests_unsupported,
    /// Batches written by clients.
    batches_appended,
    /// Bytes of batches written by clients.
    bytes_appended,
    /// Repeated batches of idempotent producers, acknowledged without being written again.
    batches_duplicate,
    /// Batches refused, for whatever reason.
    batches_refused,
    /// Bytes of batches returned by fetches.
    bytes_fetched,
    /// Topics or partitions refused because there are too many.
    partitions_refused,
    /// Groups, members or offsets refused because there are too many.
    groups_refused,
    /// Transactional ids refused because there are too many.
    transactional_ids_refused,
    /// Rebalances completed.
    rebalances,
    /// Members removed because they were silent.
    members_expired,
    /// Transactions committed.
    transactions_committed,
    /// Transactions aborted, on time-out included.
    transactions_aborted,
    /// Transactions aborted because they took longer than their time-out.
    transactions_timed_out,
    /// Segments deleted by retention.
    segments_deleted,
    /// Bytes cut from the end of logs at the start because they were torn or damaged.
    recovery_bytes_truncated,
    /// Writes, syncs and deletions that the file system refused.
    storage_errors,
}
