use super::*;
use crate::settings::Limits;

fn config(settings: &[(&str, &str)]) -> Result<TopicConfig, config::ConfigError> {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    TopicConfig::new(settings.collect(), &Limits::default())
}

fn open(folder: &Path, partitions: usize) -> Topics {
    let limits = Limits { partitions, ..Limits::default() };
    Topics::open(folder, limits, Arc::new(Metrics::default())).unwrap()
}

#[test]
fn every_default_is_a_value_the_setting_takes() {
    for key in KEYS {
        assert!(config(&[(key.name, key.default)]).is_ok(), "{}", key.name);
    }
    assert!(KEYS.is_sorted_by_key(|key| key.name));
}

#[test]
fn settings_mean_what_they_say() {
    let found = config(&[("retention.ms", "5"), ("retention.bytes", "6"), ("message.timestamp.type", "LogAppendTime")])
        .unwrap();
    assert_eq!(found.retention(), (5, 6));
    assert!(found.append_rules().append_time);
    assert_eq!(config(&[("cleanup.policy", "compact")]).unwrap().retention(), (-1, -1));
    assert_eq!(config(&[("cleanup.policy", "compact,delete"), ("retention.ms", "5")]).unwrap().retention().0, 5);
    assert!(config(&[("retention.ms", "-2")]).is_err());
    assert!(config(&[("retention", "1")]).is_err());
    assert!(config(&[("cleanup.policy", "")]).is_err());
}

#[test]
fn lists_are_added_to_and_taken_from() {
    let limits = Limits::default();
    let policy = |config: &TopicConfig| config.overrides().get("cleanup.policy").cloned();
    let key = || "cleanup.policy".to_owned();
    let both = config(&[]).unwrap().with(vec![(key(), Override::Append("compact".to_owned()))], &limits).unwrap();
    assert_eq!(policy(&both).as_deref(), Some("delete,compact"));
    let one = both.with(vec![(key(), Override::Subtract("delete".to_owned()))], &limits).unwrap();
    assert_eq!(policy(&one).as_deref(), Some("compact"));
    assert_eq!(policy(&one.with(vec![(key(), Override::Reset)], &limits).unwrap()), None);
}

#[test]
fn names_and_counts_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let topics = open(folder.path(), 5);
    let long = "x".repeat(250);
    for name in ["", ".", "..", "a/b", "ä", long.as_str()] {
        assert_eq!(topics.create(name, 1, config(&[]).unwrap()), Err(Code::INVALID_TOPIC_EXCEPTION), "{name}");
    }
    topics.create("a.b_c-1", 3, config(&[]).unwrap()).unwrap();
    assert_eq!(topics.create("a.b_c-1", 1, config(&[]).unwrap()), Err(Code::TOPIC_ALREADY_EXISTS));
    assert_eq!(topics.create("b", 3, config(&[]).unwrap()), Err(Code::POLICY_VIOLATION));
    assert_eq!(topics.grow("a.b_c-1", 6, false), Err(Code::POLICY_VIOLATION));
    assert_eq!(topics.grow("a.b_c-1", 3, false), Err(Code::INVALID_PARTITIONS));
    assert_eq!(topics.grow("a.b_c-1", 5, false), Ok(()));
}

#[test]
fn a_deleted_topic_leaves_nothing_to_one_of_the_same_name() {
    let folder = tempfile::tempdir().unwrap();
    let topics = open(folder.path(), 5);
    topics.create("t", 1, config(&[("retention.ms", "5")]).unwrap()).unwrap();
    let partition = topics.partition("t", 0).unwrap();
    let mut batch = crate::batch::tests::client_batch((-1, -1, -1), false, 1, &[0]);
    partition.append(&mut batch, config(&[]).unwrap().append_rules(), 1, |_, _| Ok(())).unwrap();
    topics.delete("t").unwrap();
    topics.create("t", 1, config(&[]).unwrap()).unwrap();
    for topics in [topics, open(folder.path(), 5)] {
        assert_eq!(topics.partition("t", 0).unwrap().with_log(|log| log.next_offset()), 0);
        assert!(topics.get("t").unwrap().config().overrides().is_empty());
    }
    assert_eq!(fs::read_dir(folder.path().join("topics")).unwrap().count(), 1);
}
