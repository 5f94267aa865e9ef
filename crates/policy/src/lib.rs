//! Which rule decides a connection.
//!
//! [`parse`] reads policies of Kubernetes and SIG Network and finds fault with them as the API server does. An [`Engine`] holds those
//! in force at a time, compiled, and answers an [`Ask`] with a [`Judgement`]: allow, deny or unknown, with every policy and rule
//! passed, of the source's side first. What the specifications leave to the network plugin is decided by a [`Profile`], and without
//! one the answer there is unknown, unless all possible plugins agree.
//!
//! ```
//! use weir_policy::{Ask, Cache, End, Engine, NamedPort, Outcome, Parsed, PodEnd, PolicyObject, Profile, parse};
//!
//! let object = PolicyObject {
//!     api_version: "networking.k8s.io/v1",
//!     kind: "NetworkPolicy",
//!     namespace: "shop",
//!     name: "deny-all",
//!     staged: false,
//! };
//! let mut engine = Engine::new(Profile::NONE);
//! match parse(object, &serde_json::json!({"podSelector": {}})) {
//!     Parsed::Policy(policy, _) => engine.insert(*policy),
//!     Parsed::Foreign(foreign) => engine.insert_foreign(foreign),
//!     Parsed::Invalid(errors) => panic!("{errors:?}"),
//! }
//! let pod = |namespace| End::Pod(PodEnd {
//!     namespace,
//!     namespace_labels: &[],
//!     labels: &["app=web"],
//!     labels_complete: true,
//!     ports: &[],
//!     host_network: false,
//!     node_labels: None,
//! });
//! // The numbers of ends are kept beside the identities that they stand for: asking again then costs a look-up.
//! let (source, destination) = (engine.end(&pod("front")), engine.end(&pod("shop")));
//! let mut cache = Cache::new(100_000);
//! let ask = Ask {
//!     source,
//!     source_address: "10.0.0.1".parse().ok(),
//!     translated_source: None,
//!     destination,
//!     destination_address: "10.0.0.2".parse().ok(),
//!     protocol: 6,
//!     port: 80,
//!     same_node: None,
//!     same_pod: false,
//! };
//! let judgement = engine.judge(&mut cache, &ask);
//! assert_eq!(judgement.enforced.outcome, Outcome::Deny);
//! let entries = engine.entries(&judgement.enforced, "front", "shop");
//! assert_eq!(entries.last().unwrap().to_string(), "1|default|end of tier|deny|-1");
//! # let _ = NamedPort { name: "http", protocol: 6, port: 80 };
//! ```
//!
//! Everything here is a function of its arguments: no IO, no clock, no environment. `docs/policy.md` is the description for users.

mod bits;
mod ends;
mod engine;
mod field;
mod labels;
mod model;
mod networks;
mod parse;
mod profile;
mod trace;

pub use ends::{End, EndNumber, NAMESPACE_NAME_LABEL, NamedPort, PodEnd};
pub use engine::{Ask, Cache, Engine, Judgement, Outcome, Side, Verdict};
pub use field::{FieldError, Remarks};
pub use model::{
    Action, Direction, Foreign, Namespaces, Operator, Peer, Pods, Policy, PolicyId, PolicyKind, PortMatch, Ports,
    Requirement, Rule, Selector, Tier,
};
pub use parse::{Parsed, PolicyObject, parse, parse_served};
pub use profile::{Profile, QUESTIONS, Question, Reasons};
pub use trace::{
    END_OF_TIER, Entry, EntryAction, EntryError, FOREIGN_NAMED, Hit, Named, OWN_NODE, Step, foreign_names,
};
