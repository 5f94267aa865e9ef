use super::*;

#[test]
fn only_where_nothing_comes_and_nothing_is_paused_does_a_poll_wait_for_long() {
    let mut state = PollState::default();
    assert_eq!(state.wait(), POLL);
    state.in_vain = QUIET - 1;
    assert_eq!(state.wait(), POLL);
    state.in_vain = QUIET;
    assert_eq!(state.wait(), POLL_QUIET);
    state.paused.insert(TopicPartition::new("a", 0));
    assert_eq!(state.wait(), POLL, "it is to go on as soon as the owner says so");
    state.step = Some(Step::AwaitStart);
    assert_eq!(state.wait(), POLL_WAITING);
}
