//! Counts every connection of a node with eBPF and publishes raw samples; reads capture files to the same end.
//!
//! The kernel programs are in `bpf/`; [`abi`] is the border to them. [`ebpf`] takes what they counted each tick, [`local`]
//! says whose it was as far as the node itself can tell, [`pcap`] counts the same way from files, and [`publish`] writes
//! both to the raw topic, with [`accounting`] holding that what was seen is what was published plus what was lost.

pub mod abi;
pub mod accounting;
pub mod aggregate;
pub mod buffer;
pub mod dns;
pub mod ebpf;
pub mod local;
pub mod packet;
pub mod pcap;
pub mod privileges;
pub mod publish;
pub mod rules;
pub mod settings;
pub mod stats;
pub mod tick;

mod run;
#[cfg(test)]
mod testing;

pub use publish::Published;
pub use run::run;
pub use settings::AgentSettings;
