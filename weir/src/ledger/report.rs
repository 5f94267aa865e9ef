//! The account, for people and for programs.

use super::LedgerSettings;
use super::account::{Account, Agent, AtLevel, ByReason, Comparison, is_nothing};
use crate::clock::text as time;
use crate::flows::{Output, size};
use crate::policy::table;
use anyhow::Result;
use serde_json::{Value, json};
use std::fmt::Write as _;
use weir_flow::Millis;
use weir_schemas::raw::Totals;

/// The agents that are listed: those first that lost most.
fn listed<'a>(settings: &LedgerSettings, account: &'a Account) -> Vec<&'a Agent> {
    let is_asked = |agent: &&Agent| settings.node.as_ref().is_none_or(|node| *node == agent.node);
    let mut agents: Vec<&Agent> = account.agents.iter().filter(is_asked).collect();
    agents.sort_by_key(|Agent { amounts, .. }| {
        std::cmp::Reverse((amounts.too_much.packets, all(&amounts.agent_lost) + amounts.missing.packets))
    });
    agents.truncate(settings.limit);
    agents
}

/// Packets of all reasons.
fn all(lost: &ByReason) -> u64 {
    lost.values().fold(0, |all, lost| all.saturating_add(lost.packets))
}

/// The account in the form that is asked for.
pub(super) fn text(settings: &LedgerSettings, account: &Account) -> Result<String> {
    Ok(match settings.output {
        Output::Json => serde_json::to_string_pretty(&document(settings, account))? + "\n",
        Output::Table => in_words(settings, account),
    })
}

fn document(settings: &LedgerSettings, account: &Account) -> Value {
    let whole = account.whole();
    let levels = account.levels.iter().map(
        |at| json!({"level": at.level, "counted": at.counted, "stored": at.stored, "comparison": name(at.comparison)}),
    );
    let agents = listed(settings, account).into_iter().map(|agent| {
        let amounts = &agent.amounts;
        json!({
            "node": agent.node, "boot": agent.boot, "partition": agent.partition, "windows": agent.generations,
            "seen": amounts.seen, "lost_by_agent": amounts.agent_lost, "missing": amounts.missing,
            "too_much": amounts.too_much, "not_taken": amounts.lost, "received": amounts.received,
            "counted": amounts.counted,
            "clamped_batches": amounts.clamped,
        })
    });
    let times = |times: &std::collections::BTreeSet<Millis>| times.iter().map(|at| time(*at)).collect::<Vec<_>>();
    json!({
        "cluster": settings.cluster,
        "adds_up": account.adds_up(),
        "windows": account.generations.len(),
        "first_window": account.generations.first().map(|at| time(*at)),
        "last_window": account.generations.last().map(|at| time(*at)),
        "open_windows": times(&account.open),
        "contradictory_lines": account.contradictory,
        "seen": whole.seen, "lost_by_agents": whole.agent_lost, "missing": whole.missing,
        "too_much": whole.too_much, "not_taken": whole.lost, "received": whole.received,
        "counted": whole.counted,
        "clamped_batches": whole.clamped,
        "levels": levels.collect::<Vec<_>>(),
        "questions": {
            "asked": account.questions.asked, "counted": account.questions.counted,
            "stored": account.questions.stored, "not_taken": account.questions.lost,
        },
        "agents": agents.collect::<Vec<_>>(),
    })
}

const fn name(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => "equal",
        Comparison::Untold => "untold",
        Comparison::Part => "part",
        Comparison::Wrong => "wrong",
    }
}

fn in_words(settings: &LedgerSettings, account: &Account) -> String {
    let mut text = heading(settings, account);
    if account.generations.is_empty() {
        return text;
    }
    text.push('\n');
    text.push_str(&sums(account));
    text.push('\n');
    text.push_str(&agents(settings, account));
    text.push('\n');
    text.push_str(&conclusion(account));
    text
}

fn heading(settings: &LedgerSettings, account: &Account) -> String {
    let mut text = match (account.generations.first(), account.generations.last()) {
        (Some(first), Some(last)) => {
            let several = if account.generations.len() == 1 { "window" } else { "windows" };
            let count = account.generations.len();
            format!("cluster {}, {count} {several} from {} to {}\n", settings.cluster, time(*first), time(*last))
        }
        _ if account.open.is_empty() => {
            format!("cluster {}: no lines since {}; --since 7d looks further back\n", settings.cluster, settings.since)
        }
        _ => format!("cluster {}: no window is whole yet\n", settings.cluster),
    };
    if let (Some(first), count) = (account.open.first(), account.open.len()) {
        let verb = if count == 1 { "window is" } else { "windows are" };
        let _ = writeln!(text, "{count} {verb} still open, from {} on", time(*first));
    }
    text
}

/// An amount as a row of the table.
fn row(what: &str, amount: Totals, note: &str) -> Vec<String> {
    vec![what.to_owned(), amount.packets.to_string(), size(amount.bytes), note.to_owned()]
}

fn sums(account: &Account) -> String {
    let whole = account.whole();
    let mut rows = vec![row("seen by agents", whole.seen, "")];
    rows.extend(whole.agent_lost.iter().map(|(reason, lost)| row(&format!("  lost by agents: {reason}"), *lost, "")));
    if !is_nothing(whole.missing) {
        rows.push(row("  missing", whole.missing, "batches that never arrived, or that nobody could read"));
    }
    rows.extend(whole.lost.iter().map(|(reason, lost)| row(&format!("  not taken: {reason}"), *lost, "")));
    if !is_nothing(whole.too_much) {
        rows.push(row("  more than was seen", whole.too_much, "COUNTED TWICE"));
    }
    rows.push(row("received", whole.received, ""));
    if !is_nothing(whole.counted) && whole.counted != whole.received {
        rows.push(row("  which stand for", whole.counted, "flows were sampled"));
    }
    rows.extend(account.levels.iter().map(level));
    let mut text = table(&["", "PACKETS", "BYTES", ""], rows);
    let questions = &account.questions;
    if questions.counted > 0 || questions.stored > 0 || !questions.lost.is_empty() {
        let verdict = if questions.counted == questions.stored { "as received" } else { "WRONG" };
        let (counted, stored) = (questions.counted, questions.stored);
        let _ = writeln!(text, " DNS questions: {counted} received, {stored} in records: {verdict}");
        for (reason, lost) in &questions.lost {
            let _ = writeln!(text, "   not taken: {reason} {lost}");
        }
    }
    text
}

fn level(at: &AtLevel) -> Vec<String> {
    let note = match at.comparison {
        Comparison::Equal => "as received",
        Comparison::Untold => {
            "more than received: flows were sampled, an earlier version did not say for how much they stand"
        }
        Comparison::Part => "kept of a part of the flows",
        Comparison::Wrong => "WRONG: not as received",
    };
    row(&format!("  in records of level {}", at.level), at.stored, note)
}

fn agents(settings: &LedgerSettings, account: &Account) -> String {
    let agents = listed(settings, account);
    let rows = agents.iter().map(|agent| {
        let boot = agent.boot.get(..8).filter(|_| agent.boot.len() > 30).unwrap_or(&agent.boot).to_owned();
        let amounts = &agent.amounts;
        let numbers = [
            amounts.seen.packets,
            all(&amounts.agent_lost),
            amounts.missing.packets,
            all(&amounts.lost),
            amounts.received.packets,
        ];
        let texts = numbers.iter().map(ToString::to_string);
        [agent.node.clone(), boot, agent.generations.to_string()].into_iter().chain(texts).collect()
    });
    let heading = ["NODE", "BOOT", "WINDOWS", "SEEN", "LOST", "MISSING", "NOT TAKEN", "RECEIVED"];
    let mut text = table(&heading, rows);
    if settings.node.is_none() && agents.len() < account.agents.len() {
        let _ = writeln!(text, "{} more; --limit lists them", account.agents.len() - agents.len());
    }
    text
}

fn conclusion(account: &Account) -> String {
    if account.adds_up() {
        return "It adds up: all that was seen is in records, or lost for a reason that is named above.\n".to_owned();
    }
    let mut text = "It does not add up.\n".to_owned();
    if account.contradictory > 0 {
        let _ = writeln!(text, "{} lines came again with other content", account.contradictory);
    }
    text
}
