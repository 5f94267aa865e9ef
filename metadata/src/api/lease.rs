//! The lease at the API.

use super::{Kube, KubeError, chain};
use crate::lease::{DURATION_SECONDS, Decision, Election, Seen};
use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use std::time::Duration;
use tokio::time::Instant;
use weir_flow::Millis;

/// Time between two renewals, and between two looks at another's lease.
const EVERY: Duration = Duration::from_secs(4);
/// How long the API may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// This process's part in the election of one cluster's writer.
pub(crate) struct Lease {
    api: Api<Object>,
    name: String,
    namespace: String,
    election: Election,
    began: Instant,
}

/// What a look at the lease came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// This process holds it.
    Held,
    /// Another does.
    Anothers(String),
}

impl Kube {
    /// The lease of a cluster's writer, where a namespace for it is known. `identity` is this process's name, which no
    /// other may have.
    pub(crate) fn lease(&self, cluster: &str, identity: String) -> Option<Lease> {
        let namespace = self.namespace.clone()?;
        Some(Lease {
            api: Api::namespaced(self.client.clone(), &namespace),
            name: lease_name(cluster),
            namespace,
            election: Election::new(identity),
            began: Instant::now(),
        })
    }

    /// Whether the lease may be read.
    ///
    /// # Errors
    /// When it is refused, or the API does not answer.
    pub(super) async fn check_lease(&self, namespace: &str) -> Result<(), KubeError> {
        let leases: Api<Object> = Api::namespaced(self.client.clone(), namespace);
        match leases.get_opt("weir-metadata").await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403) => {
                Err(KubeError::LeaseRefused(namespace.to_owned(), status.message.clone()))
            }
            Err(error) => Err(KubeError::Unreachable(self.address.clone(), chain(&error))),
        }
    }
}

/// A cluster's id as part of an object's name (RFC 1123): lower case, and `_` as `-`.
fn lease_name(cluster: &str) -> String {
    let name = cluster.to_ascii_lowercase().replace('_', "-");
    format!("weir-metadata-{}", name.trim_matches(['.', '-']))
}

impl Lease {
    /// `namespace/name`.
    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Time between two calls of [`Lease::stand`].
    pub(crate) fn every() -> Duration {
        EVERY
    }

    /// Looks at the lease, and takes or renews it where that is due.
    ///
    /// # Errors
    /// What the API said; who holds it is not known then.
    pub(crate) async fn stand(&mut self) -> Result<Standing, String> {
        let answered = tokio::time::timeout(ANSWER, self.try_stand()).await;
        let late = || Err(format!("lease {}: no answer in {} s", self.full_name(), ANSWER.as_secs()));
        match answered {
            Ok(Ok(standing)) => Ok(standing),
            Ok(Err(error)) => Err(format!("lease {}: {}", self.full_name(), chain(&error))),
            Err(_) => late(),
        }
    }

    async fn try_stand(&mut self) -> kube::Result<Standing> {
        let known = self.api.get_opt(&self.name).await?;
        let now = Millis::try_from(self.began.elapsed().as_millis()).unwrap_or(Millis::MAX);
        let seen = known.as_ref().map(seen);
        let holder = seen.as_ref().map(|seen| seen.holder.clone()).unwrap_or_default();
        let decision = self.election.decide(seen, now);
        if decision == Decision::Wait {
            return Ok(Standing::Anothers(holder));
        }
        let spec = self.spec(known.as_ref().and_then(|lease| lease.spec.as_ref()), decision);
        let written = match known {
            Some(mut lease) => {
                lease.spec = Some(spec);
                self.api.replace(&self.name, &PostParams::default(), &lease).await
            }
            None => {
                let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
                self.api.create(&PostParams::default(), &Object { metadata, spec: Some(spec) }).await
            }
        };
        match written {
            Ok(_) => Ok(Standing::Held),
            // Another was quicker.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Standing::Anothers("another process".to_owned())),
            Err(error) => Err(error),
        }
    }

    fn spec(&self, known: Option<&LeaseSpec>, decision: Decision) -> LeaseSpec {
        let now = Some(MicroTime(Timestamp::now()));
        let transitions = known.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        let taken = decision == Decision::Take;
        LeaseSpec {
            holder_identity: Some(self.election.identity().to_owned()),
            lease_duration_seconds: Some(DURATION_SECONDS),
            acquire_time: if taken { now.clone() } else { known.and_then(|spec| spec.acquire_time.clone()) },
            renew_time: now,
            lease_transitions: Some(if taken { transitions.saturating_add(1) } else { transitions }),
            ..LeaseSpec::default()
        }
    }

    /// Gives the lease back, so that another need not wait. What cannot be given back runs out by itself.
    pub(crate) async fn release(&mut self) {
        if !matches!(tokio::time::timeout(ANSWER, self.give_back()).await, Ok(Ok(()))) {
            tracing::debug!(lease = %self.full_name(), "the lease could not be given back and runs out by itself");
        }
    }

    async fn give_back(&self) -> kube::Result<()> {
        let Some(mut lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
        let Some(spec) = &mut lease.spec else { return Ok(()) };
        if spec.holder_identity.as_deref() == Some(self.election.identity()) {
            spec.holder_identity = Some(String::new());
            self.api.replace(&self.name, &PostParams::default(), &lease).await?;
        }
        Ok(())
    }
}

fn seen(lease: &Object) -> Seen {
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or(DURATION_SECONDS);
    Seen {
        holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
        duration: Millis::from(seconds).saturating_mul(1_000),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
    }
}
