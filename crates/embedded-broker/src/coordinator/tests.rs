use super::image::Offsets;
use super::*;
use crate::batch::Marker;
use crate::batch::tests::client_batch;
use crate::clock::now_ms;
use crate::log::Isolation;
use crate::topics::TopicConfig;
use std::collections::BTreeSet;

struct World {
    topics: Arc<Topics>,
    coordinator: Coordinator,
}

fn open(folder: &Path) -> World {
    let (limits, metrics) = (Limits::default(), Arc::new(Metrics::default()));
    let topics = Arc::new(Topics::open(folder, limits.clone(), Arc::clone(&metrics)).unwrap());
    let coordinator = Coordinator::open(folder, Arc::clone(&topics), limits, metrics).unwrap();
    World { topics, coordinator }
}

fn with_topic(folder: &Path) -> World {
    let world = open(folder);
    world.topics.create("t", 2, TopicConfig::new(BTreeMap::new(), &Limits::default()).unwrap()).unwrap();
    world
}

fn offsets(offset: i64) -> Offsets {
    let committed = Committed { offset, leader_epoch: -1, metadata: Some("m".to_owned()) };
    BTreeMap::from([(("t".to_owned(), 0), committed)])
}

impl World {
    fn init(&self) -> (i64, i16) {
        let wish = InitProducer { transactional_id: "x", timeout_ms: 1000, producer_id: -1, epoch: -1 };
        self.coordinator.init_producer(&wish).unwrap()
    }

    /// Begins a transaction with a record in both partitions and an offset.
    fn begin(&self, producer: (i64, i16), sequence: i32) {
        let key = key(producer);
        let both = BTreeSet::from([("t".to_owned(), 0), ("t".to_owned(), 1)]);
        self.coordinator.add_partitions(&key, both).unwrap();
        self.write(producer, sequence).unwrap();
        self.coordinator.add_offsets(&key, "g", offsets(77)).unwrap();
    }

    fn write(&self, producer: (i64, i16), sequence: i32) -> Result<(), Code> {
        let topic = self.topics.get("t").unwrap();
        for (index, partition) in (0..).zip(topic.partitions()) {
            let mut batch = client_batch((producer.0, producer.1, sequence), true, 1000, &[0]);
            let may_write = |id, epoch| self.coordinator.check_write(id, epoch, &("t".to_owned(), index));
            partition.append(&mut batch, topic.config().append_rules(), now_ms(), may_write)?;
        }
        Ok(())
    }

    /// Stable ends of the partitions.
    fn stable(&self) -> Vec<i64> {
        let partitions = self.topics.get("t").unwrap().partitions();
        partitions.iter().map(|partition| partition.with_log(|log| log.end_for(Isolation::ReadCommitted))).collect()
    }

    fn offset(&self) -> FetchedOffset {
        self.coordinator.fetch_offset("g", &("t".to_owned(), 0), true)
    }
}

fn key(producer: (i64, i16)) -> ProducerKey<'static> {
    ProducerKey { transactional_id: "x", producer_id: producer.0, epoch: producer.1 }
}

fn is_committed(found: &FetchedOffset) -> bool {
    matches!(found, FetchedOffset::Committed(Committed { offset: 77, metadata: Some(text), .. }) if text == "m")
}

#[test]
fn a_decided_transaction_is_completed_at_the_next_start() {
    for commit in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let world = with_topic(folder.path());
        let producer = world.init();
        world.begin(producer, 0);
        assert_eq!((world.stable(), world.offset()), (vec![0, 0], FetchedOffset::Unstable));
        // The process ends right after the decision.
        let decided = Entry::TransactionDecided { id: "x".to_owned(), commit, epoch: producer.1 };
        world.coordinator.store().commit(vec![decided]).unwrap();
        drop(world);

        let world = open(folder.path());
        assert_eq!(world.stable(), [2, 2]);
        assert_eq!(is_committed(&world.offset()), commit);
        // The producer that got no answer asks again.
        let marker = if commit { Marker::Commit } else { Marker::Abort };
        assert_eq!(world.coordinator.end_transaction(&key(producer), marker), Ok(()));
        let other = if commit { Marker::Abort } else { Marker::Commit };
        assert_eq!(world.coordinator.end_transaction(&key(producer), other), Err(Code::INVALID_TXN_STATE));
    }
}

#[test]
fn an_ongoing_transaction_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let world = with_topic(folder.path());
    let producer = world.init();
    world.begin(producer, 0);
    drop(world);
    let world = open(folder.path());
    assert_eq!((world.stable(), world.offset()), (vec![0, 0], FetchedOffset::Unstable));
    world.write(producer, 1).unwrap();
    world.coordinator.end_transaction(&key(producer), Marker::Commit).unwrap();
    assert_eq!(world.stable(), [3, 3]);
    assert!(is_committed(&world.offset()));
}

#[test]
fn a_successor_gets_the_same_id_a_new_epoch_and_a_clean_slate() {
    let folder = tempfile::tempdir().unwrap();
    let world = with_topic(folder.path());
    let old = world.init();
    world.begin(old, 0);
    let new = world.init();
    assert_eq!(new, (old.0, old.1 + 1));
    assert_eq!((world.stable(), world.offset()), (vec![2, 2], FetchedOffset::None));
    assert_eq!(world.write(old, 1), Err(Code::INVALID_PRODUCER_EPOCH));
    assert_eq!(world.coordinator.end_transaction(&key(old), Marker::Commit), Err(Code::PRODUCER_FENCED));
    world.begin(new, 0);
    drop(world);
    assert_eq!(open(folder.path()).init(), (old.0, old.1 + 2));
}

#[test]
fn a_late_batch_does_not_open_an_ended_transaction_again() {
    let folder = tempfile::tempdir().unwrap();
    let world = with_topic(folder.path());
    let producer = world.init();
    world.begin(producer, 0);
    world.coordinator.end_transaction(&key(producer), Marker::Commit).unwrap();
    assert_eq!(world.write(producer, 1), Err(Code::INVALID_TXN_STATE));
    assert_eq!(world.stable(), [2, 2]);
}

#[test]
fn an_overdue_transaction_is_aborted_and_its_producer_fenced() {
    let folder = tempfile::tempdir().unwrap();
    let world = with_topic(folder.path());
    let producer = world.init();
    world.begin(producer, 0);
    world.coordinator.sweep(now_ms());
    assert_eq!(world.stable(), [0, 0]);
    world.coordinator.sweep(now_ms() + 2000);
    assert_eq!((world.stable(), world.offset()), (vec![2, 2], FetchedOffset::None));
    assert_eq!(world.coordinator.end_transaction(&key(producer), Marker::Commit), Err(Code::PRODUCER_FENCED));
}

#[test]
fn producer_ids_are_never_given_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let world = open(folder.path());
        for _ in 0..1500 {
            assert!(seen.insert(world.coordinator.new_producer_id().unwrap()));
        }
    }
}

#[test]
fn a_lost_marker_does_not_hold_readers_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let world = with_topic(folder.path());
    let producer = world.init();
    world.begin(producer, 0);
    // As if a loss of power had taken the markers but not the journal's entry.
    for entry in [
        Entry::TransactionDecided { id: "x".to_owned(), commit: true, epoch: producer.1 },
        Entry::TransactionCompleted { id: "x".to_owned() },
    ] {
        world.coordinator.store().commit(vec![entry]).unwrap();
    }
    drop(world);
    let world = open(folder.path());
    assert_eq!(world.stable(), [2, 2]);
    assert!(is_committed(&world.offset()));
}

#[test]
fn any_prefix_of_the_journal_is_read_up_to_its_last_whole_entry() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    let (mut journal, _) = Journal::open(&path, |_| {}).unwrap();
    let entry = |n| Entry::Offsets { group: format!("g{n}"), offsets: offsets(n) };
    let mut ends = vec![0];
    for n in 0..5 {
        journal.append(&[entry(n)]).unwrap();
        ends.push(std::fs::metadata(&path).unwrap().len());
    }
    let content = std::fs::read(&path).unwrap();
    for length in 0..=content.len() {
        std::fs::write(&path, &content[..length]).unwrap();
        let mut found = Vec::new();
        let (_, truncated) = Journal::open(&path, |entry| found.push(entry)).unwrap();
        let whole = ends.iter().filter(|end| **end <= u64::try_from(length).unwrap()).count() - 1;
        assert_eq!(found, (0..5).take(whole).map(entry).collect::<Vec<_>>());
        assert_eq!(truncated, u64::try_from(length).unwrap() - ends[whole]);
    }
}

#[test]
fn the_state_is_the_same_after_rewriting_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let world = with_topic(folder.path());
    let producer = world.init();
    world.begin(producer, 0);
    world.coordinator.commit_offsets("other", offsets(5)).unwrap();
    let mut again = Image::default();
    let store = world.coordinator.store();
    for entry in store.image.entries() {
        // By way of the bytes.
        again.apply(serde_json::from_slice(&serde_json::to_vec(&entry).unwrap()).unwrap());
    }
    assert_eq!(again, store.image);
}

#[test]
fn too_much_is_refused_and_what_is_deleted_stays_so() {
    let folder = tempfile::tempdir().unwrap();
    let world = with_topic(folder.path());
    let long = Committed { offset: 1, leader_epoch: -1, metadata: Some("x".repeat(4097)) };
    let partition = ("t".to_owned(), 0);
    assert_eq!(world.coordinator.check_offset(&partition, &long), Err(Code::OFFSET_METADATA_TOO_LARGE));
    let many: Offsets = (0..30_000).map(|n| (("t".to_owned(), n), offsets(1)[&partition].clone())).collect();
    assert_eq!(world.coordinator.commit_offsets("g", many), Err(Code::COORDINATOR_NOT_AVAILABLE));
    world.coordinator.commit_offsets("g", offsets(1)).unwrap();
    world.coordinator.commit_offsets("h", offsets(1)).unwrap();
    assert_eq!(world.coordinator.delete_group("h"), Ok(true));
    world.topics.delete("t").unwrap();
    world.coordinator.forget_topic("t").unwrap();
    drop(world);
    assert!(open(folder.path()).coordinator.groups_with_offsets().is_empty());
}
