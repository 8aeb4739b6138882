//! What is told: conditions, events, roles of pods, the members' particulars. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::conditions::{AVAILABLE, READY, REDUNDANT, Said, Status};
use crate::api::{events, names};
use crate::pair::decide::{View, judge_primary, open, promotable, serving};
use crate::pair::facts::Observation;
use crate::pair::record::{Cut, Member, Mode, MoveKind, Record};
use crate::pair::settings::Settings;
use crate::pair::step::{Decision, Reason};

/// Lag is told in these steps, seconds, so that a pair at rest writes nothing.
const LAG_STEPS: [i64; 9] = [0, 5, 15, 60, 300, 900, 3_600, 14_400, 86_400];

/// Transactions behind are told in these steps.
const BEHIND_STEPS: [i64; 6] = [0, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// An event to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Something a person may have to look at.
    pub warning: bool,
    /// One of `api::events`.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

impl Told {
    fn new(warning: bool, reason: &'static str, message: impl Into<String>) -> Self {
        Self { warning, reason, message: message.into() }
    }
}

/// Ready, Available, Redundant.
pub fn conditions(record: &Record, settings: &Settings, seen: &Observation, decision: &Decision, now: Timestamp) -> Vec<Said> {
    let view = View { record, settings, seen, now };
    let follows = record.follows.is_some();
    // The keys of a pair that follows another are served there; its own primary need only be in its place.
    let writes = view.primary_answer().is_some_and(|p| open(p) || follows)
        && record.transition.is_none()
        && matches!(judge_primary(&view), crate::pair::decide::Verdict::Alive)
        && !stalled(&view);
    let redundant = redundant(&view);
    let why = |ok: bool| match (ok, decision.note.reason) {
        (true, _) => (Reason::InSync.as_str(), String::new()),
        (false, Reason::InSync | Reason::Upkeep) => ("Settling", "the last change is being taken in".to_owned()),
        (false, reason) => (reason.as_str(), decision.note.message.clone()),
    };
    let (reason, message) = why(writes);
    let available = Said::new(AVAILABLE, writes, if !writes { reason } else if follows { Reason::Following.as_str() } else { "PrimaryOpen" }, message);
    let (reason, message) = match &redundant {
        Ok(()) => (Reason::InSync.as_str(), String::new()),
        Err(_) if record.mode == Mode::Solo && decision.note.reason != Reason::InSync => why(false),
        Err(why) => why.clone(),
    };
    let redundancy = Said::new(REDUNDANT, redundant.is_ok(), reason, message);
    let foreign = !seen.vip.foreign.is_empty();
    let ready = writes && redundant.is_ok() && !foreign;
    let (reason, mut message) = why(ready);
    let beside: Vec<&str> = decision.beside.iter().map(|n| n.message.as_str()).collect();
    if !beside.is_empty() {
        message = [message.as_str(), &beside.join("; ")].iter().filter(|s| !s.is_empty()).copied().collect::<Vec<_>>().join("; ");
    }
    let reason = if foreign && writes && redundant.is_ok() { Reason::ForeignEndpointSlice.as_str() } else { reason };
    let status = if record.provisioned() { Status::from(ready) } else { Status::False };
    vec![Said::new(READY, status, reason, message), available, redundancy]
}

/// Do commits wait for an acknowledgement that doesn't come?
fn stalled(view: &View) -> bool {
    view.primary().is_some_and(|p| p.beat.pending_ms.is_some_and(|ms| ms >= view.settings.detect_after_ms))
}

fn redundant(view: &View) -> Result<(), (&'static str, String)> {
    promotable(view).map_err(|note| (note.reason.as_str(), note.message))?;
    match view.standby_answer() {
        Some(facts) if serving(view, facts) => Ok(()),
        _ => Err((Reason::StandbyUnreachable.as_str(), "the standby isn't replicating now".to_owned())),
    }
}

/// The events that follow from a change of the record.
pub fn changes(old: &Record, new: &Record) -> Vec<Told> {
    let mut told = Vec::new();
    if !old.provisioned() {
        let standby = new.standby.as_deref().unwrap_or("nobody");
        told.push(Told::new(false, events::PROVISIONED, format!("{} is the primary, {standby} its standby", new.primary)));
        return told;
    }
    if let (None, Some(t)) = (&old.transition, &new.transition) {
        told.push(Told::new(t.kind != MoveKind::Switchover, events::MOVE_STARTED, format!("{:?} to {} begins: {}", t.kind, t.to, t.reason)));
    }
    if let (Some(t), None) = (&old.transition, &new.transition) {
        told.push(moved(t.kind, old, new));
    }
    if old.mode != new.mode {
        match new.mode {
            Mode::Sync => told.push(Told::new(false, events::SYNC, format!("{} holds all that {} acknowledges", new.standby.as_deref().unwrap_or(""), new.primary))),
            Mode::Solo => told.push(Told::new(true, events::SOLO, format!("{} goes on without a standby", new.primary))),
        }
    }
    match (&old.rebuild, &new.rebuild) {
        (None, Some(r)) => told.push(Told::new(true, events::REBUILD_STARTED, format!("{} is rebuilt from {}: {}", r.member, new.primary, r.reason))),
        (Some(r), None) => told.push(Told::new(false, events::REBUILT, format!("{} holds a clone of {}", r.member, new.primary))),
        _ => {}
    }
    if let (Some(r), None, None) = (&old.rewind, &new.rewind, &new.rebuild) {
        told.push(Told::new(false, events::REWOUND, format!("the tail of {} is undone, its rows are those of {}", r.member, new.primary)));
    }
    told.extend(split(old, new));
    if old.standby != new.standby && old.primary == new.primary && new.standby.is_some() {
        let (gone, come) = (old.standby.as_deref().unwrap_or(""), new.standby.as_deref().unwrap_or(""));
        told.push(Told::new(false, events::REPLACED, format!("{come} takes the place of {gone}, whose volume is kept")));
    }
    told
}

/// What a changed record says of a split.
fn split(old: &Record, new: &Record) -> Vec<Told> {
    let mut told = Vec::new();
    match (&old.ceded, &new.ceded) {
        (None, Some(c)) => told.push(Told::new(false, events::KEYS_CEDED, format!("half of the keys are {}'s from here on", c.pair))),
        (Some(c), None) if new.severed.is_none() && old.severed.is_none() => told.push(Told::new(false, events::KEYS_TAKEN_BACK, format!("{} gave the keys back", c.pair))),
        _ => {}
    }
    match (&old.follows, &new.follows) {
        (Some(f), None) => told.push(Told::new(false, events::KEYS_TAKEN, format!("{} opens for the keys that {} ceded", new.primary, f.pair))),
        (None, Some(f)) => told.push(Told::new(false, events::KEYS_GIVEN_BACK, format!("{} follows {} again", new.primary, f.pair))),
        _ => {}
    }
    if let (None, Some(s)) = (&old.severed, &new.severed) {
        let (warning, reason) = match s.reason {
            Cut::LinkBroken => (true, events::LINK_BROKEN),
            Cut::Dissolved => (false, events::LINK_DISSOLVED),
        };
        told.push(Told::new(warning, reason, format!("the link to {} has ended: no way back from here on", s.pair)));
    }
    let given_up = |r: &Record| r.flip.as_ref().map_or(0, |f| f.given_up);
    if given_up(new) > given_up(old) {
        told.push(Told::new(true, events::FLIP_GIVEN_UP, format!("try {} was undone; tried again later", given_up(new))));
    }
    told
}

fn moved(kind: MoveKind, old: &Record, new: &Record) -> Told {
    if old.primary == new.primary {
        return Told::new(true, events::MOVE_ABANDONED, format!("{} keeps its role", new.primary));
    }
    let message = format!("{} is the primary now, instead of {}", new.primary, old.primary);
    match kind {
        MoveKind::Failover => Told::new(true, events::FAILED_OVER, message),
        MoveKind::Switchover => Told::new(false, events::SWITCHED_OVER, message),
        MoveKind::PromoteWithDataLoss => Told::new(true, events::PROMOTED_WITH_DATA_LOSS, message),
    }
}

/// Events that follow from a decision alone; told once, as long as it stays the same.
pub fn said(decision: &Decision) -> Option<Told> {
    let message = decision.note.message.clone();
    match decision.note.reason {
        Reason::RequestRefused => Some(Told::new(true, events::REQUEST_REFUSED, message)),
        Reason::NotInSync | Reason::NoStandby | Reason::StandbyRebooted | Reason::FailoverLimit | Reason::ApplierError => {
            Some(Told::new(true, events::NO_SAFE_MOVE, message))
        }
        Reason::Contradiction | Reason::UnclearOrigin | Reason::ForeignMember | Reason::AbandonedTail | Reason::ErrantTransactions | Reason::AcksSwitchedOff | Reason::ReplicationAltered => {
            Some(Told::new(true, events::ALARM, message))
        }
        _ => None,
    }
}

/// For each member's pod: its role's label, and whether it fills that role.
pub fn roles(record: &Record, settings: &Settings, seen: &Observation, now: Timestamp) -> BTreeMap<String, (&'static str, bool)> {
    let view = View { record, settings, seen, now };
    let mut roles = BTreeMap::new();
    if !record.provisioned() {
        return roles;
    }
    let fills = record.transition.is_none() && view.primary_answer().is_some_and(|p| open(p) || record.follows.is_some());
    roles.insert(record.primary.clone(), (names::ROLE_PRIMARY, fills));
    if let Some(standby) = &record.standby {
        let fills = view.standby_answer().is_some_and(|facts| serving(&view, facts));
        roles.insert(standby.clone(), (names::ROLE_STANDBY, fills));
    }
    roles
}

/// The record's members with what is told of them: node, and lag in coarse steps.
pub fn members(record: &Record, seen: &Observation) -> Vec<Member> {
    let step = |value: i64, steps: &[i64]| steps.iter().rev().find(|s| value >= **s).copied().unwrap_or(0);
    let executed = seen.members.get(&record.primary).and_then(|m| m.answer()).map(|p| &p.executed);
    let tell = |known: &Member| {
        let mut member = known.clone();
        if let Some(now) = seen.members.get(&member.name) {
            member.node = now.pod.as_ref().and_then(|p| p.node.clone()).or(member.node);
            // They were applied to a process that has been restarted since.
            member.settings = member.settings.filter(|s| now.answer().is_none_or(|f| f.process == s.process));
            (member.lag_seconds, member.behind_transactions) = match record.primary == member.name {
                true => (None, None),
                false => {
                    let behind = now.answer().zip(executed).map(|(f, all)| step(all.subtract(&f.executed).count() as i64, &BEHIND_STEPS));
                    let lag = now.answer().and_then(|f| f.lag_seconds).map(|s| step(s, &LAG_STEPS));
                    (lag.or(member.lag_seconds), behind.or(member.behind_transactions))
                }
            };
        }
        member
    };
    record.members.iter().map(tell).collect()
}
