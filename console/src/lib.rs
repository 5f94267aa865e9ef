//! The console: a query API over the enriched flows in Elasticsearch, a live stream of those on the topic, and the web
//! page that shows both.
//!
//! The page and the API have one shape of a flow, [`row::Row`], whether it comes from a document or from the topic, and
//! one set of filters, [`filter::Filter`], which is a query to Elasticsearch and a predicate on live rows.
#![forbid(unsafe_code)]

pub mod filter;
pub mod live;
pub mod map;
pub mod row;
pub mod settings;

mod api;
mod guard;
mod page;
mod preview;
mod server;
mod status;

pub use server::{Console, Parts};
pub use settings::{ConsoleSettings, Settings};
