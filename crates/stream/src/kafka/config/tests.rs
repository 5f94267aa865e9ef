use super::*;

fn sasl(mechanism: &str) -> KafkaSettings {
    KafkaSettings {
        kafka_security: KafkaSecurity::SaslPlaintext,
        kafka_sasl_mechanism: Some(mechanism.into()),
        kafka_username: Some("weir".into()),
        ..KafkaSettings::at("kafka:9092")
    }
}

#[test]
fn a_password_comes_from_a_file_and_is_never_printed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "hunter2\n").unwrap();
    let settings = KafkaSettings { kafka_password_file: Some(file), ..sasl("PLAIN") };
    let connection = Connection::new(&settings).unwrap();
    assert_eq!(connection.base.get("sasl.password"), Some("hunter2"));
    for printed in [format!("{connection:?}"), format!("{settings:?}")] {
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}

#[test]
fn settings_that_cannot_work_are_refused_with_a_hint() {
    let no_password = Connection::new(&sasl("PLAIN")).unwrap_err().to_string();
    assert!(no_password.contains("--kafka-password-file"), "{no_password}");
    let mechanism = Connection::new(&sasl("GSSAPI")).unwrap_err().to_string();
    assert!(mechanism.contains("SCRAM-SHA-512"), "{mechanism}");
    let stray_user = KafkaSettings { kafka_security: KafkaSecurity::Plaintext, ..sasl("PLAIN") };
    assert!(Connection::new(&stray_user).is_err());
    let missing = KafkaSettings { kafka_password_file: Some("/nonexistent/password".into()), ..sasl("PLAIN") };
    let missing = Connection::new(&missing).unwrap_err().to_string();
    assert!(missing.contains("/nonexistent/password"), "{missing}");
}

#[cfg(not(feature = "tls"))]
#[test]
fn a_build_without_tls_says_so_and_never_falls_back() {
    let settings = KafkaSettings { kafka_security: KafkaSecurity::Tls, ..KafkaSettings::default() };
    let error = Connection::new(&settings).unwrap_err().to_string();
    assert!(error.contains("feature `tls`"), "{error}");
}

#[test]
fn the_rules_of_exactness_are_in_the_settings() {
    let connection = Connection::new(&KafkaSettings::default()).unwrap();
    let member = connection
        .member(&GroupSettings { instance_id: Some("enricher-0".into()), ..GroupSettings::new("weir", ["flows"]) });
    let expected = [
        ("isolation.level", "read_committed"),
        ("enable.auto.commit", "false"),
        ("auto.offset.reset", "error"),
        ("group.protocol", "classic"),
        ("partition.assignment.strategy", "range"),
        ("group.instance.id", "enricher-0"),
    ];
    for (name, value) in expected {
        assert_eq!(member.get(name), Some(value), "{name}");
    }
    let producer = connection.transactional(&TransactionSettings::new("weir-0"));
    assert_eq!(producer.get("enable.idempotence"), Some("true"));
    assert_eq!(producer.get("acks"), Some("all"));
    assert_eq!(producer.get("transactional.id"), Some("weir-0"));
    assert_eq!(producer.get("transaction.timeout.ms"), Some("15000"));
}

#[test]
fn one_answer_is_a_sixteenth_of_what_may_be_fetched_ahead() {
    let connection = Connection::new(&KafkaSettings::default()).unwrap();
    let asked = |max_bytes| {
        let member = connection.member(&GroupSettings { max_bytes, ..GroupSettings::new("weir", ["flows"]) });
        let client = member.create::<rdkafka::consumer::BaseConsumer>();
        assert!(client.is_ok(), "the library takes the settings: {:?}", client.err());
        let number = |name| member.get(name).unwrap().parse::<usize>().unwrap();
        (1024 * number("queued.max.messages.kbytes"), number("fetch.max.bytes"), number("fetch.message.max.bytes"))
    };
    assert_eq!(asked(8 << 20), (8 << 20, 512 << 10, 512 << 10));
    assert_eq!(asked(64 << 20), (64 << 20, 4 << 20, 1 << 20));
    // No smaller than is worth a request, no larger than brokers give at once.
    assert_eq!(asked(1 << 10), (1 << 10, 32 << 10, 32 << 10));
    assert_eq!(asked(1 << 30), (1 << 30, 16 << 20, 1 << 20));
}
