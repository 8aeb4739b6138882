//! What a person asks for, by annotation, and the planned moves that follow from cordoned nodes and new settings. Pure.

use super::{FRESH_MS, Verdict, View, failover, judge_primary, open, standby};
use crate::api::names;
use crate::pair::facts::Facts;
use crate::pair::record::{Mode, MoveKind};
use crate::pair::step::{Decision, Reason, Step};

/// A standby that is this far behind in applying isn't switched to, seconds: the writes would stop for as long.
const SWITCHOVER_LAG_SECONDS: i64 = 5;

pub(super) fn decide(view: &View) -> Option<Decision> {
    let requests = &view.seen.requests;
    None.or_else(|| requests.promote_with_data_loss.as_deref().map(|to| promote(view, to)))
        .or_else(|| requests.switchover_to.as_deref().and_then(|to| switchover(view, to)))
        .or_else(|| requests.rebuild.as_deref().map(|name| rebuild(view, name)))
        .or_else(|| requests.replace.as_deref().map(|name| replace(view, name)))
        .or_else(|| requests.discard_tail.as_deref().and_then(|name| discard(view, name)))
        .or_else(|| planned(view))
}

fn refuse(annotation: &'static str, message: String) -> Decision {
    Decision::act(vec![Step::ClearRequest { annotation }], Reason::RequestRefused, message)
}

fn done(annotation: &'static str, message: String) -> Decision {
    Decision::act(vec![Step::ClearRequest { annotation }], Reason::RequestDone, message)
}

/// Only when no safe move exists: a person names the loss.
fn promote(view: &View, to: &str) -> Decision {
    let annotation = names::ASK_PROMOTE_WITH_DATA_LOSS;
    if view.record.primary == to {
        return done(annotation, format!("{to} is the primary"));
    }
    if view.record.standby.as_deref() != Some(to) {
        return refuse(annotation, format!("{to} isn't the standby of this pair: it has none of its data"));
    }
    if view.primary_answer().is_some_and(open) {
        return refuse(annotation, format!("{} is there and open: ask for a switchover, which loses nothing", view.record.primary));
    }
    if matches!(judge_primary(view), Verdict::Gone(_)) && failover::promotable(view).is_ok() {
        return refuse(annotation, format!("{to} can take over without a loss, and does"));
    }
    if view.record.rebuild.as_ref().is_some_and(|r| r.member == to) {
        return refuse(annotation, format!("{to} is being rebuilt: its data isn't whole"));
    }
    if view.answer(to).is_none() {
        return refuse(annotation, format!("{to} doesn't answer"));
    }
    let record = failover::begin(view, MoveKind::PromoteWithDataLoss, Reason::Requested);
    let message = format!("{to} is promoted on request; what only {} holds is given up, and kept there", view.record.primary);
    Decision::act(vec![Step::WriteRecord(Box::new(record))], Reason::Requested, message)
}

fn switchover(view: &View, to: &str) -> Option<Decision> {
    let annotation = names::ASK_SWITCHOVER_TO;
    if view.record.primary == to {
        return Some(done(annotation, format!("{to} is the primary")));
    }
    if view.record.standby.as_deref() != Some(to) {
        return Some(refuse(annotation, format!("{to} isn't the standby of this pair")));
    }
    // A primary that is gone is the failover's matter; the request stays and is done by it.
    if matches!(judge_primary(view), Verdict::Gone(_)) {
        return None;
    }
    match ready(view) {
        Ok(()) => Some(begin(view, Reason::Requested, vec![Step::ClearRequest { annotation }])),
        Err(why) => Some(refuse(annotation, format!("no switchover now: {why}; ask again when the pair is Ready"))),
    }
}

/// May the roles change now, without a long pause? Everything that can be known before writes stop.
fn ready(view: &View) -> Result<(), String> {
    failover::promotable(view).map_err(|note| note.message)?;
    let name = view.record.standby.clone().unwrap_or_default();
    let Some(facts) = view.standby_answer() else { return Err(format!("{name} doesn't answer")) };
    if !standby::serving(view, facts) {
        return Err(format!("{name} isn't replicating"));
    }
    let Some(primary) = view.primary_answer().filter(|p| open(p)) else {
        return Err(format!("{} isn't open", view.record.primary));
    };
    if view.primary().is_some_and(|p| p.facts_age_ms > FRESH_MS) || primary.source.waiting > 0 && facts.lag_seconds > Some(1) {
        return Err("commits wait for the standby".to_owned());
    }
    if facts.lag_seconds.is_some_and(|s| s > SWITCHOVER_LAG_SECONDS) {
        return Err(format!("{name} is {} s behind", facts.lag_seconds.unwrap_or(0)));
    }
    if !standby::errant(view, facts, primary).is_empty() {
        return Err(format!("{name} holds transactions that the primary never had"));
    }
    Ok(())
}

fn begin(view: &View, reason: Reason, after: Vec<Step>) -> Decision {
    let record = failover::begin(view, MoveKind::Switchover, reason);
    let from = view.record.primary.clone();
    let to = record.standby.clone().unwrap_or_default();
    let mut moved = record.clone();
    moved.epoch += 1;
    moved.primary = to.clone();
    moved.standby = Some(from.clone());
    moved.transition = None;
    // The old primary stops with everything applied on the new one, and waits to be its acker: Sync holds (invariant 2).
    moved.standby_boot = view.primary().and_then(failover::boot_of);
    if view.primary().is_some_and(|p| p.pod.as_ref().is_some_and(|p| p.outdated)) {
        // It may run an older MySQL, which can't follow a newer one: it is restarted first.
        moved.mode = Mode::Solo;
        moved.standby_boot = None;
    }
    let mut steps = vec![
        Step::WriteRecord(Box::new(record)),
        Step::SwitchOver { from: from.clone(), to: to.clone(), record: Box::new(moved) },
    ];
    steps.extend(after);
    Decision::act(steps, Reason::SwitchingOver, format!("{from} hands over to {to} ({})", reason.as_str()))
}

/// A drained node, or new settings that the standby already runs with: the primary hands over.
fn planned(view: &View) -> Option<Decision> {
    let primary = view.primary()?.pod.as_ref()?;
    let (name, member) = view.standby()?;
    let standby = member.pod.as_ref()?;
    if primary.terminating || standby.terminating || standby.node_cordoned || view.outdated(name) {
        return None;
    }
    let reason = match (primary.node_cordoned, view.outdated(&view.record.primary)) {
        (true, _) => Reason::Drain,
        (false, true) => Reason::Updating,
        (false, false) => return None,
    };
    ready(view).ok()?;
    Some(begin(view, reason, Vec::new()))
}

fn rebuild(view: &View, name: &str) -> Decision {
    let annotation = names::ASK_REBUILD;
    if view.record.standby.as_deref() != Some(name) {
        return refuse(annotation, format!("{name} isn't the standby of this pair: only a standby is rebuilt"));
    }
    if view.record.rebuild.is_some() {
        return done(annotation, format!("{name} is being rebuilt already"));
    }
    if let Some(deposed) = &view.record.deposed
        && deposed.member == name
    {
        return refuse(annotation, format!("{name} was the primary: its tail is saved first, by itself"));
    }
    if !view.primary_answer().is_some_and(open) {
        return refuse(annotation, format!("{} isn't open: nothing to clone from", view.record.primary));
    }
    let mut record = standby::rebuild(view, name, Reason::Requested);
    // It may be another server on the same volume: it is known anew.
    record.member_mut(name).server_uuid.clear();
    let steps = vec![Step::WriteRecord(Box::new(record)), Step::ClearRequest { annotation }];
    Decision::act(steps, Reason::Rebuilding, format!("{name} is rebuilt on request"))
}

fn replace(view: &View, name: &str) -> Decision {
    let annotation = names::ASK_REPLACE;
    if view.record.standby.as_deref() != Some(name) {
        return refuse(annotation, format!("{name} isn't the standby of this pair: only a standby is replaced"));
    }
    if !view.primary_answer().is_some_and(open) {
        return refuse(annotation, format!("{} isn't open: nothing to clone from", view.record.primary));
    }
    let mut decision = standby::replace(view, name, format!("{name} is replaced on request"));
    decision.steps.push(Step::ClearRequest { annotation });
    decision
}

/// For a standby with errant transactions; a deposed primary's are the returning rules' matter.
fn discard(view: &View, name: &str) -> Option<Decision> {
    let annotation = names::ASK_DISCARD_TAIL;
    if view.record.deposed.as_ref().is_some_and(|d| d.member == name) {
        return None;
    }
    if view.record.standby.as_deref() != Some(name) {
        return Some(refuse(annotation, format!("{name} isn't the standby of this pair")));
    }
    let (Some(facts), Some(primary)) = (view.standby_answer(), view.primary_answer()) else {
        return Some(refuse(annotation, "both members must answer".to_owned()));
    };
    Some(discard_errant(view, name, facts, primary))
}

fn discard_errant(view: &View, name: &str, facts: &Facts, primary: &Facts) -> Decision {
    let tail = standby::errant(view, facts, primary);
    if tail.is_empty() {
        return done(names::ASK_DISCARD_TAIL, format!("{name} holds nothing beyond the primary"));
    }
    let record = standby::rebuild(view, name, Reason::ErrantTransactions);
    let message = format!("{name}: {tail} is saved, then undone, on request");
    let steps = vec![
        Step::SaveTail { member: name.to_owned(), tail },
        Step::WriteRecord(Box::new(record)),
        Step::ClearRequest { annotation: names::ASK_DISCARD_TAIL },
    ];
    Decision::act(steps, Reason::ErrantTransactions, message)
}
