//! The vocabulary of flows: time, keys, counters and settings.
//!
//! Everything here is a plain value or a pure function of its arguments: no IO, no clock, no environment, no
//! randomness. Time always comes from data. `docs/design.md` holds the words and the rules that these types carry.

pub mod address;
pub mod community_id;
pub mod dns;
pub mod level;
pub mod protocol;
pub mod settings;
pub mod time;

pub use address::{Address, AddressScope};
pub use level::Level;
pub use settings::RecordSettings;
pub use time::{Frontier, Millis};
