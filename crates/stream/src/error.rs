//! What can go wrong with a log, by what the caller has to do about it.

use crate::record::TopicPartition;

/// What the owner of a failed call has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Nothing was changed; the same call may be made again later.
    Retriable,
    /// The transaction must be aborted, then its work may be done again with the same producer.
    Abortable,
    /// Another instance has taken over, or the outcome of a commit is unknown: drop the producer and
    /// everything held in memory for its partitions, make a new one and start from committed positions.
    Fenced,
    /// The same for any other error after which the object cannot be used any more.
    Fatal,
    /// The bounded queue of the producer has no room now.
    QueueFull,
    /// The record itself or the settings can never work; repeating does not help.
    Invalid,
}

/// An error of a log. [`StreamError::kind`] says what to do; the text says what happened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StreamError {
    /// Settings that cannot work.
    #[error("{0}")]
    Configuration(String),
    /// The topic does not exist (or may not be seen).
    #[error("topic {0} does not exist; create it, or check the topic's name and access rights")]
    UnknownTopic(String),
    /// The topic exists with another number of partitions than it was said to have.
    #[error(
        "topic {topic} has {found} partitions and {expected} are required; partition counts are settings that never change"
    )]
    PartitionCount {
        /// The topic.
        topic: String,
        /// The count that was asked for.
        expected: i32,
        /// The count that the cluster has.
        found: i32,
    },
    /// The producer's queue is at its limit.
    #[error("producer queue is full ({limit_bytes} bytes)")]
    QueueFull {
        /// The limit in bytes.
        limit_bytes: usize,
    },
    /// The record is larger than the log takes.
    #[error("record of {size} bytes for topic {topic} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The topic it was meant for.
        topic: String,
        /// Bytes of the record.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A record was not acknowledged.
    #[error("delivery to {topic}: {message}")]
    Delivery {
        /// The topic it was meant for.
        topic: String,
        /// What the client said.
        message: String,
        /// Whether the broker may have written it all the same. Then a new process must not send it
        /// again.
        outcome_unknown: bool,
    },
    /// Nothing came in time; nothing was changed.
    #[error("{what} timed out after {milliseconds} ms; check that the brokers can be reached")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        milliseconds: u128,
    },
    /// A broker was reached, and did not let this client in or is not trusted.
    #[error("{0}; check --kafka-security, the user, the password and the certificates")]
    Refused(String),
    /// A position could not be committed or fetched for one partition.
    #[error("offset of {partition}: {message}")]
    Offset {
        /// The partition.
        partition: TopicPartition,
        /// What the broker said.
        message: String,
        /// Whether to try again.
        retriable: bool,
    },
    /// The transaction has to be aborted.
    #[error("transaction must be aborted: {0}")]
    Abortable(String),
    /// Fenced, or a commit of unknown outcome.
    #[error("fenced: {0}")]
    Fenced(String),
    /// Nothing more can be done with this object.
    #[error("{0}")]
    Fatal(String),
    /// A passing error of the cluster; nothing was changed.
    #[error("{0}")]
    Retriable(String),
    /// The caller broke the order of calls, for example a send without `begin`.
    #[error("{0}")]
    Misuse(String),
}

impl StreamError {
    /// What the caller has to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Configuration(_) | Self::PartitionCount { .. } | Self::TooLarge { .. } | Self::Misuse(_) => {
                ErrorKind::Invalid
            }
            Self::QueueFull { .. } => ErrorKind::QueueFull,
            Self::UnknownTopic(_) | Self::Timeout { .. } | Self::Refused(_) | Self::Retriable(_) => {
                ErrorKind::Retriable
            }
            Self::Offset { retriable, .. } if *retriable => ErrorKind::Retriable,
            Self::Abortable(_) => ErrorKind::Abortable,
            Self::Fenced(_) => ErrorKind::Fenced,
            Self::Offset { .. } | Self::Delivery { .. } | Self::Fatal(_) => ErrorKind::Fatal,
        }
    }

    /// True when the owner must drop the object and what it holds, and start again from committed
    /// positions.
    pub fn needs_rebuild(&self) -> bool {
        matches!(self.kind(), ErrorKind::Fenced | ErrorKind::Fatal)
    }
}
