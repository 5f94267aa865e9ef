//! What the protocols share: how a connection ends, and how an answer is written while it goes wrong.

use crate::gate::Gate;
use crate::plan::Action;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes copied at once.
pub(crate) const CHUNK: usize = 16 << 10;
/// The same when the rate is limited: so many times a second.
const SLICES_PER_SECOND: u64 = 20;

/// How the connection to the client ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// In order.
    Close,
    /// With a reset.
    Reset,
    /// The client has ended it.
    Client,
    /// The server has refused or ended it.
    Upstream,
}

/// Writes an answer to the client, with what goes wrong in its course.
pub(crate) struct Answer<'a, W> {
    writer: &'a mut W,
    gate: &'a Gate,
    /// The bytes that still come, and how it ends then.
    left: Option<(u64, End)>,
    bytes_per_second: Option<u64>,
}

impl<'a, W: AsyncWrite + Unpin> Answer<'a, W> {
    pub(crate) fn new(writer: &'a mut W, gate: &'a Gate, action: Option<Action>) -> Self {
        let left = match action {
            Some(Action::ResetAfter(bytes)) => Some((bytes, End::Reset)),
            Some(Action::CutAfter(bytes)) => Some((bytes, End::Close)),
            _ => None,
        };
        let bytes_per_second = match action {
            Some(Action::Throttle(rate)) => Some(rate),
            _ => None,
        };
        Self { writer, gate, left, bytes_per_second }
    }

    /// Writes some of it.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), End> {
        let mut rest = bytes;
        while !rest.is_empty() {
            self.gate.pass().await;
            let (now, later) = rest.split_at(self.portion(rest.len()));
            self.writer.write_all(now).await.map_err(|_| End::Client)?;
            if let Some(rate) = self.bytes_per_second {
                let bytes = u32::try_from(now.len()).unwrap_or(u32::MAX);
                tokio::time::sleep(Duration::from_secs(1) * bytes / u32::try_from(rate).unwrap_or(u32::MAX)).await;
            }
            if let Some((left, end)) = &mut self.left {
                *left = left.saturating_sub(u64::try_from(now.len()).unwrap_or(u64::MAX));
                if *left == 0 {
                    return Err(*end);
                }
            }
            rest = later;
        }
        Ok(())
    }

    fn portion(&self, wanted: usize) -> usize {
        let fits = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let left = self.left.map_or(usize::MAX, |(left, _)| fits(left));
        let slice = self.bytes_per_second.map_or(CHUNK, |rate| fits(rate / SLICES_PER_SECOND).clamp(1, CHUNK));
        wanted.min(left).min(slice)
    }

    /// Its end; one that was to break and was too short breaks here.
    pub(crate) fn finish(&self) -> Result<(), End> {
        self.left.map_or(Ok(()), |(_, end)| Err(end))
    }
}

/// Takes what the client sends until it ends.
pub(crate) async fn swallow(reader: &mut (impl AsyncRead + Unpin)) -> End {
    let mut buffer = vec![0; CHUNK];
    while let Ok(1..) = reader.read(&mut buffer).await {}
    End::Client
}
