//! What each request does. Handlers that wait are async; those that touch files run on the blocking pool.

mod configs;
mod fetch;
mod groups;
mod metadata;
mod offsets;
mod produce;
mod topics;
mod transactions;

use crate::broker::State;
use crate::codes::Code;
use crate::wire::Request;
use kafka_protocol::messages::{RequestKind, ResponseKind};
use std::net::IpAddr;
use std::sync::Arc;

/// Who sent a request.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) host: IpAddr,
}

/// Runs something that touches files on the blocking pool. None if it panicked or the runtime is going down: the
/// connection is closed then.
async fn blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match tokio::task::spawn_blocking(run).await {
        Ok(result) => Some(result),
        Err(error) => {
            tracing::error!(%error, "request not carried out");
            None
        }
    }
}

/// What is sent back.
#[derive(Debug)]
pub(crate) enum Answer {
    Response(Box<ResponseKind>),
    /// The client wants none.
    Silence,
    /// The connection is to be closed.
    Close,
}

impl From<Option<ResponseKind>> for Answer {
    fn from(response: Option<ResponseKind>) -> Self {
        response.map_or(Self::Close, |response| Self::Response(Box::new(response)))
    }
}

/// The answer to a client that asks for versions in a version that is not served.
pub(crate) fn unsupported_versions() -> ResponseKind {
    metadata::api_versions(Code::UNSUPPORTED_VERSION)
}

/// Carries out a request.
pub(crate) async fn handle(state: &Arc<State>, request: Request, client: &Client) -> Answer {
    let version = request.version;
    let state = Arc::clone(state);
    let response = match request.body {
        RequestKind::Produce(body) => return produce::produce(state, body).await,
        RequestKind::Fetch(body) => fetch::fetch(state, body).await,
        RequestKind::JoinGroup(body) => Some(groups::join(&state, &body, version, client).await),
        RequestKind::SyncGroup(body) => Some(groups::sync(&state, body).await),
        RequestKind::ApiVersions(_) => Some(metadata::api_versions(Code::NONE)),
        RequestKind::Heartbeat(body) => Some(groups::heartbeat(&state, &body)),
        RequestKind::LeaveGroup(body) => Some(groups::leave(&state, &body)),
        RequestKind::FindCoordinator(_) => Some(metadata::find_coordinator(&state)),
        RequestKind::DescribeCluster(_) => Some(metadata::describe_cluster(&state)),
        other => blocking(move || handle_blocking(&state, other, version)).await.flatten(),
    };
    response.into()
}

fn handle_blocking(state: &State, body: RequestKind, version: i16) -> Option<ResponseKind> {
    Some(match body {
        RequestKind::Metadata(body) => metadata::metadata(state, body, version),
        RequestKind::ListOffsets(body) => fetch::list_offsets(state, body),
        RequestKind::CreateTopics(body) => topics::create(state, body),
        RequestKind::DeleteTopics(body) => topics::delete(state, body),
        RequestKind::CreatePartitions(body) => topics::create_partitions(state, body),
        RequestKind::DeleteRecords(body) => topics::delete_records(state, body),
        RequestKind::DescribeConfigs(body) => configs::describe(state, body),
        RequestKind::AlterConfigs(body) => configs::alter(state, body),
        RequestKind::IncrementalAlterConfigs(body) => configs::alter_incrementally(state, body),
        RequestKind::OffsetCommit(body) => offsets::commit(state, body),
        RequestKind::OffsetFetch(body) => offsets::fetch(state, body),
        RequestKind::DescribeGroups(body) => groups::describe(state, body),
        RequestKind::ListGroups(_) => groups::list(state),
        RequestKind::DeleteGroups(body) => groups::delete(state, body),
        RequestKind::InitProducerId(body) => transactions::init_producer_id(state, &body, version),
        RequestKind::AddPartitionsToTxn(body) => transactions::add_partitions(state, &body, version),
        RequestKind::AddOffsetsToTxn(body) => transactions::add_offsets(state, &body, version),
        RequestKind::TxnOffsetCommit(body) => transactions::commit_offsets(state, body),
        RequestKind::EndTxn(body) => transactions::end(state, &body, version),
        _ => return None,
    })
}
