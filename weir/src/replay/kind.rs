//! What a replay needs of the records of a topic, of flows as of DNS questions.

use super::line;
use anyhow::Result;
use serde_json::{Value, json};
use weir_enricher::replay::Records;
use weir_flow::Millis;
use weir_schemas::dns::Dns;
use weir_schemas::enriched::{Enriched, Kind, Side};
use weir_schemas::{Message, topics};

/// A record of one of the enricher's topics.
pub(super) trait Replayed: Clone + Message {
    /// The topic on which the enricher writes them.
    const TOPIC: &'static str;
    /// What there are several of, in a sentence.
    const SEVERAL: &'static str;

    /// Those of its kind.
    fn of(records: Records) -> Vec<Self>;
    /// 32 hexadecimal digits.
    fn id(&self) -> &str;
    /// The cluster's id.
    fn cluster(&self) -> &str;
    /// Start of the window, ms since the epoch.
    fn window(&self) -> Millis;
    /// The generation, ms since the epoch.
    fn generation(&self) -> Millis;
    /// What a consumer does with it, and k.
    fn correction(&self) -> (Kind, u32);
    /// The same with another of both.
    fn corrected(self, kind: Kind, correction: u32) -> Self;
    /// Every field by its name on the topic, addresses as people write them.
    fn object(&self) -> Result<Value>;
    /// What it is about: the fields that a list of differences names it by, and the same as a sentence.
    fn about(&self) -> (Value, String);
}

/// What both have under the same names.
macro_rules! common {
    () => {
        fn id(&self) -> &str {
            &self.id
        }

        fn cluster(&self) -> &str {
            &self.cluster
        }

        fn window(&self) -> Millis {
            self.window
        }

        fn generation(&self) -> Millis {
            self.generation
        }

        fn correction(&self) -> (Kind, u32) {
            (self.kind, self.correction)
        }

        fn corrected(self, kind: Kind, correction: u32) -> Self {
            Self { kind, correction, ..self }
        }
    };
}

impl Replayed for Enriched {
    const TOPIC: &'static str = topics::ENRICHED;
    const SEVERAL: &'static str = "records";

    fn of(records: Records) -> Vec<Self> {
        records.flows
    }

    common!();

    fn object(&self) -> Result<Value> {
        line::object(self, [("initiator", &self.initiator), ("responder", &self.responder)])
    }

    fn about(&self) -> (Value, String) {
        let (initiator, responder) = (name(&self.initiator), name(&self.responder));
        let sentence = format!("level {}: {initiator} -> {responder}", self.level);
        (json!({"level": self.level, "initiator": initiator, "responder": responder}), sentence)
    }
}

impl Replayed for Dns {
    const TOPIC: &'static str = topics::DNS;
    const SEVERAL: &'static str = "DNS records";

    fn of(records: Records) -> Vec<Self> {
        records.dns
    }

    common!();

    fn object(&self) -> Result<Value> {
        line::object(self, [("client", &self.client), ("server", &self.server)])
    }

    fn about(&self) -> (Value, String) {
        let (client, server) = (name(&self.client), name(&self.server));
        let code = if self.response_code.is_empty() { "unanswered" } else { &self.response_code };
        let sentence = format!("{client} asked {server} for {} {}: {code}", self.question_type, self.question);
        let about = json!({
            "client": client, "server": server, "question": self.question, "question_type": self.question_type,
            "response_code": self.response_code,
        });
        (about, sentence)
    }
}

/// An end in a word or two.
fn name(side: &Side) -> String {
    let owner = side.pod.as_ref().or(side.workload.as_ref());
    match (owner, &side.namespace, &side.address) {
        (Some(owner), Some(namespace), _) => format!("{namespace}/{owner}"),
        (Some(owner), None, _) => owner.clone(),
        (None, _, Some(address)) => address.to_string(),
        (None, ..) => "?".to_owned(),
    }
}
