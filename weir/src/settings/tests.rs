use super::*;
use weir_flow::Level;

const NOW: Millis = 1_700_000_000_000;
const WINDOW: Millis = 60_000;

fn dated(entries: &[RecordSettings]) -> Dated {
    Dated { entries: entries.to_vec(), too_late: 0 }
}

fn standard() -> RecordSettings {
    RecordSettings::standard("local")
}

fn denied(levels: &[u8]) -> Changes {
    Changes { levels_denied: Some(levels.to_vec()), ..Changes::default() }
}

#[test]
fn what_is_not_named_stays_and_a_window_begins_in_time() {
    let next = next(&dated(&[standard()]), &denied(&[2, 0, 2]), None, NOW).unwrap();
    assert_eq!(next.valid_from % WINDOW, 0);
    assert!(next.in_time(NOW + SLACK), "{} after now", next.valid_from - NOW);
    assert!(next.valid_from < NOW + LEAD + SLACK + WINDOW);
    let expected = vec![Level::Zero, Level::Two];
    assert_eq!(next, RecordSettings { valid_from: next.valid_from, levels_denied: expected, ..standard() });
}

#[test]
fn later_settings_are_changed_from_what_holds_by_then() {
    let first_of_day = 1_800_000_000_000;
    let to_come = RecordSettings { valid_from: first_of_day, set_limit: 7, ..standard() };
    let both = dated(&[standard(), to_come.clone()]);
    let after = next(&both, &denied(&[0]), Some(first_of_day + 1), NOW).unwrap();
    assert_eq!((after.valid_from, after.set_limit), (first_of_day + WINDOW, 7));
    let before = next(&both, &denied(&[0]), Some(first_of_day - 1), NOW).unwrap();
    assert_eq!((before.valid_from, before.set_limit), (first_of_day, 7), "the same window is written anew");
    let sooner = next(&both, &denied(&[0]), None, NOW).unwrap();
    assert_eq!(sooner.set_limit, 100);
}

#[test]
fn what_cannot_be_is_refused() {
    let all = dated(&[standard()]);
    let refused = |changes: &Changes, at| next(&all, changes, at, NOW).unwrap_err().to_string();
    assert!(refused(&denied(&[0]), Some(NOW + LEAD - WINDOW)).contains("too soon"));
    let none = Changes { set_limit: Some(0), ..Changes::default() };
    assert!(refused(&none, None).contains("set limit is 0"));
    let back = Changes { semantics: Some(1), ..Changes::default() };
    assert!(refused(&back, None).contains("cannot go back"));
    let capture = dated(&[RecordSettings { live: false, ..standard() }]);
    assert!(next(&capture, &denied(&[0]), None, NOW).unwrap_err().to_string().contains("captures"));
}

#[test]
fn what_holds_is_shown_whole_and_what_changes_by_value() {
    let past = RecordSettings { valid_from: NOW - WINDOW, set_limit: 7, ..standard() };
    let to_come = RecordSettings { valid_from: NOW + WINDOW, cni_profile: "calico".to_owned(), ..past.clone() };
    let all = dated(&[standard(), past, to_come]);
    let text = in_words(&all, NOW);
    assert!(text.starts_with("cluster local: settings in force since 2023-11-14T22:12:20Z\n"), "{text}");
    assert!(text.contains("changed at 2023-11-14T22:12:20Z\n  set limit                100 -> 7\n"), "{text}");
    assert!(
        text.contains("will change at 2023-11-14T22:14:20Z\n  network plugin           none -> calico\n"),
        "{text}"
    );
    let json: Value = serde_json::from_str(&in_json(&all, NOW).unwrap()).unwrap();
    let in_force: Vec<_> = json["settings"].as_array().unwrap().iter().map(|s| s["in_force"].clone()).collect();
    assert_eq!(in_force, [false, true, false]);
}
