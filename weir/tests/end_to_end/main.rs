//! The whole path, through the program as a person starts it.
//!
//! Real engines take part when `WEIR_TEST_KAFKA` and `WEIR_TEST_ELASTICSEARCH` name them; tests that need root say so when
//! they are skipped. `WEIR_TEST_KILLS` sets how often the kill test kills.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod bad_input;
mod capture;
mod demo;
mod dlq;
mod enforcement;
mod harness;
mod kill;
mod namespaces;
mod network;
mod preview;
mod reference;
mod relay;
mod replay;
