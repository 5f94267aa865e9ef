use super::super::{ECS, OBSERVER, Orchestrator};
use super::*;

#[test]
fn what_stands_as_text_is_what_documents_of_other_kinds_have() {
    assert_eq!(serde_json::to_vec(&ECS).unwrap(), ECS_TEXT);
    assert_eq!(serde_json::to_vec(&OBSERVER).unwrap(), OBSERVER_TEXT);
}

#[test]
fn an_orchestrator_is_written_as_in_documents_of_other_kinds() {
    for (cluster, known) in [("production", true), ("a \"cluster\"", false), ("", true)] {
        let mut line = Vec::new();
        put_orchestrator(Object::begin(&mut line), cluster, known).unwrap();
        assert_eq!(line, serde_json::to_vec(&Orchestrator::of(cluster, known)).unwrap());
    }
}

#[test]
fn protocols_that_stand_as_text_are_named_as_everywhere() {
    for protocol in 0..=u8::MAX {
        let record = Enriched { protocol, ..crate::document::samples::minimal() };
        let mut line = Vec::new();
        put_network(Object::begin(&mut line), &record, br#","direction":"internal""#).unwrap();
        let network: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(network["transport"], protocol::name(protocol));
        assert_eq!(network["iana_number"], protocol.to_string());
    }
}

#[test]
fn actions_that_stand_as_text_are_named_as_on_the_topic() {
    for action in [Action::Allow, Action::Deny, Action::Mixed] {
        let record = Enriched { action, ..crate::document::samples::minimal() };
        let mut line = Vec::new();
        put_event(Object::begin(&mut line), &record).unwrap();
        let event: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(event["action"], serde_json::to_value(action).unwrap());
    }
}
