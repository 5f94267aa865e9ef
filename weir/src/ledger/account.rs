//! Whether the ledger adds up: a pure function of its lines, of the settings in force and of how far the enricher has written.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use weir_flow::Millis;
use weir_flow::settings::FilterAction;
use weir_schemas::ledger::{Ledger, Received};
use weir_schemas::raw::{Loss, Totals};
use weir_schemas::settings::Dated;

/// The reason, of agents and of the enricher, of flows for which sampled ones stand.
const SAMPLED_OUT: &str = "sampled_out";

/// Amounts by reason.
pub(super) type ByReason = BTreeMap<String, Totals>;

/// One start of an agent as far as it can be compared: where it was seen, and its lines in the order of their batches.
type Boots<'l> = BTreeMap<(&'l str, &'l str, i32), Vec<&'l Received>>;

/// Lines of one cluster.
#[derive(Debug)]
pub(super) struct Lines {
    cluster: String,
    /// Generations asked about, from the first to before the last, ms since the epoch.
    generations: Range<Millis>,
    /// By the message's key: a line that comes again must be the same.
    lines: BTreeMap<String, Ledger>,
    /// Lines that came again with other content.
    contradictory: u64,
}

/// What became of what agents saw.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Amounts {
    /// What reached their programs.
    pub(super) seen: Totals,
    /// What they lost themselves.
    pub(super) agent_lost: ByReason,
    /// What they published and the enricher did not get: batches that never arrived, or that nobody could read.
    pub(super) missing: Totals,
    /// What is more than they saw: packets or bytes that were counted twice.
    pub(super) too_much: Totals,
    /// What the enricher did not take.
    pub(super) lost: ByReason,
    /// What it took.
    pub(super) received: Totals,
    /// As much as it stands for: more where flows are sampled.
    pub(super) counted: Totals,
    /// Batches whose time the broker's clock bounded.
    pub(super) clamped: u64,
}

/// One start of an agent.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Agent {
    pub(super) node: String,
    pub(super) boot: String,
    pub(super) partition: i32,
    /// How many generations have something of it.
    pub(super) generations: usize,
    pub(super) amounts: Amounts,
}

/// How what was received compares with records of one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    /// To the packet and byte.
    Equal,
    /// Flows were sampled, and lines of an earlier version do not say for how much they stand.
    Untold,
    /// The level is kept of allowed or of denied flows alone, so that it has a part of what was received.
    Part,
    /// Records have less, or more without a reason.
    Wrong,
}

/// What stands in records of one level.
#[derive(Debug, PartialEq)]
pub(super) struct AtLevel {
    pub(super) level: u8,
    /// What was received of the generations in which the level is kept, as much as sampled flows stand for.
    pub(super) counted: Totals,
    pub(super) stored: Totals,
    pub(super) comparison: Comparison,
}

/// DNS questions.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Questions {
    /// How often was asked, of what went into records.
    pub(super) asked: u64,
    /// How often that counts in records.
    pub(super) counted: u64,
    /// How often records say.
    pub(super) stored: u64,
    /// How often was asked of what is in no record, by reason.
    pub(super) lost: BTreeMap<String, u64>,
}

/// The account of some generations.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) agents: Vec<Agent>,
    pub(super) levels: Vec<AtLevel>,
    pub(super) questions: Questions,
    /// Generations whose records are all written, and that have lines.
    pub(super) generations: BTreeSet<Millis>,
    /// Generations that have lines and whose records are still to come, in part or all.
    pub(super) open: BTreeSet<Millis>,
    pub(super) contradictory: u64,
}

impl Lines {
    /// No lines yet, for a question about some generations of a cluster.
    pub(super) const fn new(cluster: String, generations: Range<Millis>) -> Self {
        Self { cluster, generations, lines: BTreeMap::new(), contradictory: 0 }
    }

    /// Takes a line, if it is of the cluster and not of a later generation than is asked about.
    pub(super) fn take(&mut self, line: Ledger) {
        if line.cluster() != self.cluster || line.generation() >= self.generations.end {
            return;
        }
        // What agents had counted before is where the first generation begins.
        if line.generation() < self.generations.start && !matches!(line, Ledger::Received(_)) {
            return;
        }
        match self.lines.get(&line.key()) {
            Some(before) => self.contradictory += u64::from(*before != line),
            None => {
                self.lines.insert(line.key(), line);
            }
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Adds up. `written` is the last generation of which every record is written; nothing where none is.
    pub(super) fn account(&self, dated: &Dated, written: Option<Millis>) -> Account {
        let in_question = |line: &&Ledger| self.generations.contains(&line.generation());
        let all: BTreeSet<Millis> = self.lines.values().filter(in_question).map(Ledger::generation).collect();
        let (generations, open) = all.into_iter().partition(|generation| Some(*generation) <= written);
        Account {
            agents: self.agents(&generations),
            levels: self.levels(dated, &generations),
            questions: self.questions(&generations),
            generations,
            open,
            contradictory: self.contradictory,
        }
    }

    fn agents(&self, generations: &BTreeSet<Millis>) -> Vec<Agent> {
        let mut boots = Boots::new();
        for line in self.lines.values() {
            let Ledger::Received(line) = line else { continue };
            boots.entry((&line.node, &line.boot, line.partition)).or_default().push(line);
        }
        let mut agents = Vec::new();
        for lines in boots.values_mut() {
            lines.sort_by_key(|line| (line.last_sequence, line.first_sequence));
            agents.extend(agent(lines, generations));
        }
        agents
    }

    fn levels(&self, dated: &Dated, generations: &BTreeSet<Millis>) -> Vec<AtLevel> {
        let mut counted: BTreeMap<Millis, Totals> = BTreeMap::new();
        let (mut untold, mut sampled) = (BTreeSet::new(), BTreeSet::new());
        let mut stored: BTreeMap<(Millis, u8), Totals> = BTreeMap::new();
        for line in self.lines.values().filter(|line| generations.contains(&line.generation())) {
            match line {
                Ledger::Received(line) => {
                    let is_told = !is_nothing(line.counted) || is_nothing(line.received);
                    let amount = if is_told { line.counted } else { line.received };
                    add(counted.entry(line.generation).or_default(), amount);
                    if !is_told {
                        untold.insert(line.generation);
                    }
                    if is_sampled(line) {
                        sampled.insert(line.generation);
                    }
                }
                Ledger::Stored(line) => add(stored.entry((line.generation, line.level)).or_default(), line.stored),
                Ledger::Questions(_) => {}
            }
        }
        let mut levels: BTreeMap<u8, AtLevel> = BTreeMap::new();
        for generation in generations {
            let Some(settings) = dated.at(*generation) else { continue };
            let samples = settings.filters.iter().any(|rule| matches!(rule.action, FilterAction::Sample(_)));
            let untold = untold.contains(generation) && (samples || sampled.contains(generation));
            let both = settings.levels_allowed.iter().chain(&settings.levels_denied);
            for level in both.collect::<BTreeSet<_>>() {
                let of_all = settings.levels_allowed.contains(level) && settings.levels_denied.contains(level);
                let number = level.number();
                let counted = counted.get(generation).copied().unwrap_or_default();
                let stored = stored.get(&(*generation, number)).copied().unwrap_or_default();
                let comparison = compare(counted, stored, of_all, untold);
                let at = levels.entry(number).or_insert(AtLevel {
                    level: number,
                    counted: Totals::default(),
                    stored: Totals::default(),
                    comparison,
                });
                add(&mut at.counted, counted);
                add(&mut at.stored, stored);
                at.comparison = at.comparison.worse(comparison);
            }
        }
        levels.into_values().collect()
    }

    fn questions(&self, generations: &BTreeSet<Millis>) -> Questions {
        let mut questions = Questions::default();
        for line in self.lines.values().filter(|line| generations.contains(&line.generation())) {
            match line {
                Ledger::Received(line) => {
                    questions.asked = questions.asked.saturating_add(line.questions.asked);
                    questions.counted = questions.counted.saturating_add(line.questions_counted);
                    for lost in &line.questions_lost {
                        let all = questions.lost.entry(lost.reason.clone()).or_default();
                        *all = all.saturating_add(lost.lost.asked);
                    }
                }
                Ledger::Questions(line) => questions.stored = questions.stored.saturating_add(line.stored),
                Ledger::Stored(_) => {}
            }
        }
        questions
    }
}

impl Comparison {
    fn worse(self, other: Self) -> Self {
        let rank = |comparison| match comparison {
            Self::Equal => 0,
            Self::Untold => 1,
            Self::Part => 2,
            Self::Wrong => 3,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

impl Amounts {
    fn add(&mut self, other: &Self) {
        add(&mut self.seen, other.seen);
        add(&mut self.missing, other.missing);
        add(&mut self.too_much, other.too_much);
        add(&mut self.received, other.received);
        add(&mut self.counted, other.counted);
        self.clamped = self.clamped.saturating_add(other.clamped);
        for (to, from) in [(&mut self.agent_lost, &other.agent_lost), (&mut self.lost, &other.lost)] {
            from.iter().for_each(|(reason, lost)| add(to.entry(reason.clone()).or_default(), *lost));
        }
    }
}

impl Account {
    /// What all agents' amounts come to.
    pub(super) fn whole(&self) -> Amounts {
        let mut whole = Amounts::default();
        self.agents.iter().for_each(|agent| whole.add(&agent.amounts));
        whole
    }

    /// Whether all that was seen is in records, or lost for a reason that has a name.
    pub(super) fn adds_up(&self) -> bool {
        self.contradictory == 0
            && self.agents.iter().all(|agent| is_nothing(agent.amounts.too_much))
            && self.levels.iter().all(|level| level.comparison != Comparison::Wrong)
            && self.questions.counted == self.questions.stored
    }
}

/// Whether flows were passed over by a rule, for which others stand.
fn is_sampled(line: &Received) -> bool {
    line.agent_lost.iter().chain(&line.lost).any(|loss| loss.reason == SAMPLED_OUT && !is_nothing(loss.lost))
}

fn compare(counted: Totals, stored: Totals, of_all: bool, untold: bool) -> Comparison {
    let (less, more) = (minus(counted, stored), minus(stored, counted));
    match (is_nothing(less), is_nothing(more)) {
        (true, true) => Comparison::Equal,
        (_, true) if !of_all => Comparison::Part,
        (true, _) if untold => Comparison::Untold,
        _ => Comparison::Wrong,
    }
}

/// Batches that follow each other: of one generation, or of several whose batches came mixed.
struct Run {
    received: Totals,
    lost: Totals,
    seen: Totals,
    agent_lost: ByReason,
    first_sequence: u64,
    last_sequence: u64,
    is_counted: bool,
}

/// What became of what one start of an agent saw, by its lines in the order of their last batches.
fn agent(lines: &[&Received], generations: &BTreeSet<Millis>) -> Option<Agent> {
    let first = lines.first()?;
    let (node, boot) = (first.node.clone(), first.boot.clone());
    let mut agent = Agent { node, boot, partition: first.partition, ..Agent::default() };
    let amounts = &mut agent.amounts;
    for line in lines.iter().filter(|line| generations.contains(&line.generation)) {
        agent.generations += 1;
        amounts.clamped = amounts.clamped.saturating_add(line.clamped);
        add(&mut amounts.received, line.received);
        add(&mut amounts.counted, line.counted);
        add_all(&mut amounts.lost, &line.lost);
    }
    if agent.generations == 0 {
        return None;
    }
    let runs = runs(lines, generations);
    let start = Run::start();
    // What an agent counted before the first batch that is known of is not known, unless there is none before.
    let before = std::iter::once(runs.first().filter(|run| run.first_sequence == 0).map(|_| &start));
    for (before, run) in before.chain(runs.iter().map(Some)).zip(&runs).filter(|(_, run)| run.is_counted) {
        let taken = sum(run.received, run.lost);
        let Some(before) = before else {
            add(&mut amounts.seen, taken);
            continue;
        };
        let seen = minus(run.seen, before.seen);
        let mut accounted = taken;
        for (reason, lost) in &run.agent_lost {
            let lost = minus(*lost, before.agent_lost.get(reason).copied().unwrap_or_default());
            add(&mut accounted, lost);
            if !is_nothing(lost) {
                add(amounts.agent_lost.entry(reason.clone()).or_default(), lost);
            }
        }
        add(&mut amounts.seen, seen);
        add(&mut amounts.missing, minus(seen, accounted));
        add(&mut amounts.too_much, minus(accounted, seen));
    }
    Some(agent)
}

impl Run {
    fn start() -> Self {
        let (zero, lost) = (Totals::default(), ByReason::new());
        let (first_sequence, last_sequence) = (0, 0);
        Self {
            received: zero,
            lost: zero,
            seen: zero,
            agent_lost: lost,
            first_sequence,
            last_sequence,
            is_counted: false,
        }
    }
}

fn runs(lines: &[&Received], generations: &BTreeSet<Millis>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for line in lines {
        let is_counted = generations.contains(&line.generation);
        let lost = line.lost.iter().fold(Totals::default(), |all, loss| sum(all, loss.lost));
        let mut run = Run {
            received: line.received,
            lost,
            seen: line.seen,
            agent_lost: line.agent_lost.iter().map(|loss| (loss.reason.clone(), loss.lost)).collect(),
            first_sequence: line.first_sequence,
            last_sequence: line.last_sequence,
            is_counted,
        };
        while let Some(before) = runs.pop_if(|before| before.last_sequence >= run.first_sequence) {
            run.first_sequence = run.first_sequence.min(before.first_sequence);
            add(&mut run.received, before.received);
            add(&mut run.lost, before.lost);
            // Of mixed generations one that is asked about makes all of them so: their amounts cannot be told apart.
            run.is_counted |= before.is_counted;
        }
        runs.push(run);
    }
    runs
}

/// Adds amounts.
fn add(to: &mut Totals, amount: Totals) {
    *to = sum(*to, amount);
}

fn add_all(to: &mut ByReason, losses: &[Loss]) {
    for Loss { reason, lost } in losses {
        add(to.entry(reason.clone()).or_default(), *lost);
    }
}

fn sum(a: Totals, b: Totals) -> Totals {
    Totals {
        packets: a.packets.saturating_add(b.packets),
        bytes: a.bytes.saturating_add(b.bytes),
        samples: a.samples.saturating_add(b.samples),
    }
}

/// How much `a` has that `b` has not.
fn minus(a: Totals, b: Totals) -> Totals {
    Totals {
        packets: a.packets.saturating_sub(b.packets),
        bytes: a.bytes.saturating_sub(b.bytes),
        samples: a.samples.saturating_sub(b.samples),
    }
}

/// Whether it is no packet and no byte. A sample may have neither: it says that a connection ended.
pub(super) fn is_nothing(amount: Totals) -> bool {
    amount.packets == 0 && amount.bytes == 0
}
