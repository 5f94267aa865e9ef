//! The settings in force, for `--print-config` and the admin port.

use std::fmt::Write as _;

use clap::ArgMatches;

use super::command::{self, Flag, Override};

/// What stands in place of a secret.
const REDACTED: &str = "<redacted>";

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A flag on the command line.
    Flag,
    /// An environment variable.
    Environment,
    /// The settings file.
    File,
    /// The default.
    Default,
}

impl Origin {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        }
    }
}

/// One setting in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveValue {
    /// The key, which is the name of the flag.
    pub name: String,
    /// The environment variable of the same setting.
    pub variable: String,
    /// The values as written, redacted if they are secret; nothing if the setting has no value.
    pub values: Vec<String>,
    /// Whether the setting holds a list.
    pub list: bool,
    /// Where the value came from.
    pub origin: Origin,
}

pub(super) fn collect(flags: &[Flag], matches: &ArgMatches, overrides: &[Override]) -> Vec<EffectiveValue> {
    flags
        .iter()
        .map(|flag| {
            let (values, from_flag) = command::written_values(matches, flag).unwrap_or_default();
            let given = overrides.iter().find(|given| given.flag == flag.name);
            let origin = match given {
                _ if from_flag => Origin::Flag,
                Some(given) => given.origin,
                None => Origin::Default,
            };
            let values = values
                .into_iter()
                .map(|value| if flag.secret { REDACTED.to_owned() } else { without_password(&value) })
                .collect();
            EffectiveValue {
                name: flag.name.clone(),
                variable: flag.variable.clone(),
                values,
                list: flag.is_list(),
                origin,
            }
        })
        .collect()
}

/// A URL without the password in its authority; any other text as it is.
fn without_password(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else {
        return value.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((user, host)) => {
            let name = user.split_once(':').map_or(user, |(name, _)| name);
            format!("{scheme}://{name}:{REDACTED}@{host}{path}")
        }
        None => value.to_owned(),
    }
}

pub(super) fn to_toml(values: &[EffectiveValue]) -> String {
    let mut text = String::new();
    for value in values {
        let origin = value.origin.as_str();
        let name = &value.name;
        // Writing to a String cannot fail.
        let _ = match (value.values.as_slice(), value.list) {
            ([], _) => writeln!(text, "# {name} =  # not set"),
            ([single], false) => writeln!(text, "{name} = {}  # {origin}", scalar(single)),
            (many, _) => {
                let items: Vec<String> = many.iter().map(|item| scalar(item)).collect();
                writeln!(text, "{name} = [{}]  # {origin}", items.join(", "))
            }
        };
    }
    text
}

/// A TOML scalar that reads back as the same text.
fn scalar(value: &str) -> String {
    let plain_number = value.parse::<i64>().is_ok_and(|number| number.to_string() == value);
    if plain_number || value == "true" || value == "false" {
        return value.to_owned();
    }
    toml::Value::String(value.to_owned()).to_string()
}
