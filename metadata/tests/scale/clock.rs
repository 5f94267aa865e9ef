//! When a version of the API server came to be, by asking it for its version all the time.
//!
//! Versions are etcd's revisions, one sequence for all kinds. An answer proves that what has a higher version happened
//! after the question, and what has no higher one before the answer. So an event that arrives late still has its time.

use crate::now;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, ListParams};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use weir_flow::Millis;

/// Time between two questions.
const EVERY: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug)]
struct Answer {
    asked: Millis,
    version: u64,
    answered: Millis,
}

/// The answers so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock(Arc<Mutex<Vec<Answer>>>);

impl Clock {
    /// Asks until the task is aborted.
    pub(crate) async fn run(self, client: Client) {
        let api: Api<ConfigMap> = Api::namespaced(client, "default");
        let one = ListParams::default().limit(1);
        loop {
            let asked = now();
            let list = tokio::time::timeout(Duration::from_secs(5), api.list_metadata(&one)).await;
            let version = list.ok().and_then(Result::ok).and_then(|list| list.metadata.resource_version);
            if let Some(version) = version.and_then(|text| text.parse().ok()) {
                self.note(asked, version, now());
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Takes an answer.
    pub(crate) fn note(&self, asked: Millis, version: u64, answered: Millis) {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // After a restart the server may answer from a cache that is not older than the question, but older than itself.
        let version = answers.last().map_or(version, |last| last.version.max(version));
        answers.push(Answer { asked, version, answered });
    }

    /// The last time at which what has this version certainly had not happened yet.
    pub(crate) fn before(&self, version: u64) -> Millis {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = answers.partition_point(|answer| answer.version < version);
        place.checked_sub(1).and_then(|last| answers.get(last)).map_or(0, |answer| answer.asked)
    }

    /// The first time at which what has this version certainly had happened; the far future before it was seen.
    pub(crate) fn after(&self, version: u64) -> Millis {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = answers.partition_point(|answer| answer.version < version);
        answers.get(place).map_or(Millis::MAX, |answer| answer.answered)
    }
}

#[test]
fn a_version_lies_between_the_answers_around_it() {
    let clock = Clock::default();
    clock.note(10, 5, 12);
    clock.note(20, 8, 23);
    assert_eq!((clock.before(6), clock.after(6)), (10, 23));
    assert_eq!((clock.before(5), clock.after(5)), (0, 12));
    assert_eq!((clock.before(9), clock.after(9)), (20, Millis::MAX));
}
