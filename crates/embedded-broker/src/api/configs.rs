//! Settings of topics.

use crate::broker::State;
use crate::codes::Code;
use crate::topics::{KEYS, Override, TopicConfig};
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse as IncrementalResponse;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, ResponseKind,
};
use kafka_protocol::protocol::StrBytes;

/// Kind of a resource: topic.
const TOPIC: i8 = 2;
/// Kind of a resource: broker. It has no settings here.
const BROKER: i8 = 4;
/// Where a value comes from: set for the topic.
const SOURCE_TOPIC: i8 = 1;
/// Where a value comes from: built in.
const SOURCE_DEFAULT: i8 = 5;

type Refusal = (Code, Option<String>);

pub(super) fn describe(state: &State, body: DescribeConfigsRequest) -> ResponseKind {
    let results = body.resources.into_iter().map(|resource| {
        let described = describe_one(state, &resource);
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name);
        match described {
            Ok(configs) => result.with_configs(configs),
            Err(code) => result.with_error_code(code.value()),
        }
    });
    ResponseKind::DescribeConfigs(DescribeConfigsResponse::default().with_results(results.collect()))
}

fn describe_one(state: &State, resource: &DescribeConfigsResource) -> Result<Vec<DescribeConfigsResourceResult>, Code> {
    match resource.resource_type {
        TOPIC => {}
        BROKER => return Ok(Vec::new()),
        _ => return Err(Code::INVALID_REQUEST),
    }
    let topic = state.topics.get(&resource.resource_name).ok_or(Code::UNKNOWN_TOPIC_OR_PARTITION)?;
    let config = topic.config();
    let wanted = |name: &str| {
        resource.configuration_keys.as_ref().is_none_or(|keys| keys.iter().any(|key| key.as_str() == name))
    };
    let describe = |key: &crate::topics::Key| {
        let given = config.overrides().get(key.name);
        DescribeConfigsResourceResult::default()
            .with_name(StrBytes::from_static_str(key.name))
            .with_value(Some(given.cloned().map_or(StrBytes::from_static_str(key.default), StrBytes::from_string)))
            .with_config_source(if given.is_some() { SOURCE_TOPIC } else { SOURCE_DEFAULT })
    };
    Ok(KEYS.iter().filter(|key| wanted(key.name)).map(describe).collect())
}

/// Replaces all settings of topics.
pub(super) fn alter(state: &State, body: AlterConfigsRequest) -> ResponseKind {
    let validate_only = body.validate_only;
    let responses = body.resources.into_iter().map(|resource| {
        let given = resource
            .configs
            .iter()
            .filter_map(|config| config.value.as_ref().map(|value| (config.name.to_string(), value.to_string())));
        let config = TopicConfig::new(given.collect(), &state.limits)
            .map_err(|error| (Code::INVALID_CONFIG, Some(error.to_string())));
        let name = resource.resource_name.as_str();
        let changed = config.and_then(|config| set(state, resource.resource_type, name, |_| Ok(config), validate_only));
        let (code, message) = outcome(changed);
        AlterConfigsResourceResponse::default()
            .with_error_code(code)
            .with_error_message(message)
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
    });
    ResponseKind::AlterConfigs(AlterConfigsResponse::default().with_responses(responses.collect()))
}

/// Changes some settings of topics.
pub(super) fn alter_incrementally(state: &State, body: IncrementalAlterConfigsRequest) -> ResponseKind {
    let validate_only = body.validate_only;
    let responses = body.resources.into_iter().map(|resource| {
        let changes = resource.configs.iter().map(|config| {
            let value = config.value.as_ref().map(ToString::to_string);
            let change = match (config.config_operation, value) {
                (0, Some(value)) => Override::Set(value),
                (1, _) => Override::Reset,
                (2, Some(value)) => Override::Append(value),
                (3, Some(value)) => Override::Subtract(value),
                _ => return Err((Code::INVALID_REQUEST, None)),
            };
            Ok((config.name.to_string(), change))
        });
        let changes: Result<Vec<_>, Refusal> = changes.collect();
        let name = resource.resource_name.as_str();
        let changed = changes.and_then(|changes| {
            let apply = |config: &TopicConfig| {
                let changed = config.with(changes, &state.limits);
                changed.map_err(|error| (Code::INVALID_CONFIG, Some(error.to_string())))
            };
            set(state, resource.resource_type, name, apply, validate_only)
        });
        let (code, message) = outcome(changed);
        IncrementalResponse::default()
            .with_error_code(code)
            .with_error_message(message)
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
    });
    ResponseKind::IncrementalAlterConfigs(
        IncrementalAlterConfigsResponse::default().with_responses(responses.collect()),
    )
}

fn set(
    state: &State,
    resource_type: i8,
    name: &str,
    change: impl FnOnce(&TopicConfig) -> Result<TopicConfig, Refusal>,
    validate_only: bool,
) -> Result<(), Refusal> {
    if resource_type != TOPIC {
        return Err((Code::INVALID_REQUEST, Some("only topics have settings that can be changed".to_owned())));
    }
    let topic = state.topics.get(name).ok_or((Code::UNKNOWN_TOPIC_OR_PARTITION, None))?;
    let config = change(&topic.config())?;
    if validate_only {
        return Ok(());
    }
    state.topics.configure(&topic, config).map_err(|code| (code, None))
}

fn outcome(changed: Result<(), Refusal>) -> (i16, Option<StrBytes>) {
    match changed {
        Ok(()) => (0, None),
        Err((code, message)) => (code.value(), message.map(StrBytes::from_string)),
    }
}
