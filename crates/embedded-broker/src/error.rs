//! Why a broker could not be started or kept running.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the broker could not start. Each message names the thing and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The data folder was written by a later version of Weir.
    #[error(
        "data folder {path} has format {found}, this version reads up to {supported}: use a newer version or another folder"
    )]
    NewerFormat {
        /// The data folder.
        path: PathBuf,
        /// The format number found in it.
        found: u64,
        /// The highest format this version reads.
        supported: u64,
    },
    /// Another live process uses the data folder.
    #[error("data folder {path} is in use by another process: stop it or choose another data folder")]
    Locked {
        /// The data folder.
        path: PathBuf,
    },
    /// The listening address could not be bound.
    #[error(
        "address {address} cannot be listened on ({source}): stop what uses it or choose another port (0 picks a free one)"
    )]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A file or folder of the data folder cannot be read or written.
    #[error("{path} cannot be {action} ({source}): check that it exists, its permissions and the free space")]
    Storage {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, as a past participle ("read", "written", ...).
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the data folder holds something this version cannot have written.
    #[error("{path} is damaged ({reason}): restore it from a copy or start with an empty data folder")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl BrokerError {
    /// Wraps an IO error with the path and the action that met it.
    pub(crate) fn storage(path: impl Into<PathBuf>, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Storage { path, action, source }
    }
}
