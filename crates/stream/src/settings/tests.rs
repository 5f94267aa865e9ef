use clap::Parser;

use super::*;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    kafka: KafkaSettings,
}

#[test]
fn flags_have_defaults_and_names() {
    let plain = Arguments::parse_from(["weir"]).kafka;
    assert_eq!(plain, KafkaSettings::default());
    let given = Arguments::parse_from([
        "weir",
        "--kafka",
        "a:1,b:2",
        "--kafka-security",
        "sasl-tls",
        "--kafka-sasl-mechanism",
        "SCRAM-SHA-512",
        "--kafka-username",
        "weir",
        "--kafka-password-file",
        "/run/secrets/kafka",
    ])
    .kafka;
    assert_eq!(given.kafka, "a:1,b:2");
    assert_eq!(given.kafka_security, KafkaSecurity::SaslTls);
    assert_eq!(given.kafka_password_file, Some("/run/secrets/kafka".into()));
}
