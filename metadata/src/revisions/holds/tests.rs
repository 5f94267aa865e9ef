use super::*;
use crate::bounds::between;
use proptest::prelude::*;
use weir_schemas::metadata::Pod;

fn held(uid: usize, from: (Millis, Millis), to: Option<(Millis, Millis)>) -> Revision {
    let bound = |(earliest, latest)| between(earliest, latest, BoundSource::Status);
    Revision {
        labels_dropped: 0,
        annotations: Vec::new(),
        changed_at: None,
        changed_by: String::new(),
        cluster: "c".to_owned(),
        uid: uid.to_string(),
        revision: 1,
        namespace: "shop".to_owned(),
        name: format!("pod-{uid}"),
        labels: Vec::new(),
        valid_from: bound(from),
        valid_to: to.map(bound),
        object: Object::Pod(Pod { addresses: vec!["10.0.0.1".parse().unwrap()], ..Pod::default() }),
    }
}

/// Whose bounds, the first and the last time of the begin, and of the end if there is one.
type Narrow = (String, (Millis, Millis), Option<(Millis, Millis)>);

/// What follows for each, where the last heartbeat is 100.
fn narrowed(all: &[Revision], told: Millis) -> Vec<Narrow> {
    let mut holds = Holds::default();
    all.iter().for_each(|revision| holds.note(revision, true));
    let ends = |bound: Bound| (bound.earliest, bound.latest);
    let narrowed = holds.narrowed(Next { heartbeat: 100, told });
    narrowed.into_iter().map(|one| (one.uid, ends(one.from), one.to.map(ends))).collect()
}

#[test]
fn nobody_begins_while_another_certainly_holds_the_address() {
    let told = held(0, (50, 60), Some((150, 170)));
    let ended = |by| ("0".to_owned(), (50, 60), Some((150, by)));
    let later = |since| ("1".to_owned(), (since, 160), None);
    assert_eq!(narrowed(&[told.clone(), held(1, (120, 160), None)], 200), [ended(160), later(150)]);
    let silent = held(0, (50, 60), None);
    assert_eq!(narrowed(&[silent, held(1, (120, 160), None)], 131), [later(131)], "an end would have been told");
    assert_eq!(
        narrowed(&[told.clone(), held(1, (90, 160), None)], 200),
        [ended(160)],
        "of 100 it was said that it may"
    );
    assert_eq!(narrowed(&[told, held(1, (120, 140), None)], 200), [], "both certainly have it");
}

#[test]
fn a_change_of_labels_is_no_end_of_holding_the_address() {
    let before = held(0, (50, 60), Some((90, 300)));
    let after = Revision { revision: 2, ..held(0, (90, 300), None) };
    let mut holds = Holds::default();
    holds.note(&before, true);
    holds.note(&after, false);
    holds.note(&held(1, (110, 120), None), true);
    assert_eq!(holds.narrowed(Next { heartbeat: 100, told: 200 }), [], "both bounds of the change stay one");
}

#[test]
fn whoever_surely_had_the_address_before_has_given_it_back() {
    let former = held(0, (50, 60), Some((90, 300)));
    let capped = |end| vec![("0".to_owned(), (50, 60), Some((90, end)))];
    assert_eq!(narrowed(&[former.clone(), held(1, (110, 120), None)], 200), capped(120));
    assert_eq!(
        narrowed(&[former.clone(), held(1, (70, 95), None)], 200),
        capped(101),
        "nothing before a heartbeat changes"
    );
    let short = held(1, (110, 130), Some((115, 125)));
    assert_eq!(narrowed(&[former.clone(), short.clone()], 200), capped(130), "nor is it anybody's who had it after");
    let mut late = short;
    late.valid_from.source = BoundSource::Clipped;
    assert_eq!(narrowed(&[former, late], 200), [], "it may have been the first");
}

#[test]
fn an_address_of_one_pod_and_one_that_all_gave_back_is_kept_no_longer_than_it_matters() {
    let mut holds = Holds::default();
    holds.note(&held(0, (50, 60), Some((90, 110))), true);
    holds.note(&held(1, (95, 115), None), true);
    holds.promise(109);
    assert_eq!((holds.closed.len(), holds.contested.len()), (1, 1));
    holds.promise(110);
    assert_eq!((holds.closed.len(), holds.contested.len(), holds.by_address.len()), (0, 0, 1));
    holds.note(&held(1, (95, 115), Some((120, 130))), false);
    holds.promise(130);
    assert_eq!((holds.closed.len(), holds.by_address.len()), (0, 0));
}

/// A pod's time with the address, and how far the bounds of its beginning and end reach before and after; without an end
/// nobody has told it.
type Life = (Millis, Millis, [Millis; 4], bool);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Pods hold an address one after the other, and their bounds are true: they stay true, and reach no less far back.
    #[test]
    fn bounds_that_are_true_stay_true(
        lives in prop::collection::vec((0i64..6, 1i64..20, prop::array::uniform4(0i64..15), any::<bool>()), 1..7),
        told in 0i64..120,
    ) {
        let (mut time, mut truth, mut holds) = (90, Vec::new(), Holds::default());
        for (uid, life) in lives.iter().enumerate() {
            let (gap, length, [before, after, early, late], is_told): Life = *life;
            let begin = time + gap;
            time = begin + length;
            // Whose end is not told ends when not everything has been told.
            let until = (is_told || time < 90 + told).then_some((time - early, time + late));
            holds.note(&held(uid, (begin - before, begin + after), until), true);
            truth.push((begin, time, begin - before));
        }
        for narrowed in holds.narrowed(Next { heartbeat: 100, told: 90 + told }) {
            let (begin, end, earliest) = truth[narrowed.uid.parse::<usize>().unwrap()];
            prop_assert!(narrowed.from.earliest <= begin && begin <= narrowed.from.latest, "{narrowed:?} of {begin}");
            prop_assert!(narrowed.from.earliest == earliest || earliest > 100, "{narrowed:?} was promised");
            if let Some(to) = narrowed.to {
                prop_assert!(to.earliest <= end && end <= to.latest.max(101), "{narrowed:?} of {end}");
                prop_assert!(to.latest > 100, "{narrowed:?} was promised");
            }
        }
    }
}
