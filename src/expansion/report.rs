//! From a decision to the plan's status and events. Pure: the time comes from the caller.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::facts::{Observation, Plan};
use super::step::{Decision, Reason, Step};
use crate::api::conditions::{self, COMPLETE, PROGRESSING, STALLED, Said};
use crate::api::events;
use crate::api::expansion::{ExpansionPlanStatus, Phase, ShardProgress};

/// The status after this pass.
pub fn status(old: &ExpansionPlanStatus, plan: &Plan, seen: &Observation, decision: &Decision, generation: Option<i64>, now: Timestamp) -> ExpansionPlanStatus {
    let mut status = old.clone();
    status.observed_generation = generation;
    status.phase = decision.phase;
    if let Some(preflight) = &seen.preflight {
        status.findings = preflight.findings.clone();
    }
    status.shards = decision.phases.iter().map(|(shard, phase)| progress(old, plan, seen, decision, *shard, *phase)).collect();
    if matches!(decision.note.reason, Reason::NotDouble | Reason::NoCluster | Reason::NotPossible | Reason::AnotherPlan) {
        status.shards.clear();
    }
    if decision.steps.iter().any(|s| matches!(s, Step::Announce(_))) {
        status.announced_at = Some(MicroTime(now));
    }
    status.flipped_at = match status.phase {
        Some(phase) if phase >= Phase::Flipped => old.flipped_at.clone().or(Some(MicroTime(now))),
        _ => None,
    };
    totals(&mut status);
    say(&mut status, decision, generation, now);
    status
}

fn progress(old: &ExpansionPlanStatus, plan: &Plan, seen: &Observation, decision: &Decision, shard: u32, phase: Option<Phase>) -> ShardProgress {
    let before = old.shards.iter().find(|s| s.shard == shard as i32).cloned();
    let mut own = before.unwrap_or(ShardProgress { shard: shard as i32, new_shard: plan.child(shard) as i32, ..ShardProgress::default() });
    own.phase = phase;
    let (parent, child) = (seen.pairs.get(&shard), seen.pairs.get(&plan.child(shard)));
    if let Some(chosen) = decision.steps.iter().find_map(|s| if let Step::Choose(all) = s { all.iter().find(|(of, _)| *of == shard) } else { None }) {
        own.split_at = Some(chosen.1);
    }
    let flipped = phase >= Some(Phase::Flipped);
    own.pause_seconds = if flipped { child.and_then(|p| p.pause_seconds).or(parent.and_then(|p| p.pause_seconds)).or(own.pause_seconds) } else { None };
    own.clone = child.and_then(|p| p.clone.clone());
    let says: Vec<_> = [parent, child].into_iter().flatten().filter(|p| p.asked.is_some()).filter_map(|p| p.says.clone()).collect();
    own.message = (!says.is_empty() && phase != Some(Phase::Complete)).then(|| says.join("; "));
    own.misrouted_rows = match seen.audits.get(&shard) {
        Some(audit) if flipped => Some(audit.misrouted),
        _ => own.misrouted_rows.filter(|_| flipped),
    };
    match seen.purges.get(&shard) {
        Some(purge) => {
            (own.rows_scanned, own.rows_deleted) = (Some(purge.scanned), Some(purge.deleted));
            own.rows_estimated = Some(purge.estimated.max(purge.scanned));
            own.throttled = purge.throttled.clone();
        }
        None => own.throttled = None,
    }
    own
}

fn totals(status: &mut ExpansionPlanStatus) {
    let shards = &status.shards;
    let flipped = shards.iter().filter(|s| s.phase >= Some(Phase::Flipped)).count();
    status.flipped = (!shards.is_empty()).then(|| format!("{flipped}/{}", shards.len()));
    let pause = shards.iter().filter_map(|s| s.pause_seconds).reduce(f64::max);
    status.pause = pause.map(|s| format!("{:.0}ms", s * 1000.0));
    let done = |s: &ShardProgress| match (s.phase, s.rows_scanned, s.rows_estimated) {
        (Some(Phase::Complete), _, _) => 100.0,
        (Some(Phase::Dissolved), Some(scanned), Some(estimated)) if estimated > 0 => (100.0 * scanned as f64 / estimated as f64).min(99.0),
        _ => 0.0,
    };
    let purging = shards.iter().any(|s| s.phase >= Some(Phase::Dissolved));
    status.purged = purging.then(|| format!("{:.0}%", (shards.iter().map(done).sum::<f64>() / shards.len() as f64).floor()));
}

fn say(status: &mut ExpansionPlanStatus, decision: &Decision, generation: Option<i64>, now: Timestamp) {
    let (reason, message) = (decision.note.reason, decision.note.message.clone());
    let complete = status.phase == Some(Phase::Complete);
    conditions::upsert(&mut status.conditions, Said::new(COMPLETE, complete, if complete { "Complete" } else { reason.as_str() }, &message), generation, now);
    conditions::upsert(&mut status.conditions, Said::new(PROGRESSING, !reason.rests(), reason.as_str(), &message), generation, now);
    let stalled = decision.beside.as_ref().or(Some(&decision.note)).filter(|n| n.reason.needs_a_person());
    match stalled {
        Some(note) => conditions::upsert(&mut status.conditions, Said::new(STALLED, true, note.reason.as_str(), &note.message), generation, now),
        None => conditions::remove(&mut status.conditions, STALLED),
    }
}

/// Does the change have to be written at once? Numbers and words alone may wait a few seconds.
pub fn is_urgent(old: &ExpansionPlanStatus, new: &ExpansionPlanStatus) -> bool {
    let said = |s: &ExpansionPlanStatus| s.conditions.iter().map(|c| (c.type_.clone(), c.status.clone(), c.reason.clone())).collect::<Vec<_>>();
    let phases = |s: &ExpansionPlanStatus| s.shards.iter().map(|s| (s.phase, s.split_at, s.pause_seconds.map(f64::to_bits), s.misrouted_rows)).collect::<Vec<_>>();
    let at = |s: &ExpansionPlanStatus| (s.phase, s.observed_generation, s.flipped_at.clone(), s.announced_at.clone(), s.findings.clone());
    said(old) != said(new) || phases(old) != phases(new) || at(old) != at(new)
}

/// An event to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// A constant of `api::events`.
    pub reason: &'static str,
    /// Does somebody have to know?
    pub warning: bool,
    /// A sentence.
    pub note: String,
}

/// What changed between two statuses that people want to know.
pub fn events(old: &ExpansionPlanStatus, new: &ExpansionPlanStatus, decision: &Decision, deleting: bool) -> Vec<Told> {
    let mut told = Vec::new();
    let mut tell = |reason, warning, note: String| told.push(Told { reason, warning, note });
    for shard in &new.shards {
        let before = old.shards.iter().find(|s| s.shard == shard.shard).and_then(|s| s.phase);
        if shard.phase >= Some(Phase::Flipped) && before < Some(Phase::Flipped) {
            let pause = shard.pause_seconds.map_or(String::new(), |s| format!(", which paused {:.0} ms", s * 1000.0));
            tell(events::FLIPPED, false, format!("shard {}: half of its keys belong to shard {} now{pause}", shard.shard, shard.new_shard));
        }
    }
    if new.phase > old.phase {
        tell(events::PHASE_DONE, false, new.phase.map_or_else(String::new, |p| format!("{p:?}: done for all shards")));
    } else if new.phase < old.phase {
        tell(events::ROLLED_BACK, false, new.phase.map_or("back to the beginning".to_owned(), |p| format!("back at {p:?}")));
    }
    let reason = |s: &ExpansionPlanStatus, type_| conditions::find(&s.conditions, type_).map(|c| (c.reason.clone(), c.message.clone()));
    let (was, is) = (reason(old, PROGRESSING).map(|r| r.0), decision.note.reason);
    let changed = was.as_deref() != Some(is.as_str());
    match is {
        Reason::RollingBack if changed && was.as_deref() != Some(Reason::Grace.as_str()) => tell(events::ROLLING_BACK, false, decision.note.message.clone()),
        Reason::Degraded | Reason::AnotherPlan | Reason::Paused if changed => tell(events::WAITING, false, decision.note.message.clone()),
        _ => {}
    }
    if let Some((reason, message)) = reason(new, STALLED)
        && self::stalled(old) != Some(reason.as_str())
    {
        let kind = if deleting && reason == Reason::TooLate.as_str() { events::DELETION_REFUSED } else { events::REFUSED };
        tell(kind, true, format!("{reason}: {message}"));
    }
    told
}

fn stalled(status: &ExpansionPlanStatus) -> Option<&str> {
    conditions::find(&status.conditions, STALLED).map(|c| c.reason.as_str())
}
