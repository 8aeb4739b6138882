//! The decision: `(record, settings, observation, now) -> Decision`.
//!
//! Pure: no IO, no clock, no randomness, nothing remembered. The rules stand in the order in which they are asked
//! ([`ordered`]). Where each lives:
//! `bootstrap` the first roles; `transition` a move under way; `request` what people ask; `failover` is the primary gone,
//! may its standby take over; `primary` the recorded primary's role and the VIP; `standby` the way back to Sync; `upkeep`
//! the rest; `turn` which pair of a rollout waits; `split` all that an ExpansionPlan asks. Invariants (numbers in docs/failover.md) are named where they bind.

mod alone;
mod bootstrap;
mod evidence;
mod failover;
mod identity;
mod known;
mod primary;
mod request;
mod returning;
mod split;
mod standby;
mod transition;
mod turn;
mod upkeep;

use jiff::Timestamp;

pub use evidence::{Verdict, judge_primary};
pub use failover::promotable;
pub use split::status as split_status;
pub use identity::{Identity, identity};
pub use standby::{of_use, serving};
pub use turn::holds;

use crate::pair::facts::{Facts, Member, Observation};
use crate::pair::record::{AppliedSettings, Record};
use crate::pair::settings::{Durability, Settings};
use crate::pair::step::{Decision, Note, Reason};

/// Everything that a rule may look at.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The pair's truth.
    pub record: &'a Record,
    /// The user's choices.
    pub settings: &'a Settings,
    /// What this pass saw.
    pub seen: &'a Observation,
    /// The time of the pass; only written down and held against written-down times.
    pub now: Timestamp,
}

/// An answer older than this is not used for a decision, milliseconds. Two probe ticks and some.
pub const FRESH_MS: u64 = 1_600;
/// A process that stays silent on a healthy node for this long is restarted, milliseconds.
pub const HUNG_MS: u64 = 30_000;
/// At most this many automatic failovers …
pub const FAILOVER_LIMIT: usize = 10;
/// … in this time, milliseconds: a query that kills every primary must not walk through the pair for ever.
pub const FAILOVER_WINDOW_MS: i64 = 120_000;

/// One pass.
pub fn decide(record: &Record, settings: &Settings, seen: &Observation, now: Timestamp) -> Decision {
    let view = View { record, settings, seen, now };
    if settings.paused {
        return Decision::wait(Reason::Paused, "paused: nothing is changed until it is lifted");
    }
    if !record.provisioned() {
        return split::bootstrap(&view).unwrap_or_else(|| bootstrap::decide(&view));
    }
    if record.follows.is_some() {
        let mut decision = split::take(&view).unwrap_or_else(|| following(&view));
        decision.beside.splice(0..0, alarms(&view));
        return decision;
    }
    let mut decision = contradiction(&view).unwrap_or_else(|| ordered(&view));
    decision.beside.splice(0..0, alarms(&view));
    decision
}

/// Nobody's write depends on a pair that follows another: it needn't stall without its standby.
fn following(view: &View) -> Decision {
    let settings = Settings { durability: Durability::Preferred, ..view.settings.clone() };
    split::following(&View { settings: &settings, ..*view })
}

/// The first rule that has something to do ends the pass; a rule that only waits lets the later ones have their say.
fn ordered(view: &View) -> Decision {
    let urgent = transition::decide(view) // a move that was recorded is finished or given up first
        .or_else(|| request::promote(view)) // a person accepts a loss
        .or_else(|| failover::decide(view)) // the primary is gone
        .or_else(|| primary::decide(view)) // the primary's own role, then the VIP
        .or_else(|| split::urgent(view)); // keys that came back, a guard that says otherwise than the record
    if view.record.transition.is_some() || urgent.as_ref().is_some_and(acts) {
        return urgent.unwrap_or_else(|| upkeep::rest(view));
    }
    // Taking a request's annotation away is never in the way of a move.
    if let Some(asked) = request::decide(view) {
        return beneath(asked, urgent);
    }
    if let Some(wait) = urgent {
        return wait;
    }
    let standby = upkeep::follows_nobody(view).or_else(|| standby::decide(view)); // found again, made anew, proven
    match standby {
        Some(decision) if acts(&decision) => decision,
        wait => match split::decide(view) {
            Some(split) if acts(&split) => beneath(split, wait),
            split => at_leisure(view, wait.or(split)),
        },
    }
}

/// Small things, also while something else is waited for.
fn at_leisure(view: &View, wait: Option<Decision>) -> Decision {
    match upkeep::decide(view) {
        Some(small) => beneath(small, wait),
        None => wait.unwrap_or_else(|| upkeep::rest(view)),
    }
}

fn acts(decision: &Decision) -> bool {
    !decision.steps.is_empty()
}

/// What is done now, with what is waited for beside it.
fn beneath(mut doing: Decision, wait: Option<Decision>) -> Decision {
    doing.beside.extend(wait.into_iter().flat_map(|w| std::iter::once(w.note).chain(w.beside)));
    doing
}

/// Invariant 8: facts that the record can't explain. Nothing is touched.
fn contradiction(view: &View) -> Option<Decision> {
    if let Some(wait) = another_primary(view) {
        return Some(wait);
    }
    let names = std::iter::once(&view.record.primary).chain(&view.record.standby);
    let newer = names.filter_map(|n| Some((n, view.answer(n)?.epoch?))).filter(|(_, epoch)| *epoch > view.record.epoch);
    // The newest, which a person puts into the record; of two that are equal the primary's.
    let (name, epoch) = newer.rev().max_by_key(|(_, epoch)| *epoch)?;
    let message = format!("{name} has seen epoch {epoch}, the record says {}: was etcd restored from an old backup?", view.record.epoch);
    Some(Decision::wait(Reason::Contradiction, message))
}

/// Who is primary changes with the epoch alone. A standby that is open as only we open a primary (its EVENTs run), with a
/// heartbeat of this very epoch, while the recorded primary is closed: somebody edited the status.
fn another_primary(view: &View) -> Option<Decision> {
    let name = view.record.standby.as_ref().filter(|_| view.record.transition.is_none())?;
    let (standby, primary) = (view.standby_answer()?, view.primary_answer()?);
    if !(open(standby) && standby.events_on && standby.epoch == Some(view.record.epoch) && primary.super_read_only) {
        return None;
    }
    let recorded = &view.record.primary;
    let message = format!("{name} has been the primary in epoch {}, and the record names {recorded}: was the status edited by hand? Put status.primary and status.standby back", view.record.epoch);
    Some(Decision::wait(Reason::Contradiction, message))
}

/// What is wrong whatever else is done.
fn alarms(view: &View) -> Vec<Note> {
    let mut notes = Vec::new();
    if !view.seen.vip.foreign.is_empty() {
        notes.push(Note::new(
            Reason::ForeignEndpointSlice,
            format!("delete the EndpointSlice {}: traffic may go where it points", view.seen.vip.foreign.join(", ")),
        ));
    }
    if let Some(p) = view.primary_answer()
        && p.source.clients > 1
    {
        notes.push(Note::new(
            Reason::UnknownAcker,
            format!("{} semi-sync clients are connected to {}, the record names one", p.source.clients, view.record.primary),
        ));
    }
    for known in &view.record.members {
        if let Some(settings) = view.applied_settings(&known.name).filter(|s| !s.refused.is_empty()) {
            let message = format!("{}: MySQL refuses {}; take it out of spec.mysql.config", known.name, settings.refused.join(", "));
            notes.push(Note::new(Reason::BadSetting, message));
        }
    }
    for (name, facts) in view.record.members.iter().filter_map(|m| Some((&m.name, view.answer(&m.name)?))).filter(|(_, f)| f.foreign_channels > 0) {
        let message = format!("{name} has {} replication channels that aren't shardpair's: what comes through them no record knows; RESET REPLICA ALL FOR CHANNEL '…'", facts.foreign_channels);
        notes.push(Note::new(Reason::ReplicationAltered, message));
    }
    notes.extend(request::drain_waits(view));
    notes.extend(turn::waits(view));
    for (name, member) in &view.seen.members {
        if let crate::pair::facts::Contact::Refused(error) = &member.contact {
            notes.push(Note::new(Reason::CredentialsRefused, format!("{name}: {error}; restore the operator Secret")));
        }
    }
    notes
}

impl<'a> View<'a> {
    /// The recorded primary as seen.
    pub fn primary(&self) -> Option<&'a Member> {
        self.seen.members.get(&self.record.primary)
    }

    /// The recorded standby as seen, with its name.
    pub fn standby(&self) -> Option<(&'a str, &'a Member)> {
        let name = self.record.standby.as_deref()?;
        self.seen.members.get_key_value(name).map(|(n, m)| (n.as_str(), m))
    }

    /// Fresh facts of a member that answers and is who the record says.
    pub fn answer(&self, name: &str) -> Option<&'a Facts> {
        let member = self.seen.members.get(name)?;
        if member.facts_age_ms > FRESH_MS || identity(self.record, member, name) != Identity::Match {
            return None;
        }
        member.answer()
    }

    /// Fresh facts of the recorded primary.
    pub fn primary_answer(&self) -> Option<&'a Facts> {
        self.answer(&self.record.primary)
    }

    /// Fresh facts of the recorded standby.
    pub fn standby_answer(&self) -> Option<&'a Facts> {
        self.answer(self.record.standby.as_deref()?)
    }

    /// What was applied at run time to the process that answers now.
    pub fn applied_settings(&self, name: &str) -> Option<&'a AppliedSettings> {
        // Only of a process that answers: the last words of one that was restarted for its settings say nothing of the next.
        let facts = self.answer(name)?;
        self.record.member(name)?.settings.as_ref().filter(|s| s.process == facts.process)
    }

    /// Does the member run an older pod template, or a setting that only a restart changes?
    pub fn outdated(&self, name: &str) -> bool {
        let Some(member) = self.seen.members.get(name) else { return false };
        let wanted = member.config_hash.as_ref();
        member.pod.as_ref().is_some_and(|p| p.outdated)
            || self.applied_settings(name).is_some_and(|s| Some(&s.hash) == wanted && s.wants_restart())
    }

    /// Hash of the my.cnf that a member which answers hasn't taken yet, neither at its start nor at run time.
    fn untaken_settings(&self, name: &str) -> Option<&'a str> {
        let (facts, wanted) = (self.answer(name)?, self.seen.members.get(name)?.config_hash.as_deref()?);
        let applied = self.applied_settings(name).is_some_and(|s| s.hash == wanted);
        (started_with(facts) != Some(wanted) && !applied).then_some(wanted)
    }

    /// A copy of the record, one epoch on.
    pub fn next_record(&self) -> Record {
        let mut record = self.record.clone();
        record.epoch += 1;
        record
    }
}

/// Hash of the my.cnf that the process was started with.
pub fn started_with(facts: &Facts) -> Option<&str> {
    facts.process.split('-').nth(2)
}

/// Is this member writable for clients?
pub fn open(facts: &Facts) -> bool {
    !facts.super_read_only && !facts.offline_mode
}
