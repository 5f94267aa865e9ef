use super::*;
use crate::ErrorKind;
use clap::Parser;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    elastic: ElasticSettings,
}

#[test]
fn flags_give_several_hosts_and_defaults() {
    let command = Command::try_parse_from(["x", "--elasticsearch", "http://a:9200,http://b:9200"]).unwrap();
    assert_eq!(command.elastic.elasticsearch, ["http://a:9200", "http://b:9200"]);
    assert_eq!(command.elastic.elasticsearch_timeout, Duration::from_secs(30));
    assert_eq!(Command::try_parse_from(["x"]).unwrap().elastic, ElasticSettings::default());
}

#[test]
fn settings_survive_a_file() {
    let settings = ElasticSettings { elasticsearch_username: Some("weir".into()), ..ElasticSettings::default() };
    let text = serde_json::to_string(&settings).unwrap();
    assert_eq!(serde_json::from_str::<ElasticSettings>(&text).unwrap(), settings);
    assert_eq!(serde_json::from_str::<ElasticSettings>("{}").unwrap(), ElasticSettings::default());
}

#[test]
fn a_password_in_the_address_is_refused_and_not_repeated() {
    let error = hosts(&ElasticSettings::of(&["http://weir:secret@a:9200"])).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[test]
fn half_credentials_are_refused_with_a_hint() {
    let settings = ElasticSettings { elasticsearch_username: Some("weir".into()), ..ElasticSettings::default() };
    let error = hosts(&settings).unwrap_err();
    assert!(error.to_string().contains("--elasticsearch-password-file"), "{error}");
}

#[test]
fn a_missing_secret_file_is_named() {
    let settings =
        ElasticSettings { elasticsearch_api_key_file: Some("/nonexistent/key".into()), ..ElasticSettings::default() };
    assert!(hosts(&settings).unwrap_err().to_string().contains("/nonexistent/key"));
}
