//! Where public addresses are, from a user's database in MaxMind DB format.
//!
//! The format is MaxMind's (specification 2.0); the fields are those of GeoIP2 and GeoLite2 (Country, City, ASN, ISP,
//! Enterprise), which DB-IP and others use too, and those of IPinfo (`country_code`, `asn`, `as_name`).

use maxminddb::{LookupResult, PathElement, Reader, WithinOptions};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use thiserror::Error;
use weir_flow::{Address, AddressScope};
use weir_schemas::enriched::{Attribution, NoneReason, Side};

#[cfg(test)]
mod database;
#[cfg(test)]
mod tests;

/// How many records are looked at to learn which fields a database has.
const PROBED: usize = 1_000;
/// The longest name of an organization that is taken, bytes.
const ORGANIZATION: usize = 256;

type Found<'a> = LookupResult<'a, Vec<u8>>;
/// The way to a field from a record's root.
type Path = &'static [PathElement<'static>];

/// Where the country's code stands, the first that a database has.
const COUNTRY: [Path; 3] = [
    &[PathElement::Key("country"), PathElement::Key("iso_code")],
    &[PathElement::Key("country_code")],
    &[PathElement::Key("country")],
];
/// Where the autonomous system's number stands.
const NUMBER: [Path; 3] = [
    &[PathElement::Key("autonomous_system_number")],
    &[PathElement::Key("traits"), PathElement::Key("autonomous_system_number")],
    &[PathElement::Key("asn")],
];
/// Where its organization stands.
const ORGANIZATIONS: [Path; 3] = [
    &[PathElement::Key("autonomous_system_organization")],
    &[PathElement::Key("traits"), PathElement::Key("autonomous_system_organization")],
    &[PathElement::Key("as_name")],
];

/// Why bytes are no database that can be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum GeographyError {
    /// Not in MaxMind DB format, cut off, or damaged.
    #[error("not a database in MaxMind DB format, or a damaged one: {0}")]
    Unreadable(String),
    /// A database of something else, or with other field names.
    #[error(
        "the database of type {database_type:?} has no field that is known: none of its first {probed} records has \
         country.iso_code, country_code, autonomous_system_number or asn"
    )]
    UnknownFields {
        /// What the database says it is.
        database_type: String,
        /// How many records were looked at.
        probed: usize,
    },
}

/// Where an address is, as far as the database knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place<'a> {
    /// Country, ISO 3166-1 alpha-2, upper case.
    pub country: Option<&'a str>,
    /// Number of the autonomous system that announces the address; never 0, which is reserved (RFC 7607).
    pub as_number: Option<u32>,
    /// Organization of that autonomous system, at most 256 bytes; a longer name is left out.
    pub as_organization: Option<&'a str>,
}

/// A database of places. What it answers is a function of its bytes alone.
#[derive(Debug)]
pub struct Geography {
    reader: Reader<Vec<u8>>,
    country: Option<Path>,
    number: Option<Path>,
    organization: Option<Path>,
}

impl Geography {
    /// Takes a database's bytes.
    ///
    /// # Errors
    /// When they are not in MaxMind DB format, or when none of the first records has a field that is known.
    pub fn open(bytes: Vec<u8>) -> Result<Self, GeographyError> {
        let unreadable = |error: maxminddb::MaxMindDbError| GeographyError::Unreadable(error.to_string());
        let reader = Reader::from_source(bytes).map_err(unreadable)?;
        let (mut country, mut number, mut organization) = ([false; 3], [false; 3], [false; 3]);
        let mut probed = 0;
        for record in reader.networks(WithinOptions::default()).map_err(unreadable)?.take(PROBED) {
            let record = record.map_err(unreadable)?;
            probed += 1;
            note(&mut country, &COUNTRY, |path| country_at(&record, path).is_some());
            note(&mut number, &NUMBER, |path| number_at(&record, path).is_some());
            note(&mut organization, &ORGANIZATIONS, |path| organization_at(&record, path).is_some());
        }
        let database_type = reader.metadata().database_type.clone();
        let geography = Self {
            country: first(&country, &COUNTRY),
            number: first(&number, &NUMBER),
            organization: first(&organization, &ORGANIZATIONS),
            reader,
        };
        if geography.country.is_none() && geography.number.is_none() {
            return Err(GeographyError::UnknownFields { database_type, probed });
        }
        Ok(geography)
    }

    /// SHA-256 of a database's bytes, 64 hexadecimal digits. It tells whether two enrichers answer alike: a setting that
    /// decides records.
    #[must_use]
    pub fn fingerprint(bytes: &[u8]) -> String {
        Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a text cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Where an address is. Nothing for addresses that are not public, whatever the database says of them, for those it
    /// does not have, and for fields that cannot be read.
    #[must_use]
    pub fn of(&self, address: Address) -> Place<'_> {
        if address.scope() != AddressScope::Public {
            return Place::default();
        }
        let Ok(found) = self.reader.lookup(address.ip()) else { return Place::default() };
        Place {
            country: self.country.and_then(|path| country_at(&found, path)),
            as_number: self.number.and_then(|path| number_at(&found, path)),
            as_organization: self.organization.and_then(|path| organization_at(&found, path)),
        }
    }

    /// Fills in where a side is, as far as that is not filled in yet, if its one address is public and not known to be the
    /// cluster's: nobody is known, and the reason is neither that the address lies in a pod network nor that its pod is known
    /// by UID alone.
    pub fn fill(&self, side: &mut Side) {
        let outside =
            matches!(side.reason, Some(NoneReason::Outside | NoneReason::BeforeHistory | NoneReason::NoCluster));
        let Some(address) = side.address.filter(|_| outside && side.attribution == Attribution::None) else { return };
        let place = self.of(address);
        side.country = side.country.take().or_else(|| place.country.map(ToOwned::to_owned));
        side.as_number = side.as_number.or(place.as_number);
        side.as_organization = side.as_organization.take().or_else(|| place.as_organization.map(ToOwned::to_owned));
    }
}

fn note(seen: &mut [bool], paths: &[Path], has: impl Fn(Path) -> bool) {
    for (seen, path) in seen.iter_mut().zip(paths) {
        *seen = *seen || has(path);
    }
}

fn first(seen: &[bool], paths: &[Path]) -> Option<Path> {
    seen.iter().zip(paths).find_map(|(seen, path)| seen.then_some(*path))
}

fn text_at<'a>(found: &Found<'a>, path: Path) -> Option<&'a str> {
    found.decode_path::<&str>(path).ok().flatten()
}

fn country_at<'a>(found: &Found<'a>, path: Path) -> Option<&'a str> {
    text_at(found, path).filter(|code| code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase()))
}

/// A number, or `AS` and a number.
fn number_at(found: &Found<'_>, path: Path) -> Option<u32> {
    let number = match found.decode_path::<u32>(path) {
        Ok(number) => number,
        Err(_) => text_at(found, path).and_then(|text| text.strip_prefix("AS").unwrap_or(text).parse().ok()),
    };
    number.filter(|number| *number > 0)
}

fn organization_at<'a>(found: &Found<'a>, path: Path) -> Option<&'a str> {
    text_at(found, path).filter(|name| !name.is_empty() && name.len() <= ORGANIZATION)
}
