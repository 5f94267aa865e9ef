use super::*;
use clap::Parser;

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    metadata: MetadataSettings,
}

fn parse(args: &[&str]) -> Result<MetadataSettings, clap::Error> {
    Command::try_parse_from(std::iter::once(&"x").chain(args)).map(|command| command.metadata)
}

#[test]
fn the_defaults_are_the_same_everywhere() {
    assert_eq!(parse(&[]).unwrap(), MetadataSettings::default());
    assert_eq!(MetadataSettings::default().source(), Source::Host);
}

#[test]
fn one_source_at_most() {
    assert!(parse(&["--kubeconfig", "k", "--manifests", "m"]).is_err());
    assert!(parse(&["--in-cluster", "--manifests", "m"]).is_err());
    assert_eq!(parse(&["--manifests", "m"]).unwrap().source(), Source::Manifests("m".into()));
    let both = MetadataSettings { in_cluster: true, manifests: Some("m".into()), ..MetadataSettings::default() };
    assert_eq!(both.validate(), Err(SettingsError::Sources));
}

#[test]
fn names_and_networks_are_checked() {
    let with = |cluster: &str, network: &str| MetadataSettings {
        cluster: cluster.to_owned(),
        covered_networks: vec![network.to_owned()],
        ..MetadataSettings::default()
    };
    assert_eq!(with("a.b_c-1", "10.0.0.0/8").validate(), Ok(()));
    assert!(matches!(with("a/b", "10.0.0.0/8").validate(), Err(SettingsError::Cluster(_))));
    assert!(matches!(with("", "10.0.0.0/8").validate(), Err(SettingsError::Cluster(_))));
    assert!(matches!(with("a", "10.0.0.0").validate(), Err(SettingsError::Network(_))));
}
