//! The APIs and versions that are served, with the layout of their requests.
//!
//! The versions are what librdkafka uses; others that speak them (the Java client among them) agree on these too.

use super::shape::{Field, Kind, Shape};
use kafka_protocol::messages::ApiKey;

const NEVER: i16 = i16::MAX;

const fn field(kind: Kind, since: i16, until: i16) -> Field {
    Field { kind, since, until }
}

const fn always(kind: Kind) -> Field {
    field(kind, 0, i16::MAX)
}

/// The only field of elements that are no structures.
const fn plain(kind: Kind) -> [Field; 1] {
    [field(kind, i16::MIN, i16::MAX)]
}

const I8: Kind = Kind::Fixed(1);
const I16: Kind = Kind::Fixed(2);
const I32: Kind = Kind::Fixed(4);
const I64: Kind = Kind::Fixed(8);

const I32S: Kind = Kind::Array(&plain(I32));
const TEXTS: Kind = Kind::Array(&plain(Kind::Text));
const TOPIC_PARTITIONS: Kind = Kind::Array(&[always(Kind::Text), always(I32S)]);

const PRODUCE: &[Field] = &[
    always(Kind::Text),
    always(I16),
    always(I32),
    always(Kind::Array(&[always(Kind::Text), always(Kind::Array(&[always(I32), always(Kind::Blob)]))])),
];
const FETCH: &[Field] = &[
    always(I32),
    always(I32),
    always(I32),
    always(I32),
    always(I8),
    field(I32, 7, NEVER),
    field(I32, 7, NEVER),
    always(Kind::Array(&[
        always(Kind::Text),
        always(Kind::Array(&[always(I32), field(I32, 9, NEVER), always(I64), field(I64, 5, NEVER), always(I32)])),
    ])),
    field(TOPIC_PARTITIONS, 7, NEVER),
    field(Kind::Text, 11, NEVER),
];
const LIST_OFFSETS: &[Field] = &[
    always(I32),
    field(I8, 2, NEVER),
    always(Kind::Array(&[always(Kind::Text), always(Kind::Array(&[always(I32), field(I32, 4, NEVER), always(I64)]))])),
];
const METADATA: &[Field] =
    &[always(Kind::Array(&[always(Kind::Text)])), field(I8, 4, NEVER), field(I8, 8, NEVER), field(I8, 8, NEVER)];
const OFFSET_COMMIT: &[Field] = &[
    always(Kind::Text),
    always(I32),
    always(Kind::Text),
    field(Kind::Text, 7, NEVER),
    field(I64, 2, 4),
    always(Kind::Array(&[
        always(Kind::Text),
        always(Kind::Array(&[always(I32), always(I64), field(I32, 6, NEVER), always(Kind::Text)])),
    ])),
];
const OFFSET_FETCH: &[Field] = &[always(Kind::Text), always(TOPIC_PARTITIONS), field(I8, 7, NEVER)];
const FIND_COORDINATOR: &[Field] = &[always(Kind::Text), field(I8, 1, NEVER)];
const JOIN_GROUP: &[Field] = &[
    always(Kind::Text),
    always(I32),
    field(I32, 1, NEVER),
    always(Kind::Text),
    field(Kind::Text, 5, NEVER),
    always(Kind::Text),
    always(Kind::Array(&[always(Kind::Text), always(Kind::Blob)])),
];
const HEARTBEAT: &[Field] = &[always(Kind::Text), always(I32), always(Kind::Text), field(Kind::Text, 3, NEVER)];
const LEAVE_GROUP: &[Field] = &[
    always(Kind::Text),
    field(Kind::Text, 0, 2),
    field(Kind::Array(&[always(Kind::Text), always(Kind::Text)]), 3, NEVER),
];
const SYNC_GROUP: &[Field] = &[
    always(Kind::Text),
    always(I32),
    always(Kind::Text),
    field(Kind::Text, 3, NEVER),
    always(Kind::Array(&[always(Kind::Text), always(Kind::Blob)])),
];
const DESCRIBE_GROUPS: &[Field] = &[always(TEXTS), field(I8, 3, NEVER)];
const API_VERSIONS_REQUEST: &[Field] = &[field(Kind::Text, 3, NEVER), field(Kind::Text, 3, NEVER)];
const CREATE_TOPICS: &[Field] = &[
    always(Kind::Array(&[
        always(Kind::Text),
        always(I32),
        always(I16),
        always(Kind::Array(&[always(I32), always(I32S)])),
        always(Kind::Array(&[always(Kind::Text), always(Kind::Text)])),
    ])),
    always(I32),
    always(I8),
];
const DELETE_TOPICS: &[Field] = &[always(TEXTS), always(I32)];
const DELETE_RECORDS: &[Field] =
    &[always(Kind::Array(&[always(Kind::Text), always(Kind::Array(&[always(I32), always(I64)]))])), always(I32)];
const INIT_PRODUCER_ID: &[Field] = &[always(Kind::Text), always(I32), field(I64, 3, NEVER), field(I16, 3, NEVER)];
const ADD_PARTITIONS_TO_TXN: &[Field] = &[always(Kind::Text), always(I64), always(I16), always(TOPIC_PARTITIONS)];
const ADD_OFFSETS_TO_TXN: &[Field] = &[always(Kind::Text), always(I64), always(I16), always(Kind::Text)];
const END_TXN: &[Field] = &[always(Kind::Text), always(I64), always(I16), always(I8)];
const TXN_OFFSET_COMMIT: &[Field] = &[
    always(Kind::Text),
    always(Kind::Text),
    always(I64),
    always(I16),
    field(I32, 3, NEVER),
    field(Kind::Text, 3, NEVER),
    field(Kind::Text, 3, NEVER),
    always(Kind::Array(&[
        always(Kind::Text),
        always(Kind::Array(&[always(I32), always(I64), field(I32, 2, NEVER), always(Kind::Text)])),
    ])),
];
const DESCRIBE_CONFIGS: &[Field] =
    &[always(Kind::Array(&[always(I8), always(Kind::Text), always(TEXTS)])), always(I8), field(I8, 3, NEVER)];
const ALTER_CONFIGS: &[Field] = &[
    always(Kind::Array(&[
        always(I8),
        always(Kind::Text),
        always(Kind::Array(&[always(Kind::Text), always(Kind::Text)])),
    ])),
    always(I8),
];
const INCREMENTAL_ALTER_CONFIGS: &[Field] = &[
    always(Kind::Array(&[
        always(I8),
        always(Kind::Text),
        always(Kind::Array(&[always(Kind::Text), always(I8), always(Kind::Text)])),
    ])),
    always(I8),
];
const CREATE_PARTITIONS: &[Field] = &[
    always(Kind::Array(&[always(Kind::Text), always(I32), always(Kind::Array(&[always(I32S)]))])),
    always(I32),
    always(I8),
];
const DESCRIBE_CLUSTER: &[Field] = &[always(I8)];

/// One API: key, first and last version served, first flexible version, layout.
pub(crate) struct Api {
    pub(crate) key: ApiKey,
    pub(crate) min: i16,
    pub(crate) max: i16,
    shape: Shape,
}

const fn api(key: ApiKey, versions: (i16, i16), flexible_since: i16, fields: &'static [Field]) -> Api {
    Api { key, min: versions.0, max: versions.1, shape: Shape { fields, flexible_since } }
}

/// All APIs that are served.
pub(crate) const API_VERSIONS: &[Api] = &[
    api(ApiKey::Produce, (3, 9), 9, PRODUCE),
    api(ApiKey::Fetch, (4, 11), 12, FETCH),
    api(ApiKey::ListOffsets, (1, 5), 6, LIST_OFFSETS),
    api(ApiKey::Metadata, (0, 9), 9, METADATA),
    api(ApiKey::OffsetCommit, (2, 7), 8, OFFSET_COMMIT),
    api(ApiKey::OffsetFetch, (1, 7), 6, OFFSET_FETCH),
    api(ApiKey::FindCoordinator, (0, 3), 3, FIND_COORDINATOR),
    api(ApiKey::JoinGroup, (0, 5), 6, JOIN_GROUP),
    api(ApiKey::Heartbeat, (0, 3), 4, HEARTBEAT),
    api(ApiKey::LeaveGroup, (0, 3), 4, LEAVE_GROUP),
    api(ApiKey::SyncGroup, (0, 3), 4, SYNC_GROUP),
    api(ApiKey::DescribeGroups, (0, 4), 5, DESCRIBE_GROUPS),
    api(ApiKey::ListGroups, (0, 2), 3, &[]),
    api(ApiKey::ApiVersions, (0, 3), 3, API_VERSIONS_REQUEST),
    api(ApiKey::CreateTopics, (2, 4), 5, CREATE_TOPICS),
    api(ApiKey::DeleteTopics, (1, 3), 4, DELETE_TOPICS),
    api(ApiKey::DeleteRecords, (0, 1), 2, DELETE_RECORDS),
    api(ApiKey::InitProducerId, (0, 4), 2, INIT_PRODUCER_ID),
    api(ApiKey::AddPartitionsToTxn, (0, 2), 3, ADD_PARTITIONS_TO_TXN),
    api(ApiKey::AddOffsetsToTxn, (0, 2), 3, ADD_OFFSETS_TO_TXN),
    api(ApiKey::EndTxn, (0, 2), 3, END_TXN),
    api(ApiKey::TxnOffsetCommit, (0, 3), 3, TXN_OFFSET_COMMIT),
    api(ApiKey::DescribeConfigs, (1, 3), 4, DESCRIBE_CONFIGS),
    api(ApiKey::AlterConfigs, (0, 1), 2, ALTER_CONFIGS),
    api(ApiKey::IncrementalAlterConfigs, (0, 0), 1, INCREMENTAL_ALTER_CONFIGS),
    api(ApiKey::CreatePartitions, (0, 1), 2, CREATE_PARTITIONS),
    api(ApiKey::DeleteGroups, (0, 1), 2, &[always(TEXTS)]),
    api(ApiKey::DescribeCluster, (0, 0), 0, DESCRIBE_CLUSTER),
];

/// The layout of a request, if its API and version are served.
pub(super) fn shape_of(key: i16, version: i16) -> Option<Shape> {
    let serves = |api: &&Api| key_number(api.key) == key && (api.min..=api.max).contains(&version);
    API_VERSIONS.iter().find(serves).map(|api| api.shape)
}

/// The number of an API on the wire.
pub(crate) const fn key_number(key: ApiKey) -> i16 {
    key as i16
}
