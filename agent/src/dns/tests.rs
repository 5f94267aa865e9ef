#![allow(clippy::unwrap_used, reason = "tests")]

use super::message::{self, Question};
use super::{DnsCounts, PATIENCE, Seen, Tracker, Unnamed};
use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::{MessageBuilder, Name, Ttl};
use domain::rdata::{A, Aaaa, Cname};
use proptest::prelude::*;
use std::str::FromStr;
use weir_flow::Address;
use weir_schemas::raw::{DnsSample, End, Point};

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn question(id: u16, name: &str, kind: Rtype) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    builder.push((Name::<Vec<u8>>::from_str(name).unwrap(), kind)).unwrap();
    builder.finish()
}

fn answer(id: u16, name: &str, code: Rcode, addresses: &[&str]) -> Vec<u8> {
    let owner = Name::<Vec<u8>>::from_str(name).unwrap();
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_qr(true);
    builder.header_mut().set_rcode(code);
    let mut builder = builder.question();
    builder.push((&owner, Rtype::A)).unwrap();
    let mut builder = builder.answer();
    let alias = Name::<Vec<u8>>::from_str("alias.example").unwrap();
    builder.push((&owner, Class::IN, Ttl::from_secs(5), Cname::new(&alias))).unwrap();
    for text in addresses {
        match address(text).ip() {
            std::net::IpAddr::V4(four) => builder.push((&alias, Class::IN, Ttl::from_secs(5), A::new(four))),
            std::net::IpAddr::V6(six) => builder.push((&alias, Class::IN, Ttl::from_secs(5), Aaaa::new(six))),
        }
        .unwrap();
    }
    builder.finish()
}

fn seen(forth: bool, time: u64, payload: &[u8]) -> Seen<'_> {
    let (client, server) = ((address("10.0.0.7"), 40_000), (address("10.96.0.10"), 53));
    let (source, destination) = if forth { (client, server) } else { (server, client) };
    let end = if forth { End::Source } else { End::Destination };
    Seen {
        time,
        point: Point::Pod,
        end,
        interface: 3,
        source,
        destination,
        protocol: 17,
        sampling: 1,
        payload,
        position: time,
    }
}

fn samples(unnamed: Vec<Unnamed>) -> Vec<DnsSample> {
    unnamed.into_iter().map(|unnamed| unnamed.sample).collect()
}

#[test]
fn a_question_and_its_answer_are_one_sample_at_the_askers_end() {
    let mut tracker = Tracker::new(10);
    tracker.observe(&seen(true, 1_000_000, &question(7, "Db.Shop.svc.", Rtype::A)), u64::MAX);
    let reply = answer(7, "db.shop.svc.", Rcode::NOERROR, &["10.96.3.4", "10.96.3.3", "fd00::1"]);
    tracker.observe(&seen(false, 3_500_000, &reply), u64::MAX);
    let ended = tracker.end_tick(5_000_000);
    assert_eq!((ended[0].interface, ended[0].client_port), (3, 40_000));
    let [sample] = samples(ended).try_into().unwrap();
    assert_eq!((sample.point, sample.end, sample.protocol, sample.server_port), (Point::Pod, End::Source, 17, 53));
    assert_eq!((sample.client, sample.server), (address("10.0.0.7"), address("10.96.0.10")));
    assert_eq!((sample.question.as_str(), sample.question_type, sample.response_code), ("db.shop.svc", 1, Some(0)));
    assert_eq!(sample.answers, ["10.96.3.3", "10.96.3.4", "fd00::1"].map(address));
    let latency = sample.latency.unwrap();
    assert_eq!((sample.count, latency.sum, latency.count, latency.min, latency.max), (1, 2_500, 1, 2_500, 2_500));
    assert_eq!(sample.answers_more, 0);
}

#[test]
fn outcomes_are_apart_and_repeats_add_up() {
    let mut tracker = Tracker::new(10);
    for id in 1..=3 {
        tracker.observe(&seen(true, 0, &question(id, "a.example", Rtype::A)), u64::MAX);
        let code = if id == 3 { Rcode::NXDOMAIN } else { Rcode::NOERROR };
        tracker.observe(&seen(false, u64::from(id) * 1_000, &answer(id, "a.example", code, &[])), u64::MAX);
    }
    let ended = samples(tracker.end_tick(1));
    let outcomes: Vec<_> = ended.iter().map(|s| (s.response_code, s.count, s.latency.unwrap().sum)).collect();
    assert_eq!(outcomes, [(Some(0), 2, 3), (Some(3), 1, 3)]);
}

#[test]
fn a_question_without_an_answer_says_so_after_a_while_and_one_that_is_asked_again_at_once() {
    let mut tracker = Tracker::new(10);
    tracker.observe(&seen(true, 0, &question(1, "a.example", Rtype::A)), u64::MAX);
    assert!(tracker.end_tick(PATIENCE - 1).is_empty());
    tracker.observe(&seen(true, PATIENCE - 1, &question(1, "a.example", Rtype::A)), u64::MAX);
    let [first] = samples(tracker.end_tick(PATIENCE)).try_into().unwrap();
    assert_eq!((first.response_code, first.count, first.latency), (None, 1, None));
    tracker.observe(&seen(false, PATIENCE + 1, &answer(1, "a.example", Rcode::NOERROR, &[])), u64::MAX);
    assert_eq!(samples(tracker.end_tick(2 * PATIENCE))[0].response_code, Some(0));
    tracker.observe(&seen(true, 2 * PATIENCE, &question(2, "b.example", Rtype::A)), u64::MAX);
    assert_eq!(samples(tracker.finish())[0].response_code, None);
    let expected = DnsCounts { questions: 3, answers: 1, unanswered: 2, ..DnsCounts::default() };
    assert_eq!(tracker.counts(), expected);
}

#[test]
fn answers_that_nobody_waits_for_are_counted_and_make_no_sample() {
    let mut tracker = Tracker::new(10);
    tracker.observe(&seen(true, 0, &question(1, "a.example", Rtype::A)), u64::MAX);
    // Another id, another name under the same id, and after the right one: once more.
    for (id, name) in [(2, "a.example"), (1, "b.example"), (1, "a.example"), (1, "a.example")] {
        tracker.observe(&seen(false, 1, &answer(id, name, Rcode::NOERROR, &["192.0.2.1"])), u64::MAX);
    }
    assert_eq!(tracker.counts().unmatched, 3);
    assert_eq!(samples(tracker.finish()).iter().map(|s| s.count).sum::<u64>(), 1);
}

#[test]
fn what_happens_after_the_boundary_is_of_the_next_tick() {
    let mut tracker = Tracker::new(10);
    tracker.observe(&seen(true, 90, &question(1, "a.example", Rtype::A)), 100);
    tracker.observe(&seen(false, 100, &answer(1, "a.example", Rcode::NOERROR, &[])), 100);
    assert!(tracker.end_tick(100).is_empty());
    assert_eq!(tracker.end_tick(200).len(), 1);
}

#[test]
fn over_tcp_messages_stand_behind_their_lengths() {
    let framed = |message: &[u8]| {
        let mut bytes = u16::try_from(message.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(message);
        bytes
    };
    let two = [question(1, "a.example", Rtype::A), question(2, "b.example", Rtype::AAAA)].map(|m| framed(&m)).concat();
    let mut tracker = Tracker::new(10);
    tracker.observe(&Seen { protocol: 6, ..seen(true, 0, &two) }, u64::MAX);
    tracker.observe(&Seen { protocol: 6, ..seen(true, 0, &two[..two.len() - 1]) }, u64::MAX);
    assert_eq!((tracker.counts().questions, tracker.counts().split), (3, 1));
}

#[test]
fn limits_hold_and_say_so() {
    let mut tracker = Tracker::new(2);
    for id in 0..5 {
        tracker.observe(&seen(true, 0, &question(id, "a.example", Rtype::A)), u64::MAX);
    }
    assert_eq!(tracker.counts().full, 3);
    let many: Vec<String> = (0..100).map(|n| format!("192.0.2.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    tracker.observe(&seen(false, 1, &answer(0, "a.example", Rcode::NOERROR, &many)), u64::MAX);
    let ended = samples(tracker.finish());
    assert_eq!(ended.iter().map(|sample| sample.response_code).collect::<Vec<_>>(), [None, Some(0)]);
    let answered = &ended[1];
    assert_eq!((answered.answers.len(), answered.answers_more), (message::ADDRESSES, 36));
}

#[test]
fn what_is_cut_is_read_as_far_as_it_goes() {
    let whole = answer(9, "a.example", Rcode::NOERROR, &["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    let cut = message::read(&whole[..whole.len() - 40]).unwrap();
    let read = cut.answer.unwrap();
    assert_eq!((read.addresses, read.unread), (vec![address("192.0.2.1")], 2));
    assert_eq!(cut.question, Some(Question { name: "a.example".to_owned(), kind: 1 }));
}

#[test]
fn types_without_a_name_are_read_too_and_other_messages_are_not() {
    let odd = message::read(&question(1, "a.example", Rtype::from_int(65_432))).unwrap();
    assert_eq!(odd.question.unwrap().kind, 65_432);
    let mut notify = question(1, "a.example", Rtype::SOA);
    notify[2] = 4 << 3;
    assert_eq!(message::read(&notify), None);
    assert_eq!(message::read(&[0; 11]), None);
    assert_eq!(message::read(&[0; 12]), None, "a question that asks nothing");
}

fn any_message() -> impl Strategy<Value = (bool, Vec<u8>)> {
    let whole = (any::<bool>(), 0..4_u16, 0..3_u8).prop_map(|(asks, id, name)| {
        let name = format!("n{name}.example");
        if asks {
            (true, question(id, &name, Rtype::A))
        } else {
            (false, answer(id, &name, Rcode::NOERROR, &["192.0.2.1", "fd00::2"]))
        }
    });
    (whole, prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), any::<bool>()).prop_map(
        |((forth, mut bytes), damage, intact)| {
            if !intact {
                for (place, byte) in damage {
                    let place = place.index(bytes.len());
                    bytes[place] = byte;
                }
            }
            (forth, bytes)
        },
    )
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Some(read) = message::read(&bytes) {
            prop_assert!(read.answer.is_none_or(|answer| answer.addresses.len() <= message::ADDRESSES));
            prop_assert!(read.question.is_none_or(|question| question.name.len() <= 4 * 255));
        }
    }

    /// Whatever comes, each question has one outcome: it is in a sample, or was left out and counted.
    #[test]
    fn every_question_has_one_outcome(messages in prop::collection::vec(any_message(), 0..60), limit in 1..6_usize) {
        let mut tracker = Tracker::new(limit);
        let mut all = Vec::new();
        for (time, (forth, bytes)) in (0..).zip(&messages) {
            tracker.observe(&seen(*forth, time * PATIENCE / 7, bytes), time * PATIENCE / 7 + 1);
            if time % 5 == 4 {
                all.extend(samples(tracker.end_tick(time * PATIENCE / 7 + 1)));
            }
        }
        all.extend(samples(tracker.finish()));
        let counts = tracker.counts();
        prop_assert_eq!(all.iter().map(|sample| sample.count).sum::<u64>() + counts.full, counts.questions);
        let answered: u64 = all.iter().filter_map(|sample| sample.latency).map(|latency| latency.count).sum();
        prop_assert!(answered + counts.unmatched <= counts.answers);
        let read = u64::try_from(messages.len()).unwrap();
        prop_assert_eq!(counts.questions + counts.answers + counts.unreadable, read);
    }
}
