//! The language that selects flows, the same for the agent, the enricher, the command line and the console.
//!
//! `src.namespace == "shop" and dst.port in [80, 443] and action == deny` is parsed once into a typed [`Expression`] by
//! [`parse`], which refuses what has no meaning and points at it. Evaluation over [`Facts`] allocates nothing and takes
//! time in proportion to the expression. `docs/filters.md` is the description for users.
//!
//! A field may have no value, one, or several. A test holds when it holds for one of the values, so a field without a
//! value is equal to nothing; `!=` and `not in` are the opposites of `==` and `in`, and hold then. There is no third
//! truth value: this is what a search engine's `term` and `must_not` mean too, so that a translation can be exact.
//!
//! Everything here is a function of its arguments: no IO, no clock, no environment.

mod error;
mod evaluate;
mod expression;
mod field;
mod lexer;
mod parser;
mod rule;

#[cfg(test)]
mod tests;

pub use error::ParseError;
pub use evaluate::{Facts, Value};
pub use expression::{Check, Comparison, Expression, Pattern, Subject, Test};
pub use field::{End, EndField, Field, FlowField, Kind, Place, Sameness};
pub use parser::{DEPTH_MOST, LENGTH_MOST, parse};
pub use rule::{Action, Rule, RuleError, Rules, parse_rule};
