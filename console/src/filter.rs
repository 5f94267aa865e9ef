//! Which flows are asked for. One filter is a query to Elasticsearch and a predicate on live rows, with the same meaning.

mod facts;
mod policy;
mod query;
#[cfg(test)]
mod tests;
mod translate;

use std::net::IpAddr;

use serde::Deserialize;
use weir_filter::{Expression, Place};
use weir_flow::Level;
use weir_schemas::enriched::Enriched;

use crate::row::{End, Row};

/// Most rows in one answer.
pub const LIMIT_MOST: usize = 1000;
/// Rows in one answer unless asked otherwise.
pub const LIMIT_DEFAULT: usize = 100;
/// Longest value of a parameter, characters: a Kubernetes name is at most 253.
const LENGTH_MOST: usize = 512;

/// The parameters as they stand in the query string. An unknown one is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Parameters {
    /// Namespace of either end.
    pub namespace: Option<String>,
    /// Pod or workload of either end; `*` at the end stands for anything.
    pub pod: Option<String>,
    /// Address or CIDR block of either end.
    pub address: Option<String>,
    /// Port of either end.
    pub port: Option<String>,
    /// `allow`, `deny` and `mixed`, separated by commas.
    pub action: Option<String>,
    /// What policies said: `allow`, `deny`, `unknown`, `pending:allow`, `pending:deny`, `mismatch` or `unexplained`.
    pub policy: Option<String>,
    /// Windows that start at this time or later: RFC 3339, or an age such as `15m`.
    pub since: Option<String>,
    /// Windows that start before this time.
    pub until: Option<String>,
    /// An expression of the filter language (docs/filters.md), which must hold too.
    pub filter: Option<String>,
    /// Aggregation level.
    pub level: Option<String>,
    /// Most rows in the answer.
    pub limit: Option<String>,
    /// Where the answer before ended.
    pub cursor: Option<String>,
}

/// A parameter that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{parameter}: {problem}")]
pub struct FilterError {
    /// Which.
    pub parameter: &'static str,
    /// What is wrong, and what is expected.
    pub problem: String,
}

/// Which flows are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    namespace: Option<String>,
    pod: Option<Pattern>,
    address: Option<Network>,
    port: Option<u16>,
    /// Sorted; empty = any.
    actions: Vec<String>,
    policy: Option<policy::Wanted>,
    since: Option<i64>,
    until: Option<i64>,
    expression: Option<Expression>,
    /// The expression as a query; nothing where it was parsed for live records alone.
    clause: Option<serde_json::Value>,
    level: u8,
    limit: usize,
    cursor: Option<Cursor>,
}

/// A name, or the beginning of one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    text: String,
    prefix: bool,
}

/// A CIDR block; a single address is one with the full prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u8,
}

/// The sort values of the last row of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// `@timestamp`, ms since the epoch.
    pub time: i64,
    /// `weir.tiebreak`.
    pub tiebreak: i64,
}

impl Cursor {
    /// The text that [`Parameters::cursor`] takes.
    #[must_use]
    pub fn encode(self) -> String {
        format!("{}_{}", self.time, self.tiebreak)
    }

    fn decode(text: &str) -> Option<Self> {
        let (time, tiebreak) = text.split_once('_')?;
        Some(Self { time: time.parse().ok()?, tiebreak: tiebreak.parse().ok()? })
    }
}

impl Filter {
    /// Reads parameters; ages count back from `now` (ms since the epoch), `level` holds where none is given. The filter can
    /// be asked as a query and of records, with the same meaning.
    ///
    /// # Errors
    /// The first parameter that makes no sense.
    pub fn parse(parameters: &Parameters, level: u8, now: i64) -> Result<Self, FilterError> {
        Self::parse_for(parameters, level, now, Place::Search)
    }

    /// As [`Filter::parse`], but for live records alone: its expression may speak of what no document has.
    ///
    /// # Errors
    /// The first parameter that makes no sense.
    pub fn parse_live(parameters: &Parameters, level: u8, now: i64) -> Result<Self, FilterError> {
        Self::parse_for(parameters, level, now, Place::Record)
    }

    fn parse_for(parameters: &Parameters, level: u8, now: i64, place: Place) -> Result<Self, FilterError> {
        let expression = parameters.filter.as_deref().filter(|text| !text.trim().is_empty());
        let expression = expression.map(|text| weir_filter::parse(text, place));
        let expression = expression.transpose().map_err(|error| wrong("filter", error.to_string()))?;
        let clause = match (&expression, place) {
            (Some(expression), Place::Search) => {
                Some(translate::query(expression).ok_or_else(|| wrong("filter", "it cannot be searched"))?)
            }
            _ => None,
        };
        let filter = Self {
            expression,
            clause,
            namespace: given("namespace", parameters.namespace.as_ref())?
                .map(|text| name("namespace", text))
                .transpose()?,
            pod: given("pod", parameters.pod.as_ref())?.map(pattern).transpose()?,
            address: given("address", parameters.address.as_ref())?.map(network).transpose()?,
            port: given("port", parameters.port.as_ref())?
                .map(|text| text.parse().map_err(|_| wrong("port", "write a number from 0 to 65535")))
                .transpose()?,
            actions: given("action", parameters.action.as_ref())?.map(actions).transpose()?.unwrap_or_default(),
            policy: given("policy", parameters.policy.as_ref())?.map(policy::wanted).transpose()?,
            since: given("since", parameters.since.as_ref())?.map(|text| time("since", text, now)).transpose()?,
            until: given("until", parameters.until.as_ref())?.map(|text| time("until", text, now)).transpose()?,
            level: given("level", parameters.level.as_ref())?.map(level_of).transpose()?.unwrap_or(level),
            limit: given("limit", parameters.limit.as_ref())?.map(limit).transpose()?.unwrap_or(LIMIT_DEFAULT),
            cursor: given("cursor", parameters.cursor.as_ref())?
                .map(|text| {
                    Cursor::decode(text).ok_or_else(|| wrong("cursor", "write the `next` of the answer before"))
                })
                .transpose()?,
        };
        match (filter.since, filter.until) {
            (Some(since), Some(until)) if since >= until => Err(wrong("until", "it is not after since")),
            _ => Ok(filter),
        }
    }

    /// The level that is asked for.
    #[must_use]
    pub fn level(&self) -> u8 {
        self.level
    }

    /// Most rows in the answer.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether a record is asked for, of which `row` is the row. Limit and cursor do not count.
    #[must_use]
    pub fn matches(&self, row: &Row, record: &Enriched) -> bool {
        let ends = [&row.source, &row.destination];
        let either = |test: &dyn Fn(&End) -> bool| ends.iter().any(|end| test(end));
        let level = u64::from(self.level) == row.level;
        let namespace =
            self.namespace.as_ref().is_none_or(|wanted| either(&|end| end.namespace.as_ref() == Some(wanted)));
        let pod = self.pod.as_ref().is_none_or(|wanted| either(&|end| wanted.names(end)));
        let address = self.address.is_none_or(|wanted| either(&|end| end.known_addresses().any(|is| wanted.holds(is))));
        let port = self.port.is_none_or(|wanted| either(&|end| end.port == Some(u64::from(wanted))));
        let action = self.actions.is_empty() || self.actions.contains(&row.action);
        let policy = self.policy.as_ref().is_none_or(|wanted| wanted.is(row));
        let since = self.since.is_none_or(|since| row.window >= since);
        let until = self.until.is_none_or(|until| row.window < until);
        let expression = || self.expression.as_ref().is_none_or(|wanted| wanted.holds(&facts::Recorded(record)));
        level && namespace && pod && address && port && action && policy && since && until && expression()
    }
}

impl Pattern {
    fn fits(&self, text: &str) -> bool {
        if self.prefix { text.starts_with(&self.text) } else { text == self.text }
    }

    fn names(&self, end: &End) -> bool {
        let single = end.pod.as_deref().is_some_and(|pod| self.fits(pod));
        let workload = end.workload.as_deref().is_some_and(|workload| self.fits(workload));
        let listed = end.pods.iter().any(|pod| self.fits(pod.split_once('/').map_or(pod, |(_, name)| name)));
        single || workload || listed
    }
}

impl Network {
    fn holds(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(is)) => {
                let shift = 32_u32.saturating_sub(u32::from(self.prefix));
                same(u128::from(net.to_bits()), u128::from(is.to_bits()), shift)
            }
            (IpAddr::V6(net), IpAddr::V6(is)) => {
                same(net.to_bits(), is.to_bits(), 128_u32.saturating_sub(u32::from(self.prefix)))
            }
            _ => false,
        }
    }
}

/// Whether two numbers agree above their last `shift` bits.
fn same(left: u128, right: u128, shift: u32) -> bool {
    (left ^ right).checked_shr(shift).unwrap_or(0) == 0
}

fn wrong(parameter: &'static str, problem: impl Into<String>) -> FilterError {
    FilterError { parameter, problem: problem.into() }
}

/// The trimmed value of a parameter; an empty one, which forms send, counts as none.
fn given<'a>(parameter: &'static str, value: Option<&'a String>) -> Result<Option<&'a str>, FilterError> {
    let Some(text) = value.map(|value| value.trim()).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if text.chars().count() > LENGTH_MOST {
        return Err(wrong(parameter, format!("it is longer than {LENGTH_MOST} characters")));
    }
    Ok(Some(text))
}

/// A Kubernetes name, or what could be one: what no name may hold is refused, so that it never means something in a query.
fn name(parameter: &'static str, text: &str) -> Result<String, FilterError> {
    if text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':')) {
        Ok(text.to_owned())
    } else {
        Err(wrong(parameter, "write a name of letters, digits, '-', '.', '_' and ':'"))
    }
}

fn pattern(text: &str) -> Result<Pattern, FilterError> {
    let (text, prefix) = text.strip_suffix('*').map_or((text, false), |start| (start, true));
    Ok(Pattern { text: name("pod", text)?, prefix })
}

fn network(text: &str) -> Result<Network, FilterError> {
    let problem = || wrong("address", "write an address such as 10.0.0.1, or a block such as 10.0.0.0/8");
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let address: IpAddr = address.parse().map_err(|_| problem())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => most,
        Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= most).ok_or_else(problem)?,
    };
    Ok(Network { address, prefix })
}

fn actions(text: &str) -> Result<Vec<String>, FilterError> {
    let mut actions: Vec<String> = text.split(',').map(|action| action.trim().to_owned()).collect();
    actions.sort_unstable();
    actions.dedup();
    if actions.iter().all(|action| ["allow", "deny", "mixed"].contains(&action.as_str())) {
        Ok(actions)
    } else {
        Err(wrong("action", "write allow, deny or mixed, or several separated by commas"))
    }
}

fn level_of(text: &str) -> Result<u8, FilterError> {
    let level = text.parse().ok().and_then(Level::from_number);
    level.map(Level::number).ok_or_else(|| wrong("level", "write a number from 0 to 3"))
}

fn limit(text: &str) -> Result<usize, FilterError> {
    let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MOST).contains(limit));
    limit.ok_or_else(|| wrong("limit", format!("write a number from 1 to {LIMIT_MOST}")))
}

/// Reads a time: RFC 3339, or an age such as `15m` or `7d` that counts back from `now`; ms since the epoch.
///
/// # Errors
/// A text that is neither, with `parameter` as the name of what it was given for.
pub fn time(parameter: &'static str, text: &str, now: i64) -> Result<i64, FilterError> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let age = text.parse::<jiff::Span>().ok();
    let age = age.and_then(|age| age.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok());
    let age = age.and_then(|age| i64::try_from(age.as_millis()).ok());
    match age {
        Some(age) if age >= 0 => Ok(now.saturating_sub(age)),
        _ => Err(wrong(parameter, "write a time such as 2026-01-31T12:00:00Z, or an age such as 15m")),
    }
}
