//! Verdicts against what others say: sentences of the specifications, and other projects' cases.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod cases;
mod cluster;
mod evaluator;
mod refused;
mod truth;
