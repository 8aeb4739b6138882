//! What a person asks for, by annotation, and the planned moves that follow from cordoned nodes and new settings. Pure.

use super::{FRESH_MS, Identity, Verdict, View, failover, identity, judge_primary, open, returning, split, standby, turn};
use crate::api::names;
use crate::pair::facts::{Contact, Facts, Member};
use crate::pair::record::{Mode, MoveKind};
use crate::pair::step::{Decision, Note, Reason, Step};

/// A standby that is this far behind in applying isn't switched to, seconds: the writes would stop for as long.
const SWITCHOVER_LAG_SECONDS: i64 = 5;

/// All but the person's word on a loss, which [`promote`] hears earlier.
pub(super) fn decide(view: &View) -> Option<Decision> {
    if unseen(view) {
        return None;
    }
    let requests = &view.seen.requests;
    None.or_else(|| requests.promote_with_data_loss.as_deref().and_then(|to| promote_refused(view, to)))
        .or_else(|| requests.switchover_to.as_deref().and_then(|to| switchover(view, to)))
        .or_else(|| requests.rebuild.as_deref().map(|name| rebuild(view, name)))
        .or_else(|| requests.replace.as_deref().map(|name| replace(view, name)))
        .or_else(|| requests.discard_tail.as_deref().and_then(|name| discard(view, name)))
        .or_else(|| planned(view))
}

/// This operator has just begun to look at a member, or the primary says nothing for a moment (while it stops waiting for
/// acknowledgements, MySQL answers nobody for up to a second): nobody's request is refused for what isn't seen now. A first
/// question without an answer is silence soon (`Contact::Silent`).
fn unseen(view: &View) -> bool {
    let roles = [Some(&view.record.primary), view.record.standby.as_ref()];
    let never = |name: &String| view.seen.members.get(name).is_some_and(|m| m.contact == Contact::Never && m.pod.is_some());
    let silent = |m: &Member| matches!(m.contact, Contact::Silent { for_ms } if for_ms < view.settings.detect_after_ms);
    view.primary().is_some_and(silent) || roles.into_iter().flatten().any(never)
}

/// A pair that follows another has nothing that a person could move.
pub(super) fn while_following(view: &View) -> Option<Decision> {
    let r = &view.seen.requests;
    let asked = [
        (&r.switchover_to, names::ASK_SWITCHOVER_TO),
        (&r.promote_with_data_loss, names::ASK_PROMOTE_WITH_DATA_LOSS),
        (&r.replace, names::ASK_REPLACE),
        (&r.rebuild, names::ASK_REBUILD),
        (&r.discard_tail, names::ASK_DISCARD_TAIL),
    ];
    let (_, annotation) = asked.into_iter().find(|(who, _)| who.is_some())?;
    let pair = view.record.follows.as_ref().map_or("", |f| f.pair.as_str());
    Some(refuse(annotation, format!("this pair follows {pair} and owns nothing yet: ask when the split is done")))
}

fn refuse(annotation: &'static str, message: String) -> Decision {
    Decision::act(vec![Step::ClearRequest { annotation }], Reason::RequestRefused, message)
}

fn done(annotation: &'static str, message: String) -> Decision {
    Decision::act(vec![Step::ClearRequest { annotation }], Reason::RequestDone, message)
}

/// A person names the loss: only when no safe move exists.
pub(super) fn promote(view: &View) -> Option<Decision> {
    let to = view.seen.requests.promote_with_data_loss.as_deref()?;
    if why_not_promoted(view, to).is_some() || view.record.primary == to {
        return None;
    }
    if let Some(first) = returning::half_undone(view, to) {
        return Some(first);
    }
    if loses_nothing(view) {
        // What holds it back is the limit alone: the person's word lifts that, and nothing is given up.
        failover::limit(view).err()?;
        let record = failover::begin(view, MoveKind::Failover, Reason::Requested);
        let message = format!("{to} takes over on request; nothing is lost");
        return Some(Decision::act(vec![Step::WriteRecord(Box::new(record))], Reason::Requested, message));
    }
    let record = failover::begin(view, MoveKind::PromoteWithDataLoss, Reason::Requested);
    let message = format!("{to} is promoted on request; what only {} holds is given up, and kept there", view.record.primary);
    Some(Decision::act(vec![Step::WriteRecord(Box::new(record))], Reason::Requested, message))
}

fn loses_nothing(view: &View) -> bool {
    matches!(judge_primary(view), Verdict::Gone(_)) && failover::promotable(view).is_ok()
}

fn promote_refused(view: &View, to: &str) -> Option<Decision> {
    let annotation = names::ASK_PROMOTE_WITH_DATA_LOSS;
    if view.record.primary == to {
        return Some(done(annotation, format!("{to} is the primary")));
    }
    why_not_promoted(view, to).map(|why| refuse(annotation, why))
}

fn why_not_promoted(view: &View, to: &str) -> Option<String> {
    if view.record.standby.as_deref() != Some(to) {
        return Some(format!("{to} isn't the standby of this pair: it has none of its data"));
    }
    if view.primary_answer().is_some_and(open) {
        return Some(format!("{} is there and open: ask for a switchover, which loses nothing", view.record.primary));
    }
    if view.record.rebuild.as_ref().is_some_and(|r| r.member == to) {
        return Some(format!("{to} is being rebuilt: its data isn't whole"));
    }
    let Some(facts) = view.answer(to) else { return Some(format!("{to} doesn't answer")) };
    if facts.rebuild_marker {
        return Some(format!("{to} is marked for rebuilding: its data isn't whole"));
    }
    let channel = facts.channel.as_ref().filter(|c| !facts.executed.contains(&c.received) && !c.applier_error.is_empty());
    channel.map(|c| format!("{to} can't apply what it received: {}; repair that first", c.applier_error))
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
    if view.record.severed.as_ref().is_some_and(|s| !s.proven) {
        // What came over it and isn't applied would stay behind on the old primary.
        return Err("the link of the split is being taken away".to_owned());
    }
    if view.primary().is_some_and(|p| p.facts_age_ms > FRESH_MS) || primary.source.waiting > 0 && facts.lag_seconds > Some(1) {
        return Err("commits wait for the standby".to_owned());
    }
    // While no operator was there to write it, the heartbeat grew old on the primary as well.
    let lag_seconds = facts.lag_seconds.unwrap_or(0) - primary.lag_seconds.unwrap_or(0);
    if lag_seconds > SWITCHOVER_LAG_SECONDS {
        return Err(format!("{name} is {lag_seconds} s behind"));
    }
    if !standby::written_here(view, facts, primary).is_empty() {
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
    moved.given_up_at = None;
    // The old primary stops with everything applied on the new one, and waits to be its acker: Sync holds (invariant 2).
    moved.standby_boot = view.primary().and_then(failover::boot_of);
    if view.primary().is_some_and(|p| p.pod.as_ref().is_some_and(|p| p.outdated)) {
        // It may run an older MySQL, which can't follow a newer one: it is restarted first.
        moved.mode = Mode::Solo;
        moved.standby_boot = None;
    }
    // Invariant 12: the member opens within the move.
    let mut steps = match split::before_open(view, &to) {
        Ok(guard) => guard,
        Err(wait) => return wait,
    };
    steps.push(Step::WriteRecord(Box::new(record)));
    steps.push(Step::SwitchOver { from: from.clone(), to: to.clone(), record: Box::new(moved) });
    steps.extend(after);
    Decision::act(steps, Reason::SwitchingOver, format!("{from} hands over to {to} ({})", reason.as_str()))
}

/// After a switchover that was given up the operator's own next one waits this long, milliseconds: each try stops the writes.
const PAUSE_MS: i64 = 30_000;

/// The primary's node is drained and it stays: why. Told as long as it is so.
pub(super) fn drain_waits(view: &View) -> Option<Note> {
    let primary = view.primary()?.pod.as_ref().filter(|p| p.node_cordoned)?;
    let standby = view.standby().and_then(|(_, m)| m.pod.as_ref());
    let why = match standby {
        Some(p) if p.node_cordoned => "the standby's node is drained too".to_owned(),
        _ => ready(view).err()?,
    };
    let node = primary.node.as_deref().unwrap_or_default();
    Some(Note::new(Reason::Drain, format!("{node} is drained, {} stays for now: {why}", view.record.primary)))
}

/// A drained node, or new settings that the standby already runs with: the primary hands over.
fn planned(view: &View) -> Option<Decision> {
    let primary = view.primary()?.pod.as_ref()?;
    let (name, member) = view.standby()?;
    let standby = member.pod.as_ref()?;
    let restarts = view.outdated(name) && !turn::stays(view, name, member);
    if primary.terminating || standby.terminating || standby.node_cordoned || restarts {
        return None;
    }
    let reason = match (primary.node_cordoned, view.outdated(&view.record.primary) && view.seen.turn_of.is_none()) {
        (true, _) => Reason::Drain,
        (false, true) => Reason::Updating,
        (false, false) => return None,
    };
    ready(view).ok()?;
    let paused = view.record.given_up_at.as_ref().is_some_and(|t| view.now.as_millisecond() - t.0.as_millisecond() < PAUSE_MS);
    if paused {
        return None;
    }
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
    // On another server's data directory there is nothing left to save.
    let replaced = view.seen.members.get(name).is_some_and(|m| identity(view.record, m, name) == Identity::OtherServer);
    if !replaced && view.record.abandoned.iter().any(|a| a.member == name) {
        return refuse(annotation, format!("{name} holds acknowledged transactions that were given up: shardpair.io/discard-tail={name} lets it be rebuilt"));
    }
    if let Some(deposed) = &view.record.deposed
        && deposed.member == name
        && !replaced
    {
        return refuse(annotation, format!("{name} was the primary: its tail is saved first, by itself"));
    }
    if !view.primary_answer().is_some_and(open) {
        return refuse(annotation, format!("{} isn't open: nothing to clone from", view.record.primary));
    }
    let mut record = standby::rebuild(view, name, Reason::Requested);
    // It may be another server on the same volume: it is known anew.
    record.member_mut(name).server_uuid.clear();
    record.deposed = None;
    record.abandoned.retain(|a| a.member != name);
    let mut steps = vec![Step::WriteRecord(Box::new(record)), Step::ClearRequest { annotation }];
    if let (Some(facts), Some(primary)) = (view.standby_answer(), view.primary_answer()) {
        // Invariant 8: also what somebody wrote on a standby is saved before it is undone.
        let tail = standby::errant(view, facts, primary);
        if !tail.is_empty() {
            steps.insert(0, Step::SaveTail { member: name.to_owned(), tail });
        }
    }
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
    let mut decision = standby::replace(view, Some(name), format!("{name} is replaced on request"));
    if decision.steps.is_empty() {
        return decision;
    }
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
    let mut record = standby::rebuild(view, name, Reason::ErrantTransactions);
    record.abandoned.retain(|a| a.member != name);
    let message = format!("{name}: {tail} is saved, then undone, on request");
    let steps = vec![
        Step::SaveTail { member: name.to_owned(), tail },
        Step::WriteRecord(Box::new(record)),
        Step::ClearRequest { annotation: names::ASK_DISCARD_TAIL },
    ];
    Decision::act(steps, Reason::ErrantTransactions, message)
}
