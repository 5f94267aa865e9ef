//! A proxy for tests between a client and Kafka or Elasticsearch that makes connections go wrong.
//!
//! What goes wrong is a [`Plan`]: rules, each a [`Fault`] with its share, under one seed. Whether a rule strikes is a pure
//! function of the seed, the number of the connection and the number of the exchange on it (a request with its answer),
//! so a run repeats as far as its clients do. [`Proxy::counts`] says what was injected, so that a test can prove that
//! there was something to survive.
//!
//! ```no_run
//! # async fn example() -> Result<(), weir_faults::ProxyError> {
//! use std::time::Duration;
//! use weir_faults::{Api, Fault, Kind, Plan, Proxy, Rule};
//!
//! let plan = Plan::new(7)
//!     .with(Rule::new(Fault::Delay { at_most: Duration::from_millis(30) }).share(0.2))
//!     .with(Rule::new(Fault::DropAnswer).share(0.05).apis(&[Api::EndTxn, Api::Produce]).at_most(20));
//! let kafka = Proxy::kafka("127.0.0.1:9092", plan).await?;
//! // … clients use kafka.address() …
//! kafka.heal();
//! assert!(kafka.counts().of(Kind::DropAnswer) > 0);
//! # Ok(())
//! # }
//! ```
//!
//! A proxy of Kafka rewrites the brokers' addresses in answers (`Metadata`, `FindCoordinator`, `DescribeCluster`), so
//! that clients never go around it; it listens once for each broker that it hears of. Neither kind speaks TLS.

#![forbid(unsafe_code)]

mod counts;
mod gate;
mod http;
mod kafka;
mod plan;
mod proxy;
mod relay;
mod tcp;

pub use counts::Counts;
pub use kafka_protocol::messages::ApiKey as Api;
pub use plan::{Fault, Kind, Plan, Rule};
pub use proxy::{Proxy, ProxyError};
