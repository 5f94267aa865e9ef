//! What is done to a clap command so that the environment and a file can stand in for flags.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::effective::Origin;
use super::file::FileEntry;

/// Id and flag of `--config`.
pub(super) const CONFIG: &str = "config";
/// Id and flag of `--check`.
pub(super) const CHECK: &str = "check";
/// Id and flag of `--print-config`.
pub(super) const PRINT_CONFIG: &str = "print-config";

/// Words that make a flag's value a secret when its name ends in them.
const SECRET_WORDS: [&str; 6] = ["password", "secret", "token", "api-key", "passphrase", "private-key"];

/// The subcommands that were chosen, outermost first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CommandPath(pub(super) Vec<String>);

impl CommandPath {
    /// The path that a parsed command line chose.
    pub(super) fn of(matches: &ArgMatches) -> Self {
        let mut names = Vec::new();
        let mut current = matches;
        while let Some((name, inner)) = current.subcommand() {
            names.push(name.to_owned());
            current = inner;
        }
        Self(names)
    }
}

/// A flag that may be set from the environment and the file.
#[derive(Debug, Clone)]
pub(super) struct Flag {
    /// How many subcommands deep it stands.
    pub(super) depth: usize,
    pub(super) id: String,
    /// The long name, which is the TOML key.
    pub(super) name: String,
    pub(super) variable: String,
    pub(super) secret: bool,
    kind: FlagKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FlagKind {
    SetTrue,
    SetFalse,
    /// Takes several values; true if clap splits them itself.
    Many {
        delimited: bool,
    },
    One,
}

/// A value for a flag that the command line did not give.
#[derive(Debug, Clone)]
pub(super) struct Override {
    depth: usize,
    id: String,
    pub(super) flag: String,
    values: Vec<String>,
    pub(super) origin: Origin,
    /// For error messages: file and line, or the variable.
    pub(super) place: String,
}

impl Override {
    pub(super) fn from_environment(flag: &Flag, value: &str) -> Self {
        let values = match flag.kind {
            FlagKind::SetTrue | FlagKind::SetFalse => vec![flag.switch(value)],
            FlagKind::Many { delimited: false } => value.split(',').map(|part| part.trim().to_owned()).collect(),
            FlagKind::Many { delimited: true } | FlagKind::One => vec![value.to_owned()],
        };
        Self {
            depth: flag.depth,
            id: flag.id.clone(),
            flag: flag.name.clone(),
            values,
            origin: Origin::Environment,
            place: format!("environment variable {}", flag.variable),
        }
    }

    pub(super) fn from_file(flag: &Flag, entry: &FileEntry) -> Self {
        let values = match flag.kind {
            FlagKind::SetTrue | FlagKind::SetFalse => entry.values.iter().map(|value| flag.switch(value)).collect(),
            FlagKind::Many { .. } | FlagKind::One => entry.values.clone(),
        };
        Self {
            depth: flag.depth,
            id: flag.id.clone(),
            flag: flag.name.clone(),
            values,
            origin: Origin::File,
            place: entry.place.clone(),
        }
    }
}

impl Flag {
    fn of(arg: &Arg, depth: usize) -> Option<Self> {
        let name = arg.get_long()?.to_owned();
        let id = arg.get_id().as_str().to_owned();
        if is_meta(&id) {
            return None;
        }
        let kind = match arg.get_action() {
            ArgAction::SetTrue => FlagKind::SetTrue,
            ArgAction::SetFalse => FlagKind::SetFalse,
            ArgAction::Append => FlagKind::Many { delimited: arg.get_value_delimiter().is_some() },
            ArgAction::Set | ArgAction::Count => {
                if arg.get_num_args().is_some_and(|range| range.max_values() > 1) {
                    FlagKind::Many { delimited: arg.get_value_delimiter().is_some() }
                } else {
                    FlagKind::One
                }
            }
            _ => return None,
        };
        let variable = arg.get_env().map_or_else(|| variable_name(&name), |env| env.to_string_lossy().into_owned());
        let secret = arg.is_hide_env_values_set() || is_secret_name(&name);
        Some(Self { depth, id, name, variable, secret, kind })
    }

    /// Whether the flag holds a list.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.kind, FlagKind::Many { .. })
    }

    /// What clap must be told for a switch that is `value`; words it does not know go through, to be refused.
    fn switch(&self, value: &str) -> String {
        let on = match value.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => true,
            "false" | "0" | "no" | "off" => false,
            _ => return value.to_owned(),
        };
        (on == (self.kind == FlagKind::SetTrue)).to_string()
    }
}

fn is_meta(id: &str) -> bool {
    matches!(id, CONFIG | CHECK | PRINT_CONFIG | "help" | "version")
}

fn is_secret_name(name: &str) -> bool {
    SECRET_WORDS
        .iter()
        .any(|word| name.strip_suffix(word).is_some_and(|before| before.is_empty() || before.ends_with('-')))
}

/// The environment variable of a flag.
pub(super) fn variable_name(flag: &str) -> String {
    format!("WEIR_{}", flag.to_ascii_uppercase().replace('-', "_"))
}

/// The command with the flags that every command has.
pub(super) fn declare(command: Command) -> Command {
    command
        .arg(
            Arg::new(CONFIG)
                .long(CONFIG)
                .value_name("FILE")
                .global(true)
                .value_parser(clap::value_parser!(PathBuf))
                .help_heading("Settings")
                .help("Read settings from this TOML file, whose keys are the names of the flags"),
        )
        .arg(
            Arg::new(CHECK)
                .long(CHECK)
                .global(true)
                .action(ArgAction::SetTrue)
                .help_heading("Settings")
                .help("Validate the settings and stop"),
        )
        .arg(
            Arg::new(PRINT_CONFIG)
                .long(PRINT_CONFIG)
                .global(true)
                .action(ArgAction::SetTrue)
                .help_heading("Settings")
                .help("Print the effective settings as TOML, without secrets, and stop"),
        )
}

/// Applies a change to every argument of a command and of its subcommands.
fn each_argument(command: Command, change: &impl Fn(Arg) -> Arg) -> Command {
    command.mut_args(change).mut_subcommands(|inner| each_argument(inner, change))
}

/// The command that only finds out what stands on the command line.
pub(super) fn probe(declared: &Command) -> Command {
    each_argument(declared.clone(), &|arg| arg.required(false).env(None::<&'static str>))
}

/// The command that prints help: every flag names its variable.
pub(super) fn document(declared: &Command) -> Command {
    each_argument(declared.clone(), &|arg| {
        let id = arg.get_id().as_str().to_owned();
        if matches!(id.as_str(), CHECK | PRINT_CONFIG | "help" | "version") {
            return arg;
        }
        match (arg.get_long(), arg.get_env()) {
            (Some(long), None) => {
                let variable = variable_name(long);
                arg.env(variable).hide_env_values(true)
            }
            _ => arg.hide_env_values(true),
        }
    })
}

/// Every flag of the command and of the chosen subcommands.
pub(super) fn flags(declared: &Command, path: &CommandPath) -> Vec<Flag> {
    let mut flags = Vec::new();
    let mut current = Some(declared);
    let mut depth = 0;
    while let Some(command) = current {
        flags.extend(command.get_arguments().filter_map(|arg| Flag::of(arg, depth)));
        current = path.0.get(depth).and_then(|name| command.find_subcommand(name));
        depth += 1;
    }
    flags
}

/// Every flag name anywhere in the command.
pub(super) fn all_names(command: &Command, names: &mut Vec<String>) {
    names.extend(command.get_arguments().filter_map(|arg| Flag::of(arg, 0)).map(|flag| flag.name));
    for inner in command.get_subcommands() {
        all_names(inner, names);
    }
}

fn at_depth(matches: &ArgMatches, depth: usize) -> Option<&ArgMatches> {
    let mut current = matches;
    for _ in 0..depth {
        current = current.subcommand()?.1;
    }
    Some(current)
}

/// Whether the command line itself gave this flag.
pub(super) fn given_on_command_line(matches: &ArgMatches, flag: &Flag) -> bool {
    at_depth(matches, flag.depth)
        .and_then(|level| level.value_source(&flag.id))
        .is_some_and(|source| source == ValueSource::CommandLine)
}

/// The values of a flag as they were written, and whether the command line gave them.
pub(super) fn written_values(matches: &ArgMatches, flag: &Flag) -> Option<(Vec<String>, bool)> {
    let level = at_depth(matches, flag.depth)?;
    let raw = level.get_raw(&flag.id)?;
    let values = raw.map(OsStr::to_string_lossy).map(Into::into).collect();
    Some((values, given_on_command_line(matches, flag)))
}

/// The command in which the given values are the defaults, so that the command line still goes first.
pub(super) fn inject(declared: &Command, overrides: &[Override]) -> Command {
    let without_environment = each_argument(declared.clone(), &|arg| arg.env(None::<&'static str>));
    inject_at(without_environment, 0, overrides)
}

fn inject_at(command: Command, depth: usize, overrides: &[Override]) -> Command {
    command
        .mut_args(|arg| {
            let given = overrides.iter().find(|given| given.depth == depth && arg.get_id().as_str() == given.id);
            match given {
                // An empty list in the file is no value at all.
                Some(given) if given.values.is_empty() => arg,
                Some(given) => arg.required(false).default_values(given.values.clone()),
                None => arg,
            }
        })
        .mut_subcommands(|inner| inject_at(inner, depth + 1, overrides))
}
