//! How long the texts of a batch may be. Whoever may write to the topic decides what stands in them, and they go on into
//! messages of other topics, which must not become larger than a broker takes.

use super::columns::{ColumnBatch, ColumnError};

/// The most bytes of a name on a batch: of the cluster, the node, its boot, an interface, a pod, a container, a process or a
/// reason. Kubernetes' longest names have 253 bytes, the kernel's 15.
pub const NAME: usize = 512;

/// The most bytes of a DNS question: 255 on the wire, where each may be four in text.
pub const QUESTION: usize = 1_024;

/// The most reasons of losses on a batch.
pub const LOSSES: usize = 128;

/// Refuses a batch one of whose texts is too long, or that has more reasons of losses than there can be.
pub(super) fn check(batch: &ColumnBatch) -> Result<(), ColumnError> {
    if batch.lost.len() > LOSSES {
        return Err(ColumnError::Many("losses", batch.lost.len(), LOSSES));
    }
    let own = [("cluster", &batch.cluster), ("node", &batch.node), ("boot", &batch.boot)];
    let lost = batch.lost.iter().map(|loss| ("reason of a loss", &loss.reason));
    let strings = batch.strings.iter().map(|text| ("text of a sample", text));
    let drops = batch.columns.drops.iter().map(|at| ("reason of a drop", &at.drop.reason));
    for (name, text) in own.into_iter().chain(lost).chain(strings).chain(drops) {
        within(name, text, NAME)?;
    }
    for dns in &batch.dns {
        within("DNS question", &dns.question, QUESTION)?;
        let optional = [&dns.pod_uid, &dns.container, &dns.process].into_iter().flatten();
        for text in optional.chain([&dns.interface]) {
            within("text of a DNS question", text, NAME)?;
        }
    }
    Ok(())
}

fn within(name: &'static str, text: &str, most: usize) -> Result<(), ColumnError> {
    if text.len() > most { Err(ColumnError::Long(name, text.len(), most)) } else { Ok(()) }
}
