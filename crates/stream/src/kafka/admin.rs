//! Creating and checking topics.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication, TopicResult};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::REQUEST_TIMEOUT;
use super::config::Connection;
use super::convert;
use super::edge::{Edge, Registry};
use super::lookup::Lookup;
use crate::{ErrorKind, Result, StreamError, TopicPartition, TopicSpec};

const NAME: &str = "weir-admin";

/// How often creating is tried again while the cluster is not ready to.
const ATTEMPTS: u32 = 20;

fn client(connection: &Connection, registry: &Registry) -> Result<AdminClient<Edge>> {
    let config = connection.client(NAME);
    AdminClient::from_config_and_context(&config, Edge::new(registry, NAME))
        .map_err(|error| StreamError::Configuration(format!("kafka admin client: {error}")))
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT))
}

pub(super) async fn ensure_topics(
    connection: &Connection,
    registry: &Registry,
    lookup: &Lookup,
    topics: &[TopicSpec],
) -> Result<()> {
    if topics.is_empty() {
        return Ok(());
    }
    let client = client(connection, registry)?;
    create_missing(&client, topics).await?;
    let counts = partition_counts(lookup, topics).await?;
    for spec in topics {
        let found = counts.get(&spec.name).copied().unwrap_or(0);
        if found != spec.partitions {
            return Err(StreamError::PartitionCount { topic: spec.name.clone(), expected: spec.partitions, found });
        }
    }
    warn_of_drift(&client, topics).await
}

async fn create_missing(client: &AdminClient<Edge>, topics: &[TopicSpec]) -> Result<()> {
    let mut wanted: Vec<&TopicSpec> = topics.iter().collect();
    for attempt in 1..=ATTEMPTS {
        let new: Vec<NewTopic<'_>> = wanted.iter().map(|spec| new_topic(spec)).collect();
        let results = match client.create_topics(&new, &options()).await {
            Ok(results) => results,
            Err(error) => {
                let error = convert::question("creating topics", &error);
                if error.needs_rebuild() || attempt == ATTEMPTS {
                    return Err(error);
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
                continue;
            }
        };
        let again = unfinished(results)?;
        wanted.retain(|spec| again.contains(&spec.name));
        if wanted.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let names: Vec<&str> = wanted.iter().map(|spec| spec.name.as_str()).collect();
    Err(StreamError::Retriable(format!(
        "topics {} could not be created yet; check that the cluster has a controller",
        names.join(", ")
    )))
}

/// The topics whose creation should be tried again.
fn unfinished(results: Vec<TopicResult>) -> Result<Vec<String>> {
    let mut again = Vec::new();
    for result in results {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((
                topic,
                RDKafkaErrorCode::NotController
                | RDKafkaErrorCode::RequestTimedOut
                | RDKafkaErrorCode::BrokerNotAvailable
                | RDKafkaErrorCode::OperationTimedOut,
            )) => again.push(topic),
            Err((topic, code)) => {
                return Err(StreamError::Fatal(format!("creating topic {topic}: {code}")));
            }
        }
    }
    Ok(again)
}

fn new_topic(spec: &TopicSpec) -> NewTopic<'_> {
    // -1 is the cluster's own default replication factor.
    let topic = NewTopic::new(&spec.name, spec.partitions, TopicReplication::Fixed(-1));
    spec.configs.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
}

/// The partition counts of topics that were just created: brokers learn of them one after the other.
async fn partition_counts(lookup: &Lookup, topics: &[TopicSpec]) -> Result<BTreeMap<String, i32>> {
    let mut counts = BTreeMap::new();
    for attempt in 1..=ATTEMPTS {
        // Metadata of all topics would be simpler to ask for, and is refused to narrow users.
        for spec in topics {
            if counts.contains_key(&spec.name) {
                continue;
            }
            let (lookup, topic) = (lookup.clone(), spec.name.clone());
            match super::blocking(move || lookup.partition_count(&topic)).await {
                Ok(count) => {
                    counts.insert(spec.name.clone(), count);
                }
                Err(error) if error.kind() == ErrorKind::Retriable && attempt < ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
        if counts.len() >= topics.len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(counts)
}

async fn warn_of_drift(client: &AdminClient<Edge>, topics: &[TopicSpec]) -> Result<()> {
    let with_configs: Vec<&TopicSpec> = topics.iter().filter(|spec| !spec.configs.is_empty()).collect();
    let resources: Vec<ResourceSpecifier<'_>> =
        with_configs.iter().map(|spec| ResourceSpecifier::Topic(&spec.name)).collect();
    if resources.is_empty() {
        return Ok(());
    }
    let answers = match client.describe_configs(&resources, &options()).await {
        Ok(answers) => answers,
        Err(error) => {
            tracing::warn!(%error, "settings of the topics could not be compared");
            return Ok(());
        }
    };
    for (spec, answer) in with_configs.iter().zip(answers) {
        let topic = &spec.name;
        match answer {
            Ok(found) => {
                for (name, wanted) in &spec.configs {
                    let is = found.get(name).and_then(|entry| entry.value.as_deref());
                    if is != Some(wanted.as_str()) {
                        tracing::warn!(%topic, setting = %name, %wanted, is, "topic setting differs");
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%topic, %error, "settings of the topic could not be compared");
            }
        }
    }
    Ok(())
}

pub(super) async fn topic_config(
    connection: &Connection,
    registry: &Registry,
    lookup: &Lookup,
    topic: &str,
    name: &str,
) -> Result<Option<String>> {
    let client = client(connection, registry)?;
    let resources = [ResourceSpecifier::Topic(topic)];
    let what = format!("setting {name} of topic {topic}");
    let answers =
        client.describe_configs(&resources, &options()).await.map_err(|error| convert::question(&what, &error))?;
    if let Some(Ok(found)) = answers.into_iter().next()
        && !found.entries.is_empty()
    {
        return Ok(found.get(name).and_then(|entry| entry.value.clone()));
    }
    // A topic's own error is not passed on: no setting at all stands for any of them.
    let (lookup, topic) = (lookup.clone(), topic.to_owned());
    super::blocking(move || lookup.partition_count(&topic)).await?;
    Err(StreamError::Retriable(format!("{what}: not told; check that this user may describe the topic's settings")))
}

pub(super) async fn delete_records(
    connection: &Connection,
    registry: &Registry,
    partition: &TopicPartition,
    before: i64,
) -> Result<()> {
    let client = client(connection, registry)?;
    let offsets = convert::offsets([(partition, before)])?;
    let answer =
        client.delete_records(&offsets, &options()).await.map_err(|error| convert::question(partition, &error))?;
    for element in answer.elements() {
        element.error().map_err(|error: KafkaError| StreamError::Offset {
            partition: partition.clone(),
            message: format!("records before {before} are not deleted: {error}"),
            retriable: false,
        })?;
    }
    Ok(())
}
