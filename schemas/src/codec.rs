//! Avro single-object encoding (Avro 1.11 specification, "Single-object encoding").

use crate::metadata::{Metadata, Skipped};
use crate::{audit, checkpoint, dead_letter, dns, enriched, horizon, ledger, partial, raw, settings};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_avro_fast::Schema;
use serde_avro_fast::de::read::SliceRead;
use serde_avro_fast::de::{DeserializerConfig, DeserializerState};
use serde_avro_fast::ser::SerializerConfig;
use std::sync::{Arc, LazyLock};
use thiserror::Error;

pub(crate) mod direct;
pub(crate) mod flows;
mod metadata;

#[cfg(test)]
mod tests;

use direct::{Input, Malformed, Output, Put, Take};

/// The two bytes with which every single-object encoding begins.
const MAGIC: [u8; 2] = [0xC3, 0x01];
/// Magic and fingerprint.
const HEADER: usize = 10;

/// Bounds on what is decoded: hostile bytes cost a bounded time and a bounded memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest message, bytes.
    pub message: usize,
    /// Most elements in one array; a batch of 900 kB has fewer samples than this.
    pub sequence: usize,
    /// Deepest nesting.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { message: 4 << 20, sequence: 100_000, depth: 16 }
    }
}

/// Why bytes are no message of the topic.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Longer than the limit.
    #[error("message of {length} bytes is longer than {limit}")]
    TooLong {
        /// Length of the message, bytes.
        length: usize,
        /// The limit, bytes.
        limit: usize,
    },
    /// Not a single-object encoding.
    #[error("not an Avro single-object encoding: it does not begin with C3 01 and a fingerprint")]
    NotSingleObject,
    /// Written with a schema that this version does not know.
    #[error(
        "schema fingerprint {0:016x} is not known for {1}: it was written by a newer version or is no message of this topic"
    )]
    UnknownSchema(u64, &'static str),
    /// The body does not fit the schema, or exceeds a limit.
    #[error("{0} body: {1}")]
    Body(&'static str, String),
    /// Bytes are left after the message.
    #[error("{0} body: {1} bytes follow the message")]
    Trailing(&'static str, u64),
}

/// Why a value cannot be encoded (a counter above 2^63 − 1, in practice).
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{name}: {cause}")]
pub struct EncodeError {
    name: &'static str,
    cause: String,
}

/// A value that has a topic and a schema.
pub trait Message: Serialize + DeserializeOwned {
    /// The schema's name, for errors.
    const NAME: &'static str;
    /// The schema with which this version writes, as JSON.
    const SCHEMA: &'static str;

    /// The parsed schema.
    fn schema() -> &'static Schema;

    /// The schemas that this version reads, the writer's own first. What an older one has not is the type's default.
    fn readable() -> Vec<&'static Schema>;

    /// The whole message, where its body is written field by field instead of by its schema.
    #[doc(hidden)]
    fn write_direct(&self) -> Option<Result<Vec<u8>, EncodeError>> {
        None
    }

    /// A message of a schema with this fingerprint, where its body is read field by field instead of by that schema.
    #[doc(hidden)]
    fn read_direct(_fingerprint: &[u8], _body: &[u8], _limits: Limits) -> Option<Result<Self, DecodeError>> {
        None
    }
}

fn write_direct<T: Message + Put>(message: &T) -> Result<Vec<u8>, EncodeError> {
    let mut output = Output::default();
    output.bytes.reserve(message.room());
    output.bytes.extend_from_slice(&MAGIC);
    output.bytes.extend_from_slice(T::schema().rabin_fingerprint());
    message.put(&mut output);
    if output.too_large {
        return Err(EncodeError { name: T::NAME, cause: "a number above 2^63 − 1".to_owned() });
    }
    Ok(output.bytes)
}

fn read_direct<'de, T: Take<'de>>(name: &'static str, body: &'de [u8], limits: Limits) -> Result<T, DecodeError> {
    read_by(name, body, limits, T::take)
}

/// A body that is read like this, whole.
fn read_by<'de, T>(
    name: &'static str,
    body: &'de [u8],
    limits: Limits,
    take: impl FnOnce(&mut Input<'de>) -> Result<T, Malformed>,
) -> Result<T, DecodeError> {
    let mut input = Input::new(body, limits.sequence);
    let message = take(&mut input).map_err(|malformed| DecodeError::Body(name, malformed.to_string()))?;
    match u64::try_from(input.left()).unwrap_or(u64::MAX) {
        0 => Ok(message),
        left => Err(DecodeError::Trailing(name, left)),
    }
}

macro_rules! message {
    ($type:ty, $name:literal, $file:literal, direct $(, older: $older:literal $(by $version:ident)?)*) => {
        message!(@ $type, $name, $file, [$($older),*], {
            fn write_direct(&self) -> Option<Result<Vec<u8>, EncodeError>> {
                Some(write_direct(self))
            }

            fn read_direct(fingerprint: &[u8], body: &[u8], limits: Limits) -> Option<Result<Self, DecodeError>> {
                if Self::schema().rabin_fingerprint() == fingerprint {
                    return Some(read_direct(Self::NAME, body, limits));
                }
                let mut older = Self::readable().into_iter().skip(1);
                $(
                    let schema = older.next();
                    $(if schema.is_some_and(|schema| schema.rabin_fingerprint() == fingerprint) {
                        let read = read_direct(Self::NAME, body, limits);
                        return Some(read.map(|flows::$version(message)| message));
                    })?
                    let _ = schema;
                )*
                let _ = older.next();
                None
            }
        });
    };
    ($type:ty, $name:literal, $file:literal $(, older: $older:literal)*) => {
        message!(@ $type, $name, $file, [$($older),*], {});
    };
    (@ $type:ty, $name:literal, $file:literal, [$($older:literal),*], { $($direct:item)* }) => {
        impl Message for $type {
            const NAME: &'static str = $name;
            const SCHEMA: &'static str = include_str!(concat!("../", $file));

            fn schema() -> &'static Schema {
                static SCHEMA: LazyLock<Schema> = LazyLock::new(|| parse(<$type>::NAME, <$type>::SCHEMA));
                &SCHEMA
            }

            fn readable() -> Vec<&'static Schema> {
                vec![Self::schema() $(, {
                    static OLDER: LazyLock<Schema> =
                        LazyLock::new(|| parse(<$type>::NAME, include_str!(concat!("../", $older))));
                    &*OLDER
                })*]
            }

            $($direct)*
        }
    };
}

message!(raw::RawBatch, "flows.raw", "flows.raw/v1.avsc", direct);
message!(raw::RawBatch<Arc<str>>, "flows.raw", "flows.raw/v1.avsc", direct);
message!(Metadata, "k8s.metadata", "k8s.metadata/v1.avsc", direct);
message!(enriched::Enriched, "flows.enriched", "flows.enriched/v2.avsc", direct, older: "flows.enriched/v1.avsc");
message!(
    enriched::Enriched<enriched::SharedSide>,
    "flows.enriched",
    "flows.enriched/v2.avsc",
    direct,
    older: "flows.enriched/v1.avsc"
);
message!(
    partial::PartialMessage,
    "flows.partial",
    "flows.partial/v3.avsc",
    direct,
    older: "flows.partial/v2.avsc" by Version2,
    older: "flows.partial/v1.avsc" by Version1
);
message!(checkpoint::Checkpoint, "weir.checkpoint", "weir.checkpoint/v1.avsc");
message!(ledger::Ledger, "weir.ledger", "weir.ledger/v3.avsc", older: "weir.ledger/v2.avsc", older: "weir.ledger/v1.avsc");
message!(dns::Dns, "dns.enriched", "dns.enriched/v1.avsc");
message!(dead_letter::DeadLetter, "weir.dlq", "weir.dlq/v1.avsc");
message!(settings::Settings, "weir.settings", "weir.settings/v2.avsc", older: "weir.settings/v1.avsc");
message!(horizon::Horizon, "weir.horizon", "weir.horizon/v2.avsc", older: "weir.horizon/v1.avsc");
message!(audit::Audit, "weir.audit", "weir.audit/v1.avsc");

#[expect(clippy::panic, reason = "the schema is part of the program; a test parses every one")]
fn parse(name: &str, json: &str) -> Schema {
    match json.parse() {
        Ok(schema) => schema,
        Err(error) => panic!("schema {name}: {error}"),
    }
}

/// Encodes a message: `C3 01`, fingerprint, body.
///
/// # Errors
/// When a value does not fit its schema: a counter above 2^63 − 1.
pub fn encode<T: Message>(message: &T) -> Result<Vec<u8>, EncodeError> {
    message.write_direct().unwrap_or_else(|| encode_by_schema(message))
}

fn encode_by_schema<T: Message>(message: &T) -> Result<Vec<u8>, EncodeError> {
    let mut config = SerializerConfig::new(T::schema());
    serde_avro_fast::to_single_object_vec(message, &mut config)
        .map_err(|e| EncodeError { name: T::NAME, cause: e.to_string() })
}

/// Decodes a message within the default [`Limits`].
///
/// # Errors
/// When the bytes are not a message of this topic in a version that is known, or exceed a limit.
pub fn decode<T: Message>(bytes: &[u8]) -> Result<T, DecodeError> {
    decode_with(bytes, Limits::default())
}

/// Decodes a message within given limits.
///
/// # Errors
/// As [`decode`].
pub fn decode_with<T: Message>(bytes: &[u8], limits: Limits) -> Result<T, DecodeError> {
    let (fingerprint, body) = body_of(bytes, limits)?;
    T::read_direct(fingerprint, body, limits).unwrap_or_else(|| decode_as::<T, T>(bytes, limits))
}

/// A metadata message as the join reads it: its texts stay where they are, and what no flow is named by is read over.
pub type ReadMetadata<'m> = Metadata<&'m str, Skipped>;

/// Decodes a metadata message for the join, within the default [`Limits`]: a table that is filled from millions of them
/// keeps few texts.
///
/// # Errors
/// As [`decode`]; but a text that is read over need not be UTF-8.
pub fn decode_metadata(bytes: &[u8]) -> Result<ReadMetadata<'_>, DecodeError> {
    let limits = Limits::default();
    let (fingerprint, body) = body_of(bytes, limits)?;
    writer_schema::<Metadata>(fingerprint)?;
    read_direct(Metadata::<String>::NAME, body, limits)
}

/// Decodes an enriched record whose ends stay in the message, within the default [`Limits`]. Ends that are `expected` (initiator,
/// responder; those of a record that was read before) are read over where they are there.
///
/// # Errors
/// As [`decode`]; but texts of the ends are looked at only when an end is read.
pub fn decode_enriched<'m>(
    bytes: &'m [u8],
    expected: [Option<enriched::EndBytes<'_>>; 2],
) -> Result<enriched::ReadEnriched<'m>, DecodeError> {
    type Whole = enriched::Enriched<enriched::SharedSide>;
    let limits = Limits::default();
    let (fingerprint, body) = body_of(bytes, limits)?;
    if fingerprint == Whole::schema().rabin_fingerprint() {
        let mut expected = expected.into_iter();
        let mut end = |input: &mut Input<'m>| enriched::ReadSide::take(input, expected.next().flatten());
        return read_by(Whole::NAME, body, limits, |input| enriched::Enriched::take_by(input, &mut end));
    }
    Ok(decode::<Whole>(bytes)?.map_ends(|side| enriched::ReadSide::Other(side.into())))
}

/// The fingerprint of the writer's schema, and the body.
fn body_of(bytes: &[u8], limits: Limits) -> Result<(&[u8], &[u8]), DecodeError> {
    if bytes.len() > limits.message {
        return Err(DecodeError::TooLong { length: bytes.len(), limit: limits.message });
    }
    let (header, body) = bytes.split_at_checked(HEADER).ok_or(DecodeError::NotSingleObject)?;
    let (magic, fingerprint) = header.split_at(MAGIC.len());
    if magic == MAGIC { Ok((fingerprint, body)) } else { Err(DecodeError::NotSingleObject) }
}

/// Decodes a message of type `T` as `V`, which has the same fields.
fn decode_as<'de, T: Message, V: Deserialize<'de>>(bytes: &'de [u8], limits: Limits) -> Result<V, DecodeError> {
    let (fingerprint, body) = body_of(bytes, limits)?;
    let mut config = DeserializerConfig::new(writer_schema::<T>(fingerprint)?);
    // An array of n elements needs at least n bytes here, so a length bomb is refused before it allocates.
    config.max_seq_size = limits.sequence.min(body.len());
    config.allowed_depth = limits.depth;
    let mut state = DeserializerState::with_config(SliceRead::new(body), config);
    let message = V::deserialize(state.deserializer()).map_err(|e| DecodeError::Body(T::NAME, e.to_string()))?;
    let left = std::io::copy(&mut state.into_reader(), &mut std::io::sink()).unwrap_or(0);
    if left > 0 { Err(DecodeError::Trailing(T::NAME, left)) } else { Ok(message) }
}

/// The schema with this fingerprint, the present one first, because nearly every message has it.
fn writer_schema<T: Message>(fingerprint: &[u8]) -> Result<&'static Schema, DecodeError> {
    let is = |schema: &&'static Schema| schema.rabin_fingerprint() == fingerprint;
    let present = Some(T::schema()).filter(is);
    present.or_else(|| T::readable().into_iter().find(is)).ok_or_else(|| {
        let mut eight = [0; 8];
        eight.copy_from_slice(fingerprint);
        DecodeError::UnknownSchema(u64::from_le_bytes(eight), T::NAME)
    })
}
