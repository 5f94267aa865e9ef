use super::*;

fn settings(valid_from: Millis, raw: i32) -> RecordSettings {
    RecordSettings { valid_from, raw_partitions: raw, ..RecordSettings::small("local") }
}

#[test]
fn nothing_on_the_topic_names_the_remedy() {
    let error = SettingsHistory::new("edge", Vec::new()).unwrap_err();
    assert!(error.to_string().contains("weir init --cluster edge"));
}

#[test]
fn each_entry_holds_from_its_generation_on() {
    let history = SettingsHistory::new("local", vec![settings(20_000, 2), settings(NEVER, 1)]).unwrap();
    assert_eq!(history.at(15_000).raw_partitions, 1);
    assert_eq!(history.at(20_000).raw_partitions, 2);
    assert_eq!(history.at(NEVER).raw_partitions, 1);
    assert_eq!(history.latest().raw_partitions, 2);
}

#[test]
fn a_partition_counts_from_the_generation_that_adds_it() {
    let history = SettingsHistory::new("local", vec![settings(NEVER, 1), settings(20_000, 2)]).unwrap();
    let with = |markers: [Millis; 2]| history.complete(|p| markers[usize::try_from(p).unwrap()]);
    assert_eq!(with([10_000, NEVER]), 10_000);
    assert_eq!(with([30_000, NEVER]), 15_000);
    assert_eq!(with([30_000, 25_000]), 25_000);
    assert_eq!(with([NEVER, 25_000]), NEVER);
}

#[test]
fn what_places_samples_never_changes() {
    let mut other = settings(20_000, 1);
    other.window = 10_000;
    assert!(SettingsHistory::new("local", vec![settings(NEVER, 1), other]).is_err());
    assert!(SettingsHistory::new("local", vec![settings(NEVER, 2), settings(20_000, 1)]).is_err());
    assert!(SettingsHistory::new("local", vec![settings(NEVER, 1), settings(20_001, 1)]).is_err());
}

#[test]
fn records_of_a_meaning_that_is_not_known_are_refused() {
    let newer = RecordSettings { semantics: weir_flow::settings::SEMANTICS + 1, ..settings(20_000, 1) };
    let error = SettingsHistory::new("local", vec![settings(NEVER, 1), newer]).unwrap_err();
    assert!(error.to_string().contains("upgrade"), "{error}");
}
