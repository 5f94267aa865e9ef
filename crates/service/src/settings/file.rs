//! Reading the settings file, with the place of every key.

use std::collections::BTreeMap;
use std::path::Path;

use clap::Command;
use toml::de::{DeTable, DeValue};

use super::SettingsError;
use super::command::{self, CommandPath};

/// How unlike two keys may be before naming one would be a guess.
const MOST_EDITS: usize = 4;

/// The value of one key, as flags would be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileEntry {
    pub(super) values: Vec<String>,
    /// File and line.
    pub(super) place: String,
}

/// What a settings file says to the chosen command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FileValues {
    entries: BTreeMap<String, FileEntry>,
}

impl FileValues {
    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&FileEntry> {
        self.entries.get(key)
    }

    /// Reads a file for the chosen command, refusing what no command knows.
    pub(super) fn parse(
        path: &Path,
        content: &str,
        declared: &Command,
        chosen: &CommandPath,
    ) -> Result<Self, SettingsError> {
        let document = DeTable::parse(content).map_err(|error| SettingsError::Syntax {
            path: path.to_owned(),
            line: error.span().map_or(1, |span| line_of(content, span.start)),
            problem: error.message().to_owned(),
        })?;
        let mut values = Self::default();
        let reader = Reader { path, content };
        reader.table(document.get_ref(), declared, &chosen.0, true, &mut values)?;
        Ok(values)
    }
}

struct Reader<'a> {
    path: &'a Path,
    content: &'a str,
}

impl Reader<'_> {
    /// Reads one table. `active` says whether the table's command was chosen: what others are told is validated by
    /// name and goes no further.
    fn table(
        &self,
        table: &DeTable<'_>,
        command: &Command,
        chosen: &[String],
        active: bool,
        values: &mut FileValues,
    ) -> Result<(), SettingsError> {
        let mut known = Vec::new();
        command::all_names(command, &mut known);
        let mut tables = Vec::new();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let line = line_of(self.content, key.span().start);
            if let (Some(inner), DeValue::Table(content)) = (command.find_subcommand(name), value.get_ref()) {
                tables.push((name.to_owned(), inner, content));
                continue;
            }
            if !known.iter().any(|flag| flag == name) {
                known.extend(command.get_subcommands().map(|inner| inner.get_name().to_owned()));
                return Err(SettingsError::UnknownKey {
                    path: self.path.to_owned(),
                    line,
                    key: name.to_owned(),
                    nearest: nearest(name, &known),
                });
            }
            let entry = FileEntry {
                values: self.values(name, value.get_ref(), line)?,
                place: format!("{}:{line}", self.path.display()),
            };
            if active {
                values.entries.insert(name.to_owned(), entry);
            }
        }
        // A table of the chosen subcommand goes before what stands above it.
        for (name, inner, content) in tables {
            let is_chosen = active && chosen.first() == Some(&name);
            let rest = chosen.get(1..).unwrap_or_default();
            self.table(content, inner, rest, is_chosen, values)?;
        }
        Ok(())
    }

    fn values(&self, key: &str, value: &DeValue<'_>, line: usize) -> Result<Vec<String>, SettingsError> {
        let wrong = |found: &str| SettingsError::WrongType {
            path: self.path.to_owned(),
            line,
            key: key.to_owned(),
            found: found.to_owned(),
        };
        let scalar = |value: &DeValue<'_>| match value {
            DeValue::String(text) => Ok(text.to_string()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map(|number| number.to_string())
                .map_err(|_| wrong("an integer beyond 64 bits")),
            DeValue::Float(number) => Ok(number.as_str().to_owned()),
            DeValue::Boolean(flag) => Ok(flag.to_string()),
            DeValue::Datetime(time) => Ok(time.to_string()),
            DeValue::Array(_) => Err(wrong("an array in an array")),
            DeValue::Table(_) => Err(wrong("a table")),
        };
        match value {
            DeValue::Array(items) => items.iter().map(|item| scalar(item.get_ref())).collect(),
            single => Ok(vec![scalar(single)?]),
        }
    }
}

fn line_of(content: &str, offset: usize) -> usize {
    1 + content.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// The known name that is spelled most like `wanted`, if any is near.
pub(super) fn nearest(wanted: &str, known: &[String]) -> Option<String> {
    known
        .iter()
        .map(|name| (edits(wanted, name), name))
        .filter(|(distance, name)| *distance <= MOST_EDITS.min(name.len() / 2))
        .min()
        .map(|(_, name)| name.clone())
}

/// Levenshtein distance.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, left) in from.chars().enumerate() {
        let mut diagonal = line;
        if let Some(first) = row.first_mut() {
            *first = line + 1;
        }
        for (column, right) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}
