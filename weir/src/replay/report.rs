//! What was done, for people and for programs.

use super::compare::{Comparison, Counts};
use super::kind::Replayed;
use super::standing::{Standing, read_one};
use super::{ReplaySettings, line};
use crate::clock::text as time;
use crate::flows::Output;
use anyhow::{Result, anyhow};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use weir_enricher::replay::{Replay, Windows};
use weir_service::HintExt as _;
use weir_stream::Log;

/// The most fields of one difference that are listed.
const FIELDS: usize = 8;

fn span(windows: Windows) -> String {
    format!("windows {} to {}", time(windows.first), time(windows.last))
}

/// Says what was written; on standard error when the records are on standard output.
pub(super) fn written<R: Replayed>(settings: &ReplaySettings, replay: &mut Replay, records: u64) -> Result<()> {
    let (windows, progress) = (replay.windows(), replay.progress());
    let text = match settings.output {
        Output::Table => {
            format!("{}: {records} {} of {} raw messages", span(windows), R::SEVERAL, progress.messages)
        }
        Output::Json => json!({
            "first_window": time(windows.first), "last_window": time(windows.last),
            "records": records, "messages": progress.messages,
        })
        .to_string(),
    };
    if settings.file.is_some() || settings.topic.is_some() || settings.index {
        writeln!(std::io::stdout(), "{text}")?;
    } else {
        // A closed standard error is no reason to fail.
        let _ = writeln!(std::io::stderr(), "{text}");
    }
    Ok(())
}

/// A difference as it is listed.
struct Listed<R> {
    what: &'static str,
    id: String,
    record: R,
    fields: Vec<(String, Value, Value)>,
}

/// Says how the records compare, and fails when they differ and are not corrected.
pub(super) async fn compared<R: Replayed>(
    settings: &ReplaySettings,
    log: &Log,
    replay: &Replay,
    comparison: &Comparison<R>,
    extra: &[Standing],
) -> Result<()> {
    let listed = list(log, comparison, extra, usize::from(settings.differences)).await?;
    let counts = comparison.counts;
    let text = match settings.output {
        Output::Table => table(replay.windows(), counts, &listed, settings),
        Output::Json => format!("{}\n", document(replay.windows(), counts, &listed, settings)),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    if counts.wrong() == 0 || settings.yes {
        return Ok(());
    }
    let error = Err(anyhow!("{} {} are not what the raw topic gives", counts.wrong(), R::SEVERAL));
    if settings.repair {
        error.hint("nothing was written; give --yes to write the corrections")
    } else {
        error.hint("weir replay --repair says what would correct them")
    }
}

async fn list<R: Replayed>(
    log: &Log,
    comparison: &Comparison<R>,
    extra: &[Standing],
    most: usize,
) -> Result<Vec<Listed<R>>> {
    let mut listed = Vec::new();
    for difference in &comparison.first {
        let record = difference.replayed.clone();
        let (what, fields) = match &difference.standing {
            None => ("missing", Vec::new()),
            Some(standing) => {
                let stands = read_one::<R>(log, standing).await?.object()?;
                // A correction's number is no difference.
                let as_new = record.clone().corrected(record.correction().0, standing.correction);
                ("different", line::differences(&stands, &as_new.object()?, FIELDS))
            }
        };
        listed.push(Listed { what, id: record.id().to_owned(), record, fields });
    }
    for standing in extra.iter().take(most.saturating_sub(listed.len())) {
        let record: R = read_one(log, standing).await?;
        listed.push(Listed { what: "extra", id: record.id().to_owned(), record, fields: Vec::new() });
    }
    Ok(listed)
}

fn table(windows: Windows, counts: Counts, listed: &[Listed<impl Replayed>], settings: &ReplaySettings) -> String {
    let mut text = format!(
        "{}: {} identical, {} missing, {} different, {} extra\n",
        span(windows),
        counts.identical,
        counts.missing,
        counts.different,
        counts.extra
    );
    if counts.not_yet_written > 0 {
        let _ =
            writeln!(text, "{} more are of generations that the enricher has not written yet", counts.not_yet_written);
    }
    for one in listed {
        let record = &one.record;
        let _ = writeln!(
            text,
            "{} {} window {} generation {} {}",
            one.what,
            one.id,
            time(record.window()),
            time(record.generation()),
            record.about().1
        );
        for (field, standing, replayed) in &one.fields {
            let _ = writeln!(text, "  {field}: {standing} stands, {replayed} is replayed");
        }
    }
    if settings.yes && counts.wrong() > 0 {
        let upserts = counts.missing.saturating_add(counts.different);
        let _ = writeln!(text, "written: {upserts} upserts, {} deletes", counts.extra);
    }
    text
}

fn document(windows: Windows, counts: Counts, listed: &[Listed<impl Replayed>], settings: &ReplaySettings) -> Value {
    let differences: Vec<Value> = listed
        .iter()
        .map(|one| {
            let fields: Vec<Value> = one
                .fields
                .iter()
                .map(|(field, standing, replayed)| json!({"field": field, "standing": standing, "replayed": replayed}))
                .collect();
            let mut difference = json!({
                "what": one.what, "id": one.id, "window": time(one.record.window()),
                "generation": time(one.record.generation()), "fields": fields,
            });
            if let (Value::Object(difference), Value::Object(about)) = (&mut difference, one.record.about().0) {
                difference.extend(about);
            }
            difference
        })
        .collect();
    let corrected = settings.yes && counts.wrong() > 0;
    json!({
        "first_window": time(windows.first), "last_window": time(windows.last),
        "identical": counts.identical, "missing": counts.missing, "different": counts.different, "extra": counts.extra,
        "not_yet_written": counts.not_yet_written, "corrected": corrected, "differences": differences,
    })
}
