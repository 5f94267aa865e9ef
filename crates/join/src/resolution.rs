//! What the table answers.

use crate::ask::Ask;
use crate::identity::{Identity, IdentityKind};
use std::borrow::Cow;
use std::sync::Arc;
use weir_flow::Address;
use weir_schemas::enriched::{Attribution, IdentifiedBy, NoneReason, Side};

/// The most candidates that are named.
pub(crate) const CANDIDATES: usize = 8;

/// Who one end is. What is long is the table's, and is copied only by [`Resolution::keep`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resolution<'t> {
    /// How certain.
    pub attribution: Attribution,
    /// By what.
    pub by: IdentifiedBy,
    /// Why nobody is known; absent where somebody is.
    pub reason: Option<NoneReason>,
    /// Who, when exact.
    pub identity: Option<Cow<'t, Identity>>,
    /// Who it may be, when ambiguous: sorted by qualified name, all of them.
    pub candidates: Vec<Cow<'t, Identity>>,
    /// Zone of the identity's node, as of then.
    pub zone: Option<Cow<'t, Arc<str>>>,
    /// Service `namespace/name` by whose address and port a responder was reached.
    pub service: Option<Cow<'t, Arc<str>>>,
    /// Host name, for an end on a host where there is no cluster.
    pub host: Option<Arc<str>>,
    /// Named network set that an address belongs to which nobody held.
    pub network_set: Option<Cow<'t, Arc<str>>>,
}

impl<'t> Resolution<'t> {
    const NOBODY: Self = Self {
        attribution: Attribution::None,
        by: IdentifiedBy::Nothing,
        reason: None,
        identity: None,
        candidates: Vec::new(),
        zone: None,
        service: None,
        host: None,
        network_set: None,
    };

    /// Somebody for certain.
    #[must_use]
    pub fn exact(identity: Cow<'t, Identity>, by: IdentifiedBy) -> Self {
        Self { attribution: Attribution::Exact, by, identity: Some(identity), ..Self::NOBODY }
    }

    /// One of these, or nobody.
    #[must_use]
    pub fn ambiguous(mut candidates: Vec<Cow<'t, Identity>>) -> Self {
        candidates
            .sort_by(|a, b| (&a.namespace, &a.name, a.kind, &a.uid).cmp(&(&b.namespace, &b.name, b.kind, &b.uid)));
        Self { attribution: Attribution::Ambiguous, by: IdentifiedBy::Address, candidates, ..Self::NOBODY }
    }

    /// Nobody, for a reason or, of what was never asked for, without one.
    #[must_use]
    pub fn none(reason: Option<NoneReason>) -> Self {
        Self { reason, ..Self::NOBODY }
    }

    /// The same apart from the table.
    #[must_use]
    pub fn keep(&self) -> Resolution<'static> {
        let identity = |identity: &Cow<'_, Identity>| Cow::Owned(Identity::clone(identity));
        let text = |text: &Option<Cow<'_, Arc<str>>>| text.as_ref().map(|text| Cow::Owned(Arc::clone(text)));
        Resolution {
            attribution: self.attribution,
            by: self.by,
            reason: self.reason,
            identity: self.identity.as_ref().map(identity),
            candidates: self.candidates.iter().map(identity).collect(),
            zone: text(&self.zone),
            service: text(&self.service),
            host: self.host.clone(),
            network_set: text(&self.network_set),
        }
    }

    /// The side of a record at levels 0 and 1.
    #[must_use]
    pub fn to_side(&self, ask: &Ask<'_>) -> Side {
        let mut side = self.view(ask);
        if let Some(identity) = &self.identity {
            side.labels = identity.labels.iter().map(|label| Cow::Borrowed(&**label)).collect();
        }
        side.into_owned()
    }

    /// The same without labels, and with texts that stay where they are.
    #[must_use]
    pub fn view<'r>(&'r self, ask: &Ask<'r>) -> Side<Cow<'r, str>> {
        let mut side = bare_side(ask.address);
        side.attribution = self.attribution;
        side.by = self.by;
        side.reason = self.reason;
        side.port = ask.port;
        side.container = ask.container.map(Cow::Borrowed);
        side.process = ask.process.map(Cow::Borrowed);
        side.service = borrowed(self.service.as_ref());
        side.zone = borrowed(self.zone.as_ref());
        side.host = self.host.as_deref().map(Cow::Borrowed);
        side.network_set = borrowed(self.network_set.as_ref());
        if !self.candidates.is_empty() {
            side.candidates = self.candidates.iter().map(|candidate| Cow::Owned(candidate.qualified_name())).collect();
            side.candidates.dedup();
            side.candidates.truncate(CANDIDATES);
        }
        if let Some(identity) = &self.identity {
            fill(&mut side, identity);
        }
        side
    }
}

fn borrowed<'r>(text: Option<&'r Cow<'_, Arc<str>>>) -> Option<Cow<'r, str>> {
    text.map(|text| Cow::Borrowed(&***text))
}

fn some(text: &str) -> Option<Cow<'_, str>> {
    (!text.is_empty()).then_some(Cow::Borrowed(text))
}

fn fill<'r>(side: &mut Side<Cow<'r, str>>, identity: &'r Identity) {
    side.always_valid = identity.always_valid;
    side.namespace = some(&identity.namespace);
    side.node = some(&identity.node);
    side.workload_kind = some(&identity.workload_kind);
    side.workload = some(&identity.workload);
    side.service_account = some(&identity.service_account);
    if identity.kind == IdentityKind::Pod {
        side.pod = some(&identity.name);
        side.pod_uid = some(&identity.uid);
    }
}

/// A side of which nothing but the address is known.
fn bare_side<T>(address: Address) -> Side<T> {
    Side {
        labels_some: Vec::new(),
        domains: Vec::new(),
        domains_more: 0,
        labels_more: 0,
        as_number: None,
        as_organization: None,
        country: None,
        attribution: Attribution::None,
        by: IdentifiedBy::Nothing,
        reason: None,
        candidates: Vec::new(),
        always_valid: false,
        scope: address.scope(),
        address: Some(address),
        addresses: Vec::new(),
        addresses_more: 0,
        port: None,
        namespace: None,
        pod: None,
        pod_uid: None,
        pods: Vec::new(),
        pods_more: 0,
        workload_kind: None,
        workload: None,
        node: None,
        zone: None,
        service: None,
        service_account: None,
        labels: Vec::new(),
        container: None,
        process: None,
        host: None,
        network_set: None,
    }
}
