//! Each kind of proxy before a real server.

#![allow(clippy::unwrap_used, reason = "tests")]

mod http;
mod kafka;
mod tcp;
