//! What one DNS message says (RFC 1035 §4), as far as it can be read. Pure.

use domain::base::iana::{Opcode, Rtype};
use domain::base::{Message, ParsedRecord};
use domain::rdata::{A, Aaaa};
use std::net::IpAddr;
use weir_flow::Address;

/// A question, or the answer to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsMessage {
    /// Pairs question and answer.
    pub id: u16,
    /// The question; answers to a question that could not be read have none.
    pub question: Option<Question>,
    /// What the answer says; none for a question.
    pub answer: Option<Answer>,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// The name in lower case, without the last dot; what is no printable ASCII as `\DDD`.
    pub name: String,
    /// IANA number of the type.
    pub kind: u16,
}

/// What is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// IANA number of the code, extended by EDNS (RFC 6891) where it is.
    pub code: u16,
    /// Addresses in the answer section, in its order.
    pub addresses: Vec<Address>,
    /// Records of the answer section that could not be read, or were too many.
    pub unread: u64,
}

/// More addresses of one answer than this are only counted.
pub const ADDRESSES: usize = 64;

/// Reads a message. Nothing when it has no header, is no query (RFC 1035 §4.1.1: NOTIFY, UPDATE …), or is a question in
/// which nothing is asked.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<DnsMessage> {
    let message = Message::from_slice(bytes).ok()?;
    let header = message.header();
    if header.opcode() != Opcode::QUERY {
        return None;
    }
    let question = message.first_question().map(|question| Question {
        name: question.qname().to_string().trim_end_matches('.').to_ascii_lowercase(),
        kind: question.qtype().to_int(),
    });
    let answer = header.qr().then(|| answer(message));
    (answer.is_some() || question.is_some()).then(|| DnsMessage { id: header.id(), question, answer })
}

fn answer(message: &Message<[u8]>) -> Answer {
    let mut answer = Answer { code: message.opt_rcode().to_int(), ..Answer::default() };
    let mut left = u64::from(message.header_counts().ancount());
    let Ok(records) = message.answer() else {
        answer.unread = left;
        return answer;
    };
    for record in records {
        let Ok(record) = record else { break };
        left = left.saturating_sub(1);
        let Some(address) = address(&record) else { continue };
        if answer.addresses.len() < ADDRESSES {
            answer.addresses.push(Address::new(address));
        } else {
            answer.unread += 1;
        }
    }
    answer.unread += left;
    answer
}

fn address(record: &ParsedRecord<'_, [u8]>) -> Option<IpAddr> {
    match record.rtype() {
        Rtype::A => Some(IpAddr::V4(record.to_record::<A>().ok()??.data().addr())),
        Rtype::AAAA => Some(IpAddr::V6(record.to_record::<Aaaa>().ok()??.data().addr())),
        _ => None,
    }
}
