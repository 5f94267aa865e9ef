//! Heads and bodies of HTTP/1.1 messages as bytes.

use crate::relay::{Answer, CHUNK, End};
use std::io;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite};

#[cfg(test)]
mod tests;

/// Bytes that a head may have.
const MAX_HEAD: usize = 64 << 10;

/// The lines before a body.
#[derive(Debug)]
pub(super) struct Head {
    /// As they came, the empty line included.
    pub(super) bytes: Vec<u8>,
    /// The first line.
    first: String,
    content_length: Option<u64>,
    chunked: bool,
    close: bool,
}

/// How much follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Everything until the connection ends.
    UntilEnd,
}

impl Head {
    fn parse(bytes: Vec<u8>) -> io::Result<Self> {
        let text = std::str::from_utf8(&bytes).map_err(|_| invalid("a head that is no text"))?;
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default().to_owned();
        let (mut content_length, mut chunked, mut close) = (None, false, false);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "content-length" => {
                    content_length = Some(value.parse().map_err(|_| invalid("a content-length that is no number"))?);
                }
                "transfer-encoding" => chunked = value.to_ascii_lowercase().ends_with("chunked"),
                "connection" => close = value.eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        Ok(Self { bytes, first, content_length, chunked, close })
    }

    fn word(&self, number: usize) -> &str {
        self.first.split(' ').nth(number).unwrap_or_default()
    }

    /// The path of a request, without its query.
    pub(super) fn path(&self) -> &str {
        self.word(1).split('?').next().unwrap_or_default()
    }

    pub(super) fn is_method(&self, method: &str) -> bool {
        self.word(0) == method
    }

    /// Whether an answer is followed by another to the same request.
    pub(super) fn is_interim(&self) -> bool {
        self.word(1).starts_with('1')
    }

    /// Its lines with another length of the body, without an offer to take a compressed answer: what is to be changed has to be
    /// read.
    pub(super) fn with_length(&self, length: usize) -> Vec<u8> {
        let text = String::from_utf8_lossy(&self.bytes);
        let framed = ["content-length", "transfer-encoding", "accept-encoding"];
        let name = |line: &str| line.split(':').next().unwrap_or_default().trim().to_ascii_lowercase();
        let kept = text.lines().filter(|line| !line.is_empty() && !framed.contains(&name(line).as_str()));
        let lines: Vec<&str> = kept.collect();
        format!("{}\r\ncontent-length: {length}\r\n\r\n", lines.join("\r\n")).into_bytes()
    }

    /// Whether its sender ends the connection after it.
    pub(super) fn closes(&self) -> bool {
        self.close
    }

    pub(super) fn request_body(&self) -> Body {
        if self.chunked { Body::Chunked } else { Body::Length(self.content_length.unwrap_or(0)) }
    }

    pub(super) fn answer_body(&self, request: &Self) -> Body {
        if request.is_method("HEAD") || matches!(self.word(1), "204" | "304") {
            return Body::Length(0);
        }
        match (self.chunked, self.content_length) {
            (true, _) => Body::Chunked,
            (false, Some(length)) => Body::Length(length),
            (false, None) => Body::UntilEnd,
        }
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The next head; none when the connection ends before it.
pub(super) async fn read_head(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Head>> {
    let mut bytes = Vec::new();
    loop {
        let before = bytes.len();
        if (&mut *reader).take(MAX_HEAD as u64).read_until(b'\n', &mut bytes).await? == 0 {
            return if bytes.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        if bytes.len() > MAX_HEAD {
            return Err(invalid("a head that is too long"));
        }
        if matches!(&bytes[before..], b"\r\n" | b"\n") {
            return Head::parse(bytes).map(Some);
        }
    }
}

/// Passes a body on as it comes.
pub(super) async fn copy_body<W: AsyncWrite + Unpin>(
    reader: &mut (impl AsyncBufRead + Unpin),
    to: &mut Answer<'_, W>,
    body: Body,
) -> Result<(), End> {
    match body {
        Body::Length(length) => copy(reader, to, length).await,
        Body::UntilEnd => {
            copy(reader, to, u64::MAX).await.or_else(|end| if end == End::Upstream { Ok(()) } else { Err(end) })
        }
        Body::Chunked => loop {
            let size = copy_line(reader, to).await?;
            let digits = size.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(digits, 16).map_err(|_| End::Upstream)?;
            copy(reader, to, size).await?;
            if size == 0 {
                // Trailers end with an empty line.
                while !copy_line(reader, to).await?.trim().is_empty() {}
                return Ok(());
            }
            copy_line(reader, to).await?;
        },
    }
}

async fn copy_line<W: AsyncWrite + Unpin>(
    reader: &mut (impl AsyncBufRead + Unpin),
    to: &mut Answer<'_, W>,
) -> Result<String, End> {
    let mut line = Vec::new();
    match (&mut *reader).take(MAX_HEAD as u64).read_until(b'\n', &mut line).await {
        Ok(1..) => to.write(&line).await?,
        _ => return Err(End::Upstream),
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

async fn copy<W: AsyncWrite + Unpin>(
    reader: &mut (impl AsyncBufRead + Unpin),
    to: &mut Answer<'_, W>,
    length: u64,
) -> Result<(), End> {
    let mut buffer = vec![0; CHUNK];
    let mut left = length;
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let Ok(count @ 1..) = reader.read(&mut buffer[..wanted]).await else { return Err(End::Upstream) };
        to.write(&buffer[..count]).await?;
        left -= u64::try_from(count).unwrap_or(left).min(left);
    }
    Ok(())
}
