//! The plan as a table.

use super::{Plan, Reason};
use crate::amount::size;
use comfy_table::{CellAlignment, Table, presets};
use std::fmt;
use std::time::Duration;

/// What is further away than ten years is said as that.
const LONG_DAYS: u64 = 3_650;
const LONG_DAYS_MILLIS: i64 = 3_650 * 86_400_000;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} indices hold {} of a budget of {}", self.indices, size(self.bytes), size(self.budget))?;
        if self.actions.is_empty() {
            writeln!(f, "nothing is to be deleted")?;
        } else {
            let mut table = Table::new();
            table.load_preset(presets::NOTHING).set_header(["DELETE", "SIZE", "AGE", "BECAUSE OF"]);
            for action in &self.actions {
                let bytes = action.bytes.map_or_else(|| "unknown".to_owned(), size);
                let because = match action.reason {
                    Reason::MaxAge => "--max-age",
                    Reason::Keep => "--keep",
                    Reason::Budget => "--budget",
                    Reason::DiskReserve => "--disk-reserve",
                };
                table.add_row([action.index.to_string(), bytes, age(action.age), because.to_owned()]);
            }
            if let Some(column) = table.column_mut(1) {
                column.set_cell_alignment(CellAlignment::Right);
            }
            writeln!(f, "{table}")?;
            writeln!(f, "{} are left then", size(self.after))?;
        }
        match self.booked {
            Some(booked) if booked.indices > 0 => writeln!(
                f,
                "{} indices of {} that were deleted lately count as gone, though the engine may still show them",
                booked.indices,
                size(booked.bytes)
            )?,
            None if !self.actions.is_empty() || self.stuck.is_some() => writeln!(
                f,
                "what was deleted in the last ten minutes is not known: the engine may still show bytes of it, for which nothing more has to go"
            )?,
            _ => {}
        }
        if !self.held.is_empty() {
            let mut table = Table::new();
            table.load_preset(presets::NOTHING).set_header(["HELD NOW", "INDICES", "SIZE", "DAYS", "A DAY"]);
            for held in &self.held {
                let a_day = held.bytes_a_day.map_or_else(|| "unknown".to_owned(), size);
                let days = held.days.to_string();
                table.add_row([held.subject(), held.indices.to_string(), size(held.bytes), days, a_day]);
            }
            for column in [1, 2, 3, 4] {
                if let Some(column) = table.column_mut(column) {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
            writeln!(f, "{table}")?;
        }
        match self.days_to_full {
            _ if self.bytes >= self.budget => writeln!(f, "the budget is used up")?,
            Some(0) => writeln!(f, "at this rate the budget is used up within a day")?,
            Some(1) => writeln!(f, "at this rate the budget is used up in 1 day")?,
            Some(days) if days > LONG_DAYS => writeln!(f, "at this rate the budget lasts for more than ten years")?,
            Some(days) => writeln!(f, "at this rate the budget is used up in {days} days")?,
            None => writeln!(f, "how long the budget lasts is not known before a day is over")?,
        }
        if let Some(next) = self.next.filter(|next| next.after < LONG_DAYS_MILLIS) {
            let when = age(next.after);
            match next.reason {
                Reason::MaxAge => writeln!(f, "{} goes next, in {when} (--max-age)", next.index)?,
                _ => writeln!(f, "{} goes next, in about {when} (--budget)", next.index)?,
            }
        }
        if self.foreign > 0 {
            writeln!(f, "{} indices have a name of Weir's but not its write alias: they are left alone", self.foreign)?;
        }
        if let Some(stuck) = &self.stuck {
            writeln!(f, "still {} too many: {}", size(stuck.over), stuck.advice)?;
        }
        Ok(())
    }
}

/// An age in days and hours.
fn age(millis: i64) -> String {
    let hours = u64::try_from(millis).unwrap_or(0) / 3_600_000;
    humantime::format_duration(Duration::from_secs(hours * 3_600)).to_string()
}
