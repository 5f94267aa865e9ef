use super::database::{Value, database, text};
use super::*;
use crate::resolution::Resolution;
use crate::{Ask, Table};
use proptest::prelude::*;
use weir_schemas::metadata::{Heartbeat, Metadata, Proof};

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn country(code: &str) -> Value {
    let names = Value::Map(vec![("en", text("Germany")), ("de", text("Deutschland"))]);
    Value::Map(vec![("geoname_id", Value::Number(2_921_044)), ("iso_code", text(code)), ("names", names)])
}

fn city(code: &str) -> Value {
    let location = Value::Map(vec![("latitude", Value::Double(52.5)), ("longitude", Value::Double(13.4))]);
    Value::Map(vec![
        ("city", Value::Map(vec![("names", Value::Map(vec![("en", text("Berlin"))]))])),
        ("country", country(code)),
        ("location", location),
        ("subdivisions", Value::List(vec![Value::Map(vec![("iso_code", text("BE"))])])),
    ])
}

fn system(number: u32, organization: &str) -> Value {
    Value::Map(vec![
        ("autonomous_system_number", Value::Number(number)),
        ("autonomous_system_organization", text(organization)),
    ])
}

fn open(kind: &str, networks: &[(&str, Value)]) -> Geography {
    Geography::open(database(kind, 6, 28, networks)).unwrap()
}

#[test]
fn countries_are_those_of_the_networks_in_every_size_of_records() {
    for (version, size) in [(6, 24), (6, 28), (6, 32), (4, 24), (4, 28), (4, 32)] {
        let mut networks =
            vec![("81.2.69.0/24", city("DE")), ("8.8.8.0/25", Value::Map(vec![("country", country("US"))]))];
        if version == 6 {
            networks.push(("2001:41d0::/32", city("FR")));
        }
        let geography = Geography::open(database("GeoLite2-City", version, size, &networks)).unwrap();
        let code = |text| geography.of(address(text)).country;
        assert_eq!((code("81.2.69.160"), code("8.8.8.8"), code("8.8.8.200")), (Some("DE"), Some("US"), None));
        assert_eq!(code("::ffff:8.8.8.8"), Some("US"), "a mapped address is IPv4");
        assert_eq!(code("2001:41d0::7"), (version == 6).then_some("FR"));
        assert_eq!(code("2001:41d1::7"), None);
        assert_eq!(geography.of(address("8.8.8.8")).as_number, None);
    }
}

#[test]
fn autonomous_systems_have_number_and_organization() {
    let long = "x".repeat(257);
    let networks = [
        ("81.2.69.0/24", system(20_712, "Andrews & Arnold Ltd")),
        ("8.8.8.0/24", system(15_169, &long)),
        ("9.9.9.0/24", system(0, "")),
    ];
    let geography = open("GeoLite2-ASN", &networks);
    let place = geography.of(address("81.2.69.160"));
    assert_eq!(place, Place { country: None, as_number: Some(20_712), as_organization: Some("Andrews & Arnold Ltd") });
    assert_eq!(
        geography.of(address("8.8.8.8")),
        Place { as_number: Some(15_169), ..Place::default() },
        "name too long"
    );
    assert_eq!(geography.of(address("9.9.9.9")), Place::default());
}

#[test]
fn fields_of_other_makers_are_known() {
    let lite = Value::Map(vec![
        ("asn", text("AS15169")),
        ("as_name", text("Google LLC")),
        ("as_domain", text("google.com")),
        ("country", text("United States")),
        ("country_code", text("US")),
    ]);
    let expected = Place { country: Some("US"), as_number: Some(15_169), as_organization: Some("Google LLC") };
    assert_eq!(open("ipinfo lite.mmdb", &[("8.8.8.0/24", lite)]).of(address("8.8.8.8")), expected);
    let older = Value::Map(vec![("country", text("US")), ("asn", text("15169")), ("as_name", text("Google LLC"))]);
    assert_eq!(open("ipinfo country_asn.mmdb", &[("8.8.8.0/24", older)]).of(address("8.8.8.8")), expected);
    let traits = Value::Map(vec![("country", country("US")), ("traits", system(15_169, "Google LLC"))]);
    assert_eq!(open("GeoIP2-Enterprise", &[("8.8.8.0/24", traits)]).of(address("8.8.8.8")), expected);
}

#[test]
fn only_public_addresses_are_asked_for() {
    let geography = open("GeoLite2-Country", &[("10.0.0.0/8", city("DE")), ("100.64.0.0/10", city("DE"))]);
    for private in ["10.1.2.3", "100.64.0.1", "127.0.0.1", "fe80::1", "224.0.0.1"] {
        assert_eq!(geography.of(address(private)), Place::default(), "{private}");
    }
}

#[test]
fn errors_name_what_is_wrong() {
    let none = Geography::open(Vec::new()).unwrap_err().to_string();
    assert!(none.starts_with("not a database in MaxMind DB format"), "{none}");
    let other = database("GeoIP2-Connection-Type", 6, 24, &[("8.8.8.0/24", Value::Map(vec![("isp", text("x"))]))]);
    let other = Geography::open(other).unwrap_err();
    assert_eq!(other, GeographyError::UnknownFields { database_type: "GeoIP2-Connection-Type".to_owned(), probed: 1 });
    assert!(other.to_string().contains("\"GeoIP2-Connection-Type\" has no field that is known"));
}

#[test]
fn a_field_of_another_type_says_nothing() {
    let mixed =
        Value::Map(vec![("country_code", Value::Number(7)), ("asn", text("ASxyz")), ("as_name", Value::Short(3))]);
    let right = Value::Map(vec![("country_code", text("DE")), ("asn", Value::Number(1)), ("as_name", text("a"))]);
    let lower = Value::Map(vec![("country_code", text("de"))]);
    let networks = [("8.8.8.0/24", mixed), ("9.9.9.0/24", right), ("7.7.7.0/24", lower)];
    let geography = open("mine", &networks);
    assert_eq!(geography.of(address("8.8.8.8")), Place::default());
    assert_eq!(geography.of(address("7.7.7.7")), Place::default());
    let expected = Place { country: Some("DE"), as_number: Some(1), as_organization: Some("a") };
    assert_eq!(geography.of(address("9.9.9.9")), expected);
}

#[test]
fn a_side_is_filled_where_nobody_of_the_cluster_is_known() {
    let geography = open("GeoLite2-Country", &[("8.8.8.0/24", city("US"))]);
    let filled = |reason: Option<NoneReason>, text: &str| {
        let answer = reason.map_or_else(|| Resolution::ambiguous(Vec::new()), |reason| Resolution::none(Some(reason)));
        let mut side = answer.to_side(&Ask::address(0, address(text)));
        geography.fill(&mut side);
        side.country
    };
    for reason in [NoneReason::Outside, NoneReason::BeforeHistory, NoneReason::NoCluster] {
        assert_eq!(filled(Some(reason), "8.8.8.8").as_deref(), Some("US"), "{reason:?}");
    }
    for reason in [Some(NoneReason::UnknownPodAddress), Some(NoneReason::NotYetReported), None] {
        assert_eq!(filled(reason, "8.8.8.8"), None, "{reason:?}");
    }
    assert_eq!(filled(Some(NoneReason::Outside), "10.8.8.8"), None);
    let mut table = Table::new("c", 1);
    let heartbeat = Heartbeat { cluster: "c".to_owned(), complete_to: 0, proof: Proof::Manifests, cluster_known: true };
    table.apply(0, &Metadata::Heartbeat(heartbeat));
    let mut side = table.side(&Ask::address(0, address("8.8.8.8")));
    geography.fill(&mut side);
    assert_eq!(side.country.as_deref(), Some("US"));
}

#[test]
fn the_fingerprint_is_the_sha_256_of_the_bytes() {
    // FIPS 180-4, the example of one block.
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(Geography::fingerprint(b"abc"), expected);
}

/// A database with every kind of field.
fn sample(size: u16) -> Vec<u8> {
    let networks = [("8.8.8.0/24", city("US")), ("81.2.69.0/24", system(7, "a")), ("2001:41d0::/32", city("FR"))];
    database("mixed", 6, size, &networks)
}

/// Asks a database that may be damaged; that it comes back is the promise.
fn ask(bytes: Vec<u8>) -> bool {
    let Ok(geography) = Geography::open(bytes) else { return false };
    for text in ["8.8.8.8", "81.2.69.1", "2001:41d0::1", "1.1.1.1", "255.0.0.1", "2a00::1"] {
        let place = geography.of(address(text));
        assert!(place.country.is_none_or(|code| code.len() == 2));
        assert!(place.as_organization.is_none_or(|name| name.len() <= ORGANIZATION));
    }
    true
}

#[test]
fn a_database_cut_off_anywhere_is_refused_or_read() {
    for size in [24, 28, 32] {
        let whole = sample(size);
        assert!(ask(whole.clone()));
        for length in 0..whole.len() {
            ask(whole[..length].to_vec());
            ask(whole[length..].to_vec());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_damaged_database_never_panics(
        size in prop::sample::select(vec![24u16, 28, 32]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let mut bytes = sample(size);
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        ask(bytes);
    }

    #[test]
    fn random_bytes_never_panic(
        before in prop::collection::vec(any::<u8>(), 0..400),
        marker in any::<bool>(),
        after in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = before;
        if marker {
            bytes.extend(b"\xab\xcd\xefMaxMind.com");
        }
        bytes.extend(after);
        ask(bytes);
    }
}

/// `tests/places.mmdb` is for other crates' tests, which have no writer.
#[test]
fn the_committed_database_is_what_the_writer_writes() {
    let mut us = vec![("country", country("US"))];
    if let Value::Map(system) = system(15_169, "Example Search") {
        us.extend(system);
    }
    let networks = [("8.8.8.0/24", Value::Map(us)), ("2001:41d0::/32", Value::Map(vec![("country", country("FR"))]))];
    let committed = include_bytes!("../../tests/places.mmdb");
    assert!(database("Weir-Test", 6, 24, &networks) == committed, "the committed file is another one");
    assert_eq!(Geography::open(committed.to_vec()).unwrap().of(address("8.8.8.8")).as_number, Some(15_169));
}
