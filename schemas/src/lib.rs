//! The contracts of every topic, and the only code that knows Avro.
//!
//! A value on a topic is one Avro single-object encoding: `C3 01`, the CRC-64-AVRO fingerprint of the writer's schema,
//! the body. [`encode`] and [`decode`] are the only ways in and out; decoding is bounded in depth, length and allocation.

pub mod audit;
pub mod checkpoint;
pub mod dead_letter;
pub mod dns;
pub mod enriched;
pub mod horizon;
pub mod indices;
pub mod ledger;
pub mod metadata;
pub mod partial;
pub mod raw;
pub mod settings;
pub mod topics;

mod codec;

pub use codec::{
    DecodeError, EncodeError, Limits, Message, ReadMetadata, decode, decode_enriched, decode_metadata, decode_with,
    encode,
};
