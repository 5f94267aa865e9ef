//! One capture file, packet by packet, in memory of bounded size.

use crate::packet::LinkType;
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, LegacyPcapReader, PcapBlockOwned, PcapError as ParserError, PcapNGReader};
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Blocks up to this size are read; 256 KiB is the largest snapshot length that tools use.
const BUFFER: usize = 1 << 20;
/// What a pcapng file begins with, in either byte order.
const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Why a capture file cannot be read.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be opened or read.
    #[error("capture file {file}")]
    Io {
        /// The file.
        file: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// It is not a capture file.
    #[error("capture file {file} is neither pcap nor pcapng: convert it with editcap or tcpdump")]
    Format {
        /// The file.
        file: PathBuf,
    },
    /// It ends inside a block.
    #[error(
        "capture file {file} is cut off: the block at byte {offset} is not complete; editcap can save what is before it"
    )]
    Truncated {
        /// The file.
        file: PathBuf,
        /// Where the incomplete block begins.
        offset: u64,
    },
    /// A block makes no sense.
    #[error("capture file {file} is damaged at byte {offset}")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where.
        offset: u64,
    },
    /// Its link layer is not known here.
    #[error(
        "capture file {file} has link type {number}, which is not read: Ethernet, raw IP, Linux cooked and loopback are"
    )]
    LinkType {
        /// The file.
        file: PathBuf,
        /// The registry's number.
        number: i32,
    },
}

/// A captured packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// When, ns since the epoch.
    pub time: i128,
    /// What the data begin with.
    pub link: LinkType,
    /// Bytes on the wire.
    pub length: u64,
    /// Bytes captured.
    pub data: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Interface {
    link: LinkType,
    /// Units of time stamps in a second.
    resolution: u64,
    /// Seconds to add.
    offset: i64,
}

/// A capture file that is being read.
pub struct CaptureFile {
    path: PathBuf,
    reader: Box<dyn PcapReaderIterator + Send>,
    /// Of the section being read.
    interfaces: Vec<Interface>,
    offset: u64,
    /// The time of the last packet, for blocks that have none.
    last: i128,
}

enum Step {
    Packet(Captured),
    Other,
}

impl CaptureFile {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be opened or is no capture file.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let io = |source| FileError::Io { file: path.to_owned(), source };
        let mut file = File::open(path).map_err(io)?;
        let mut magic = [0; 4];
        file.read_exact(&mut magic).map_err(|_| FileError::Format { file: path.to_owned() })?;
        file.rewind().map_err(io)?;
        let failed = |error| match error {
            ParserError::Incomplete(_) | ParserError::UnexpectedEof => {
                FileError::Truncated { file: path.to_owned(), offset: 0 }
            }
            ParserError::ReadError => io(std::io::Error::other("cannot be read")),
            _ => FileError::Format { file: path.to_owned() },
        };
        let reader: Box<dyn PcapReaderIterator + Send> = if magic == SECTION {
            Box::new(PcapNGReader::new(BUFFER, file).map_err(failed)?)
        } else {
            Box::new(LegacyPcapReader::new(BUFFER, file).map_err(failed)?)
        };
        Ok(Self { path: path.to_owned(), reader, interfaces: Vec::new(), offset: 0, last: 0 })
    }

    /// The next packet; nothing at the end.
    ///
    /// # Errors
    /// Where the file is cut off or damaged.
    pub fn next_packet(&mut self) -> Result<Option<Captured>, FileError> {
        loop {
            // The parser's answers borrow its buffer, so that what follows from them is decided first and done after.
            enum Then {
                Took(usize, Option<Step>),
                Refill,
                End,
                Cut,
                Damaged,
            }
            let exhausted = self.reader.reader_exhausted();
            let then = match self.reader.next() {
                Ok((size, block)) => {
                    let step = step(&self.path, &mut self.interfaces, &mut self.last, &block)?;
                    Then::Took(size, step)
                }
                Err(ParserError::Eof) => Then::End,
                Err(ParserError::Incomplete(_)) if exhausted => Then::Cut,
                Err(ParserError::Incomplete(_)) => Then::Refill,
                Err(ParserError::UnexpectedEof) => Then::Cut,
                Err(_) => Then::Damaged,
            };
            let here = || (self.path.clone(), self.offset);
            match then {
                Then::Took(size, step) => {
                    self.reader.consume(size);
                    self.offset += u64::try_from(size).unwrap_or(0);
                    match step {
                        Some(Step::Packet(packet)) => return Ok(Some(packet)),
                        Some(Step::Other) => {}
                        None => return Err(FileError::Damaged { file: self.path.clone(), offset: self.offset }),
                    }
                }
                Then::Refill => {
                    let before = self.reader.data().len();
                    let (file, offset) = here();
                    if self.reader.refill().is_err() {
                        return Err(FileError::Damaged { file, offset });
                    }
                    // A full buffer that still is not enough: the block's length is nonsense.
                    if self.reader.data().len() == before && !self.reader.reader_exhausted() {
                        return Err(FileError::Damaged { file, offset });
                    }
                }
                Then::End => return Ok(None),
                Then::Cut => {
                    let (file, offset) = here();
                    return Err(FileError::Truncated { file, offset });
                }
                Then::Damaged => {
                    let (file, offset) = here();
                    return Err(FileError::Damaged { file, offset });
                }
            }
        }
    }
}

/// What a block is; nothing when it refers to an interface that was not described.
fn step(
    path: &Path,
    interfaces: &mut Vec<Interface>,
    last: &mut i128,
    block: &PcapBlockOwned<'_>,
) -> Result<Option<Step>, FileError> {
    const MICROS: u64 = 1_000_000;
    const NANOS: u64 = 1_000_000_000;
    let link = |number: i32| {
        LinkType::from_number(number).ok_or_else(|| FileError::LinkType { file: path.to_owned(), number })
    };
    let packet = |time: i128, interface: &Interface, length: u32, data: &[u8]| {
        Step::Packet(Captured { time, link: interface.link, length: u64::from(length), data: data.to_vec() })
    };
    Ok(match block {
        PcapBlockOwned::LegacyHeader(header) => {
            let resolution = if header.is_nanosecond_precision() { NANOS } else { MICROS };
            *interfaces = vec![Interface { link: link(header.network.0)?, resolution, offset: 0 }];
            Some(Step::Other)
        }
        PcapBlockOwned::Legacy(block) => interfaces.first().map(|interface| {
            *last = i128::from(block.ts_sec) * i128::from(NANOS)
                + i128::from(block.ts_usec) * i128::from(NANOS / interface.resolution);
            packet(*last, interface, block.origlen, block.data)
        }),
        PcapBlockOwned::NG(Block::SectionHeader(_)) => {
            interfaces.clear();
            Some(Step::Other)
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(description)) => {
            let resolution = description.ts_resolution().filter(|resolution| *resolution > 0).unwrap_or(MICROS);
            interfaces.push(Interface {
                link: link(description.linktype.0)?,
                resolution,
                offset: description.if_tsoffset,
            });
            Some(Step::Other)
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(block)) => {
            let interface = usize::try_from(block.if_id).ok().and_then(|index| interfaces.get(index));
            interface.map(|interface| {
                let units = (i128::from(block.ts_high) << 32) | i128::from(block.ts_low);
                *last = units * i128::from(NANOS) / i128::from(interface.resolution)
                    + i128::from(interface.offset) * i128::from(NANOS);
                let captured = usize::try_from(block.caplen).unwrap_or(usize::MAX).min(block.data.len());
                packet(*last, interface, block.origlen, block.data.get(..captured).unwrap_or_default())
            })
        }
        PcapBlockOwned::NG(Block::SimplePacket(block)) => {
            interfaces.first().map(|interface| packet(*last, interface, block.origlen, block.data))
        }
        PcapBlockOwned::NG(_) => Some(Step::Other),
    })
}
