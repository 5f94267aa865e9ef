//! Settings of a process: command line, environment and one TOML file, with the same names in all three.
//!
//! A flag `--raw-partitions` is the environment variable `WEIR_RAW_PARTITIONS` and the TOML key `raw-partitions`.
//! A flag on the command line goes before the environment, the environment before the file, the file before the
//! default. Nothing has to be declared for this: every long flag of a [`clap::Parser`] has its variable and its key.
//!
//! Every command also understands `--config FILE`, `--check` and `--print-config`; see [`Loaded::mode`].
//!
//! With subcommands, a key at the top of the file serves every subcommand that has such a flag, and a table named
//! after a subcommand (`[flows]`) serves that one alone and goes first.

mod command;
mod effective;
mod file;
mod parse;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Parser;
use clap::error::ErrorKind;

pub use effective::{EffectiveValue, Origin};
pub use parse::{parse_duration, parse_size};

use command::{CommandPath, Flag, Override};
use file::FileValues;

/// Where settings come from besides the command line. Tests bring their own.
pub trait Sources {
    /// The value of an environment variable.
    fn environment(&self, name: &str) -> Option<OsString>;
    /// The content of the settings file.
    ///
    /// # Errors
    /// Any error of reading the file.
    fn read(&self, path: &Path) -> std::io::Result<String>;
}

/// The environment and the files of this process.
#[derive(Debug, Clone, Copy)]
pub struct ProcessSources;

impl Sources for ProcessSources {
    fn environment(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn read(&self, path: &Path) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }
}

/// What the person who started the process wants it to do with its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Run the service.
    Run,
    /// `--check`: validate the settings, without any IO but reading the file, and stop.
    Check,
    /// `--print-config`: print the effective settings as TOML and stop.
    Print,
}

/// Settings, and where each value came from.
#[derive(Debug, Clone)]
pub struct Loaded<T> {
    /// The parsed settings.
    pub settings: T,
    /// Whether to run, check or print.
    pub mode: Mode,
    /// Every value in force, in the order of the help text. Secrets are redacted already.
    pub effective: Vec<EffectiveValue>,
    /// The settings file that was read, if any.
    pub file: Option<PathBuf>,
}

impl<T> Loaded<T> {
    /// The effective settings as a TOML file that says where each value came from. Secrets are redacted.
    #[must_use]
    pub fn effective_toml(&self) -> String {
        effective::to_toml(&self.effective)
    }
}

/// Why settings could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A command line that clap refuses, or the help or version text that was asked for.
    #[error("{}", problem(.0))]
    CommandLine(Box<clap::Error>),
    /// A value from the environment or the file that its flag refuses.
    #[error("{origin}: {problem}")]
    Value {
        /// Where the value stands, e.g. `weir.toml:3` or `environment variable WEIR_GRACE`.
        origin: String,
        /// What is wrong with it, which names the value and the flag.
        problem: String,
    },
    /// An environment variable that is not Unicode.
    #[error("environment variable {name} is not valid unicode")]
    NotUnicode {
        /// The variable.
        name: String,
    },
    /// The settings file cannot be read.
    #[error("settings file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The settings file is not TOML.
    #[error("{}:{line}: {problem}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the TOML parser says.
        problem: String,
    },
    /// A key that no flag has.
    #[error("{}:{line}: unknown key `{key}`", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// The known key that is spelled most like it.
        nearest: Option<String>,
    },
    /// A key whose value has a type that its flag cannot take.
    #[error("{}:{line}: key `{key}` cannot be {found}", path.display())]
    WrongType {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// The TOML type found, with its article.
        found: String,
    },
}

impl SettingsError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            Self::UnknownKey { .. } => Some("run with --print-config to see every key".to_owned()),
            Self::Unreadable { .. } => Some("give the path of a readable file with --config or WEIR_CONFIG".to_owned()),
            _ => None,
        }
    }

    /// Whether this is no error but the help or version text, which belongs on standard output with exit code 0.
    #[must_use]
    pub fn is_help(&self) -> bool {
        matches!(self, Self::CommandLine(error)
            if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion))
    }
}

impl From<clap::Error> for SettingsError {
    fn from(error: clap::Error) -> Self {
        Self::CommandLine(Box::new(error))
    }
}

/// Loads settings from the given command line (program name first), the environment and the settings file.
///
/// # Errors
/// See [`SettingsError`]; asking for help is one of them ([`SettingsError::is_help`]).
pub fn load<T: Parser>(args: impl IntoIterator<Item = OsString>) -> Result<Loaded<T>, SettingsError> {
    load_from(args, &ProcessSources)
}

/// [`load`] with the environment and the files of the caller.
///
/// # Errors
/// See [`load`].
pub fn load_from<T: Parser>(
    args: impl IntoIterator<Item = OsString>,
    sources: &impl Sources,
) -> Result<Loaded<T>, SettingsError> {
    let args: Vec<OsString> = args.into_iter().collect();
    let declared = command::declare(T::command());
    let probed = match command::probe(&declared).try_get_matches_from(&args) {
        Ok(matches) => matches,
        // The probe takes nothing as required and knows no variables; the help text must.
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            return Err(command::document(&declared).try_get_matches_from(&args).err().unwrap_or(error).into());
        }
        Err(error) => return Err(error.into()),
    };
    let path = CommandPath::of(&probed);
    let flags = command::flags(&declared, &path);
    let mut values = file::FileValues::default();
    let mut file = None;
    if let Some(config) = config_path(&probed, sources)? {
        let content =
            sources.read(&config).map_err(|source| SettingsError::Unreadable { path: config.clone(), source })?;
        values = FileValues::parse(&config, &content, &declared, &path)?;
        file = Some(config);
    }
    let overrides = overrides(&flags, &probed, sources, &values)?;
    let matches = command::inject(&declared, &overrides)
        .try_get_matches_from(&args)
        .map_err(|error| name_origin(error, &overrides))?;
    let settings = T::from_arg_matches(&matches).map_err(|error| name_origin(error, &overrides))?;
    let mode = if matches.get_flag(command::PRINT_CONFIG) {
        Mode::Print
    } else if matches.get_flag(command::CHECK) {
        Mode::Check
    } else {
        Mode::Run
    };
    Ok(Loaded { settings, mode, effective: effective::collect(&flags, &matches, &overrides), file })
}

fn config_path(probed: &clap::ArgMatches, sources: &impl Sources) -> Result<Option<PathBuf>, SettingsError> {
    if let Some(path) = probed.get_one::<PathBuf>(command::CONFIG) {
        return Ok(Some(path.clone()));
    }
    Ok(sources
        .environment(&command::variable_name(command::CONFIG))
        .filter(|value| !value.is_empty())
        .map(PathBuf::from))
}

/// The values that flags get which were not given on the command line.
fn overrides(
    flags: &[Flag],
    probed: &clap::ArgMatches,
    sources: &impl Sources,
    file: &FileValues,
) -> Result<Vec<Override>, SettingsError> {
    let mut overrides = Vec::new();
    for flag in flags {
        if command::given_on_command_line(probed, flag) {
            continue;
        }
        if let Some(raw) = sources.environment(&flag.variable) {
            let value = raw.into_string().map_err(|_| SettingsError::NotUnicode { name: flag.variable.clone() })?;
            // An empty variable is how a container unsets an inherited one.
            if !value.is_empty() {
                overrides.push(Override::from_environment(flag, &value));
                continue;
            }
        }
        if let Some(entry) = file.get(&flag.name) {
            overrides.push(Override::from_file(flag, entry));
        }
    }
    Ok(overrides)
}

/// Says of a refused value where it stands, if it did not come from the command line.
fn name_origin(error: clap::Error, overrides: &[Override]) -> SettingsError {
    use clap::error::{ContextKind, ContextValue};
    let refused = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => argument.clone(),
        _ => return error.into(),
    };
    let name = refused.trim_start_matches("--").split([' ', '=', '[']).next().unwrap_or_default();
    match overrides.iter().find(|given| given.flag == name) {
        Some(given) => SettingsError::Value { origin: given.place.clone(), problem: problem(&error) },
        None => error.into(),
    }
}

/// What clap says is wrong, without its prefix and without the usage that follows after an empty line.
fn problem(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let problem = text.split("\n\n").next().unwrap_or_default().trim_end();
    problem.strip_prefix("error: ").unwrap_or(problem).to_owned()
}
