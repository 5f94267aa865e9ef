use super::*;
use std::collections::BTreeMap;

const NOW: Millis = 1_795_348_800_000;
const NAME: &str = "weir-flows-l1-2026.11.20";

fn listed(name: &str, created: Millis) -> IndexInfo {
    IndexInfo { name: name.into(), docs: Some(1), bytes: Some(100), created, open: true, aliases: vec![] }
}

fn disk(id: &str, measured: Option<Millis>) -> NodeDisk {
    NodeDisk { id: id.into(), node: id.into(), total: 1_000, available: 50, measured }
}

fn claim(ago: Millis) -> Claim {
    Claim { at: NOW - ago, index: NAME.into(), bytes: 100, on: Some(BTreeMap::from([("a".into(), 70)])) }
}

/// Free bytes of disks `a` and `b`, and whether the index is still listed.
fn settled(listed: &[IndexInfo], measured: Option<Millis>, claim: Claim) -> (u64, u64, bool) {
    let mut listed = listed.to_vec();
    let mut disks = [disk("a", measured), disk("b", measured)];
    settle(&mut listed, &mut disks, &[claim], NOW);
    (disks[0].available, disks[1].available, listed.iter().any(|index| index.name == NAME))
}

#[test]
fn what_is_being_deleted_is_gone_and_its_bytes_are_free_where_it_stood() {
    assert_eq!(settled(&[listed(NAME, 1)], Some(NOW), claim(1_000)), (120, 50, false));
}

#[test]
fn bytes_stay_booked_until_the_disk_was_measured_later() {
    let old = NOW - 300_000;
    assert_eq!(settled(&[], Some(old), claim(200_000)), (120, 50, false), "measured before the deletion");
    assert_eq!(settled(&[], Some(old), claim(290_000)), (120, 50, false), "measured while files may still be there");
    assert_eq!(settled(&[], Some(NOW), claim(200_000)), (50, 50, false), "the measurement has it, so it counts once");
    assert_eq!(settled(&[], None, claim(50_000)), (120, 50, false));
    assert_eq!(
        settled(&[], None, claim(70_000)),
        (50, 50, false),
        "an engine that does not say is believed after a minute"
    );
    assert_eq!(settled(&[], Some(0), claim(LONGEST + 1)), (50, 50, false), "no longer than ten minutes");
}

#[test]
fn one_that_did_not_go_is_due_again_after_a_minute_and_counts_once() {
    assert_eq!(settled(&[listed(NAME, 1)], Some(NOW - 300_000), claim(61_000)), (50, 50, true));
}

#[test]
fn one_that_was_made_anew_is_not_the_one_that_went() {
    assert_eq!(settled(&[listed(NAME, NOW - 500)], Some(NOW), claim(1_000)), (120, 50, true));
}

#[test]
fn where_it_is_not_known_on_which_disk_it_was_all_of_it_counts_on_each() {
    assert_eq!(settled(&[], Some(0), Claim { on: None, ..claim(1_000) }), (150, 150, false));
}

#[test]
fn what_counts_is_told() {
    let booked = |listed: &[IndexInfo], measured: Millis, claim: Claim| {
        settle(&mut listed.to_vec(), &mut [disk("a", Some(measured))], &[claim], NOW)
    };
    let one = Booked { indices: 1, bytes: 100 };
    assert_eq!(booked(&[listed(NAME, 1)], NOW, claim(1_000)), one, "it is being deleted");
    assert_eq!(booked(&[], NOW - 300_000, claim(200_000)), one, "the disk was measured before");
    assert_eq!(booked(&[], NOW, claim(200_000)), Booked::default(), "the measurement has it");
    assert_eq!(booked(&[listed(NAME, 1)], NOW - 300_000, claim(61_000)), Booked::default(), "it did not go");
}
