//! The snapshot that an index must be in before it goes.

use crate::apply::Waiting;
use tracing::info;
use weir_elastic::{Elastic, Error, ErrorKind, IndexInfo, Snapshot};

/// The snapshot's name. It says of which index it is, and after how many operations: one that was made anew under the same name, or
/// that took documents since, has another.
fn name(index: &IndexInfo, operations: u64) -> String {
    format!("{}-{}-{operations}", index.name, index.created)
}

/// Why an index must stay, if no whole snapshot holds all of it; begins one then, unless there are `others` that are not done.
///
/// # Errors
/// When there is no such repository, or the engine does not answer.
pub(crate) async fn missing(
    elastic: &Elastic,
    repository: &str,
    index: &IndexInfo,
    others: bool,
) -> Result<Option<Waiting>, Error> {
    let stays = |why: String, passing| Ok(Some(Waiting { index: index.name.clone(), why, passing }));
    let operations = match elastic.operations(&index.name).await {
        Err(error) if error.kind == ErrorKind::Rejected => return stays(error.to_string(), false),
        operations => operations?,
    };
    let Some(operations) = operations else {
        return stays(
            "the engine does not say what was written into it, so that no snapshot is known to hold all of it"
                .to_owned(),
            false,
        );
    };
    let name = name(index, operations);
    match elastic.snapshot(repository, &name).await? {
        Snapshot::Done => Ok(None),
        Snapshot::InProgress => stays(format!("snapshot {name} is being made"), true),
        Snapshot::Missing if others => stays("its snapshot is made after another's".to_owned(), true),
        Snapshot::Missing => {
            match elastic.begin_snapshot(repository, &name, &index.name).await {
                // Engines answer 500 where a shard stands nowhere; that holds up no other index.
                Err(error) if error.code == "snapshot_exception" => return stays(error.to_string(), false),
                begun => begun?,
            }
            info!(index = index.name, repository, snapshot = name, "snapshot begun");
            stays(format!("snapshot {name} is being made"), true)
        }
        Snapshot::Failed(why) => stays(
            format!("snapshot {name} in {repository} is not whole ({why}): delete that snapshot to have it made anew"),
            false,
        ),
    }
}
