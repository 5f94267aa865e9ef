use super::*;

fn lease(holder: &str, version: &str) -> Option<Seen> {
    Some(Seen { holder: holder.to_owned(), duration: 15_000, version: version.to_owned() })
}

#[test]
fn what_is_nobodys_is_taken() {
    let mut election = Election::new("a".to_owned());
    assert_eq!(election.decide(None, 0), Decision::Take);
    assert_eq!(election.decide(lease("", "1"), 0), Decision::Take, "given back");
    assert_eq!(election.decide(lease("a", "2"), 0), Decision::Renew);
}

#[test]
fn anothers_is_waited_for_until_it_was_not_renewed_for_its_duration() {
    let mut election = Election::new("a".to_owned());
    assert_eq!(election.decide(lease("b", "1"), 100), Decision::Wait, "whatever its age: only one's own clock counts");
    assert_eq!(election.decide(lease("b", "2"), 15_000), Decision::Wait, "renewed");
    assert_eq!(election.decide(lease("b", "2"), 29_999), Decision::Wait);
    assert_eq!(election.decide(lease("b", "2"), 30_000), Decision::Take);
    assert_eq!(election.decide(lease("c", "3"), 30_001), Decision::Wait, "a third was quicker");
}
