//! Emptying fields before anything is added up, so that they are in no key, no set and no list.

use super::{Arc, End, EndField, EndFound, Field, Identity, IdentityKind, Observation, Subject};

/// Empties what is named. Coverage and authority were decided before and stay.
pub(super) fn redact(observation: &mut Observation<'_, '_>, subjects: &[Subject]) {
    for subject in subjects {
        let Field::End(end, field) = subject.field() else { continue };
        let found = if end == End::Source { &mut observation.initiator } else { &mut observation.responder };
        observation.conversation = None;
        found.change(|found| redact_end(found, subject, field));
    }
}

/// Empties what is named of one end.
pub(super) fn redact_end(found: &mut EndFound<'_>, subject: &Subject, field: EndField) {
    match subject {
        Subject::Label(_, key) => of_identities(found, |identity| {
            let is_other = |label: &&Arc<str>| label.strip_prefix(&**key).is_none_or(|rest| !rest.starts_with('='));
            identity.labels = identity.labels.iter().filter(is_other).cloned().collect();
        }),
        Subject::Field(_) => of_end(found, field),
    }
}

fn of_end(end: &mut EndFound<'_>, field: EndField) {
    match field {
        EndField::Address => end.without_address = true,
        EndField::Port => end.ask.port = None,
        EndField::Container => end.ask.container = None,
        EndField::Process => end.ask.process = None,
        EndField::Zone => end.found.zone = None,
        EndField::Service => end.found.service = None,
        EndField::Host => end.found.host = None,
        EndField::NetworkSet => end.found.network_set = None,
        EndField::Labels => of_identities(end, |identity| identity.labels = Arc::from([])),
        EndField::PodUid => of_identities(end, |identity| Arc::make_mut(&mut identity.entity).uid = Arc::from("")),
        EndField::Namespace => {
            of_identities(end, |identity| Arc::make_mut(&mut identity.entity).namespace = Arc::from(""));
        }
        EndField::Workload => {
            of_identities(end, |identity| Arc::make_mut(&mut identity.entity).workload = Arc::from(""));
        }
        EndField::WorkloadKind => {
            of_identities(end, |identity| Arc::make_mut(&mut identity.entity).workload_kind = Arc::from(""));
        }
        EndField::ServiceAccount => {
            of_identities(end, |identity| Arc::make_mut(&mut identity.entity).service_account = Arc::from(""));
        }
        EndField::Pod => without_name(end, IdentityKind::Pod),
        EndField::Node => {
            of_identities(end, |identity| Arc::make_mut(&mut identity.entity).node = Arc::from(""));
            without_name(end, IdentityKind::Node);
        }
        // Rules that name these are refused.
        EndField::Scope
        | EndField::Pods
        | EndField::Country
        | EndField::AsNumber
        | EndField::AsOrganization
        | EndField::Attribution
        | EndField::Reason
        | EndField::Bytes
        | EndField::Packets
        | EndField::TcpFlags => {}
    }
}

/// Empties the names of what is of a kind; a candidate without a name is none.
fn without_name(end: &mut EndFound<'_>, kind: IdentityKind) {
    of_identities(end, |identity| {
        if identity.kind == kind {
            Arc::make_mut(&mut identity.entity).name = Arc::from("");
        }
    });
    end.found.candidates.retain(|candidate| !candidate.name.is_empty());
}

/// Changes who the end is and who it may be.
fn of_identities(end: &mut EndFound<'_>, change: impl Fn(&mut Identity)) {
    for identity in end.found.identity.iter_mut().chain(&mut end.found.candidates) {
        change(identity.to_mut());
    }
}
