//! Who and what is there: versions, the broker, topics.

use crate::broker::{BROKER_ID, State};
use crate::codes::Code;
use crate::topics::{Topic, TopicConfig};
use crate::wire::{API_VERSIONS, key_number};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiVersionsResponse, BrokerId, DescribeClusterResponse, FindCoordinatorResponse, MetadataRequest, MetadataResponse,
    ResponseKind, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;

pub(crate) fn api_versions(code: Code) -> ResponseKind {
    let version = |api: &crate::wire::Api| {
        ApiVersion::default().with_api_key(key_number(api.key)).with_min_version(api.min).with_max_version(api.max)
    };
    ResponseKind::ApiVersions(
        ApiVersionsResponse::default()
            .with_error_code(code.value())
            .with_api_keys(API_VERSIONS.iter().map(version).collect()),
    )
}

pub(super) fn find_coordinator(state: &State) -> ResponseKind {
    ResponseKind::FindCoordinator(
        FindCoordinatorResponse::default()
            .with_node_id(BROKER_ID)
            .with_host(state.host.clone())
            .with_port(state.port()),
    )
}

pub(super) fn describe_cluster(state: &State) -> ResponseKind {
    let broker = DescribeClusterBroker::default()
        .with_broker_id(BROKER_ID)
        .with_host(state.host.clone())
        .with_port(state.port());
    ResponseKind::DescribeCluster(
        DescribeClusterResponse::default()
            .with_cluster_id(state.cluster_id.clone())
            .with_controller_id(BROKER_ID)
            .with_brokers(vec![broker])
            .with_cluster_authorized_operations(i32::MIN),
    )
}

pub(super) fn metadata(state: &State, body: MetadataRequest, version: i16) -> ResponseKind {
    let all = match &body.topics {
        None => true,
        // Before version 1 an empty list asks for all.
        Some(topics) => version == 0 && topics.is_empty(),
    };
    let may_create = state.auto_create_topics && (version < 4 || body.allow_auto_topic_creation);
    let topics = if all {
        state.topics.all().iter().map(|topic| describe_topic(topic)).collect()
    } else {
        let names = body.topics.into_iter().flatten().filter_map(|topic| topic.name);
        names.map(|name| named_topic(state, name, may_create)).collect()
    };
    let broker =
        MetadataResponseBroker::default().with_node_id(BROKER_ID).with_host(state.host.clone()).with_port(state.port());
    ResponseKind::Metadata(
        MetadataResponse::default()
            .with_brokers(vec![broker])
            .with_cluster_id(Some(state.cluster_id.clone()))
            .with_controller_id(BROKER_ID)
            .with_topics(topics),
    )
}

fn named_topic(state: &State, name: TopicName, may_create: bool) -> MetadataResponseTopic {
    if let Some(topic) = state.topics.get(&name) {
        return describe_topic(&topic);
    }
    let code = if may_create {
        match create_default(state, &name) {
            Ok(()) | Err(Code::TOPIC_ALREADY_EXISTS) => {
                if let Some(topic) = state.topics.get(&name) {
                    return describe_topic(&topic);
                }
                Code::UNKNOWN_TOPIC_OR_PARTITION
            }
            Err(code) => code,
        }
    } else {
        Code::UNKNOWN_TOPIC_OR_PARTITION
    };
    MetadataResponseTopic::default().with_name(Some(name)).with_error_code(code.value())
}

fn create_default(state: &State, name: &str) -> Result<(), Code> {
    let config = TopicConfig::new(BTreeMap::new(), &state.limits).map_err(|_| Code::INVALID_CONFIG)?;
    state.topics.create(name, state.default_partitions, config)
}

fn describe_topic(topic: &Topic) -> MetadataResponseTopic {
    let brokers: Vec<BrokerId> = vec![BROKER_ID];
    let count = i32::try_from(topic.partition_count()).unwrap_or(i32::MAX);
    let partition = |index| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(BROKER_ID)
            .with_leader_epoch(0)
            .with_replica_nodes(brokers.clone())
            .with_isr_nodes(brokers.clone())
    };
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_string(topic.name.clone()))))
        .with_partitions((0..count).map(partition).collect())
}
