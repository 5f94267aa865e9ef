//! The error codes of the Kafka protocol that this broker answers with.

/// An error code of the Kafka protocol; 0 is success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code(i16);

impl Code {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const OFFSET_OUT_OF_RANGE: Self = Self(1);
    pub(crate) const CORRUPT_MESSAGE: Self = Self(2);
    pub(crate) const UNKNOWN_TOPIC_OR_PARTITION: Self = Self(3);
    pub(crate) const MESSAGE_TOO_LARGE: Self = Self(10);
    pub(crate) const OFFSET_METADATA_TOO_LARGE: Self = Self(12);
    pub(crate) const COORDINATOR_NOT_AVAILABLE: Self = Self(15);
    pub(crate) const INVALID_TOPIC_EXCEPTION: Self = Self(17);
    pub(crate) const INVALID_REQUIRED_ACKS: Self = Self(21);
    pub(crate) const ILLEGAL_GENERATION: Self = Self(22);
    pub(crate) const INCONSISTENT_GROUP_PROTOCOL: Self = Self(23);
    pub(crate) const INVALID_GROUP_ID: Self = Self(24);
    pub(crate) const UNKNOWN_MEMBER_ID: Self = Self(25);
    pub(crate) const INVALID_SESSION_TIMEOUT: Self = Self(26);
    pub(crate) const REBALANCE_IN_PROGRESS: Self = Self(27);
    pub(crate) const UNSUPPORTED_VERSION: Self = Self(35);
    pub(crate) const TOPIC_ALREADY_EXISTS: Self = Self(36);
    pub(crate) const INVALID_PARTITIONS: Self = Self(37);
    pub(crate) const INVALID_REPLICATION_FACTOR: Self = Self(38);
    pub(crate) const INVALID_CONFIG: Self = Self(40);
    pub(crate) const INVALID_REQUEST: Self = Self(42);
    pub(crate) const POLICY_VIOLATION: Self = Self(44);
    pub(crate) const OUT_OF_ORDER_SEQUENCE_NUMBER: Self = Self(45);
    pub(crate) const INVALID_PRODUCER_EPOCH: Self = Self(47);
    pub(crate) const INVALID_TXN_STATE: Self = Self(48);
    pub(crate) const INVALID_PRODUCER_ID_MAPPING: Self = Self(49);
    pub(crate) const INVALID_TRANSACTION_TIMEOUT: Self = Self(50);
    pub(crate) const CONCURRENT_TRANSACTIONS: Self = Self(51);
    pub(crate) const OPERATION_NOT_ATTEMPTED: Self = Self(55);
    pub(crate) const KAFKA_STORAGE_ERROR: Self = Self(56);
    pub(crate) const NON_EMPTY_GROUP: Self = Self(68);
    pub(crate) const GROUP_ID_NOT_FOUND: Self = Self(69);
    pub(crate) const MEMBER_ID_REQUIRED: Self = Self(79);
    pub(crate) const GROUP_MAX_SIZE_REACHED: Self = Self(81);
    pub(crate) const FENCED_INSTANCE_ID: Self = Self(82);
    pub(crate) const UNSTABLE_OFFSET_COMMIT: Self = Self(88);
    pub(crate) const PRODUCER_FENCED: Self = Self(90);

    /// The number on the wire.
    pub(crate) fn value(self) -> i16 {
        self.0
    }

    /// The code of a result: success is 0.
    pub(crate) fn of<T>(result: &Result<T, Self>) -> i16 {
        result.as_ref().err().map_or(0, |code| code.0)
    }
}
