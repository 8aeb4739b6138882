//! The flip, and the flip backwards. Pure.
//!
//! Each try is recorded before it begins, so that one that didn't finish is seen, undone and tried again at growing
//! distances. Undone: the guard's rows (or the closed primary) follow the record, by the ordinary rules. The commit point of
//! the flip is the parent's record (`ceded`), that of the way back the child's (`follows.givenBack`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{calm, follow, guard, guarded, opening, runs_from};
use crate::api::expansion::Standbys;
use crate::api::pair::SplitRole;
use crate::pair::decide::{View, open, standby};
use crate::pair::facts::{Facts, Member, Other};
use crate::pair::record::{Ceded, Flip, Follows, Linked, Mode, Record};
use crate::pair::settings::Durability;
use crate::pair::split::SplitUntil;
use crate::pair::step::{Decision, Note, Reason, Step};

/// Between two tries, milliseconds: 1 s, 2 s, 4 s, … and at most …
const FIRST_PAUSE_MS: i64 = 1_000;
/// … this.
const LONGEST_PAUSE_MS: i64 = 60_000;
/// The other side may be this many transactions behind, as last seen: they must be there within the fence's budget.
const BEHIND: u64 = 2_000;
/// … and this many seconds in applying.
const BEHIND_SECONDS: i64 = 2;
/// Before the keys pause: what the other side still has to apply is at most so old, milliseconds, so that they wait for it no longer …
const NEAR_MS: u64 = 100;
/// … or it is so few transactions, as seen in one pass.
const FEW: u64 = 16;
/// The way back: the parent has so long to apply what is left, milliseconds; twice as long with each try that was undone, and at most …
const FIRST_PATIENCE_MS: u64 = 1_000;
/// … this. It was asked for, and what the child accepts while both sides write may come faster than the parent applies it: the pauses are what lets it catch up.
const LONGEST_PATIENCE_MS: u64 = 16_000;
/// A write on the primary that takes this long now, milliseconds, would hold the fence.
const SLOW_MS: u64 = 1_000;

/// The parent's keys are ours: recorded, then opened. Written also when the primary doesn't answer: the ordinary rules go on.
pub(super) fn take(view: &View) -> Option<Decision> {
    let (follows, other, split) = (view.record.follows.as_ref()?, view.other()?, view.split()?);
    let ceded = other.record.ceded.as_ref().filter(|c| c.pair == split.name && other.name == follows.pair)?;
    if follows.given_back.is_some_and(|epoch| ceded.epoch <= epoch) {
        return None;
    }
    let mut record = view.next_record();
    (record.follows, record.severed, record.flip) = (None, None, None);
    record.linked = Some(Linked { pair: other.name.clone() });
    let name = record.primary.clone();
    let ack = record.mode == Mode::Sync || view.settings.durability == Durability::Required;
    let mut steps = vec![Step::WriteRecord(Box::new(record.clone()))];
    // Without its guard it isn't opened; the next pass says so.
    let guard = opening(view, &record, &name);
    if view.primary_answer().is_some() && !guard.is_empty() {
        steps.extend(guard);
        steps.push(Step::OpenPrimary { member: name.clone(), ack, linked: true });
        steps.push(Step::PointVip { member: name.clone() });
    }
    Some(Decision::act(steps, Reason::Taking, format!("{} ceded its half: {name} opens", other.name)))
}

/// The child gave the keys back: recorded, and the guard opens.
pub(super) fn taken_back(view: &View) -> Option<Decision> {
    let ceded = view.record.ceded.as_ref()?;
    let (other, split) = (view.other()?, view.split()?);
    let back = other.record.follows.as_ref().filter(|f| f.pair == split.name && f.given_back >= Some(ceded.epoch))?;
    let mut record = view.next_record();
    (record.ceded, record.linked, record.severed, record.flip) = (None, None, None, None);
    let mut steps = vec![Step::WriteRecord(Box::new(record.clone()))];
    if view.primary_answer().is_some_and(open) {
        steps.extend(guard(view, &record, &view.record.primary));
    }
    let message = format!("{} gave back what was ceded at epoch {}", other.name, back.given_back.unwrap_or_default());
    Some(Decision::act(steps, Reason::TakenBack, message))
}

/// A try that was recorded as begun and isn't done: given up.
pub(super) fn unfinished(view: &View) -> Option<Decision> {
    let flip = view.record.flip.as_ref().filter(|f| f.begun_at.is_some())?;
    let mut record = view.record.clone();
    record.flip = Some(Flip { given_up: flip.given_up + 1, given_up_at: Some(MicroTime(view.now)), begun_at: None });
    let message = format!("try {} was undone: {} goes on with all its keys", flip.given_up + 1, view.record.primary);
    Some(Decision::act(vec![Step::WriteRecord(Box::new(record))], Reason::FlipGivenUp, message))
}

/// Forward or back, when all that it needs is there.
pub(super) fn decide(view: &View) -> Option<Decision> {
    let split = view.split()?;
    let forward = split.role == SplitRole::Parent && view.record.ceded.is_none() && split.until >= SplitUntil::Flipped;
    let back = split.role == SplitRole::Child && view.record.follows.is_none() && split.until < SplitUntil::Flipped;
    if !forward && !back {
        return None;
    }
    let ready = if forward { ready_to_cede(view) } else { ready_to_give_back(view) };
    if let Err(note) = ready.and_then(|()| paused(view)) {
        return Some(Decision::wait(note.reason, note.message));
    }
    if back {
        // While both sides write, the parent may never be `near` (docs/expansion.md). It goes while what is missing can be applied within
        // the budget, `caught_up`: keys pause longer, and a try that is too slow is undone; the next one waits longer.
        return give_back(view);
    }
    match near(view) {
        Ok(()) => cede(view),
        // Looked at again in a few milliseconds, for some seconds; then at leisure. Nobody waits meanwhile.
        Err(note) => Some(Decision::soon(note.reason, note.message)),
    }
}

/// What is left to apply is what the keys wait for, behind the fence: it must be next to nothing before it. Counted in time, because
/// nobody knows how fast the other side applies but by what it did.
fn near(view: &View) -> Result<(), Note> {
    let Some((primary, other)) = view.primary_answer().zip(view.other()) else { return no(Reason::CatchingUp, "a primary doesn't answer") };
    let Some((name, _, theirs)) = view.other_primary() else { return no(Reason::CatchingUp, format!("the primary of {} doesn't answer", other.name)) };
    let missing = primary.executed.subtract(&theirs.executed).count();
    if missing <= FEW || other.behind_ms.is_some_and(|ms| ms <= NEAR_MS) {
        return Ok(());
    }
    let behind = other.behind_ms.map_or("more than was seen lately".to_owned(), |ms| format!("{ms} ms"));
    let from = &view.record.primary;
    no(Reason::CatchingUp, format!("{name} applies {behind} after {from}, {missing} transactions: keys pause when it is at most {NEAR_MS} ms"))
}

fn no(reason: Reason, message: impl Into<String>) -> Result<(), Note> {
    Err(Note::new(reason, message))
}

/// Each try costs the keys a moment: they come at growing distances.
fn paused(view: &View) -> Result<(), Note> {
    let Some((flip, at)) = view.record.flip.as_ref().and_then(|f| Some((f, f.given_up_at.as_ref()?))) else { return Ok(()) };
    let distance = (FIRST_PAUSE_MS << flip.given_up.saturating_sub(1).min(10)).min(LONGEST_PAUSE_MS);
    match view.now.as_millisecond() - at.0.as_millisecond() < distance {
        true => no(Reason::FlipGivenUp, format!("{} tries were undone; the next one comes {} s after the last", flip.given_up, distance / 1000)),
        false => Ok(()),
    }
}

/// Everything that can be known before the keys pause: the child is complete, and both directions run.
pub(super) fn ready_to_cede(view: &View) -> Result<(), Note> {
    let Some(split) = view.split() else { return no(Reason::AwaitingChild, "no split") };
    let alone = split.standbys == Standbys::After;
    let Some(primary) = view.primary_answer().filter(|p| open(p)) else { return no(Reason::Flipping, format!("{} isn't open", view.record.primary)) };
    if view.record.severed.is_some() {
        return no(Reason::LinkBroken, "the link was severed");
    }
    own_side(view, primary, alone && view.record.standby.is_none())?;
    let Some(other) = view.other() else { return no(Reason::AwaitingChild, format!("{} isn't there yet", split.other)) };
    if other.record.follows.as_ref().is_none_or(|f| f.pair != split.name) {
        return no(Reason::AwaitingChild, format!("{} doesn't follow", other.name));
    }
    if other.record.rebuild.is_some() || other.record.mode != Mode::Sync && !alone {
        return no(Reason::AwaitingChild, format!("{} isn't in Sync yet", other.name));
    }
    let Some((name, member, theirs)) = view.other_primary() else { return no(Reason::AwaitingChild, format!("the primary of {} doesn't answer", other.name)) };
    if !calm(member) || !theirs.super_read_only {
        return no(Reason::AwaitingChild, format!("{name} is leaving, or isn't read-only"));
    }
    childs_guards(view, other)?;
    both_run(view, (primary, name, member, theirs))?;
    if !follow::beyond(theirs, primary).is_empty() {
        return no(Reason::AwaitingChild, format!("{name} holds what {} never had", view.record.primary));
    }
    caught_up(&view.record.primary, primary, name, theirs)
}

/// The pair itself: at rest, in Sync, with its guards.
fn own_side(view: &View, primary: &Facts, alone: bool) -> Result<(), Note> {
    let name = &view.record.primary;
    if view.record.mode != Mode::Sync && !alone {
        return no(Reason::Flipping, "the pair isn't in Sync");
    }
    let slow = view.primary().is_some_and(|m| m.beat.pending_ms.is_some_and(|ms| ms >= SLOW_MS) || m.beat.failing.is_some() || !calm(m));
    if slow {
        return no(Reason::Flipping, format!("{name} takes long for a write now, or is leaving"));
    }
    let standby = view.standby_answer();
    if !guarded(view, primary) || view.record.standby.is_some() && !standby.is_some_and(|s| guarded(view, s)) {
        return no(Reason::PlacingGuards, "a member lacks its guard");
    }
    match standby.is_none_or(|s| standby::serving(view, s)) {
        true => Ok(()),
        false => no(Reason::Flipping, "the standby isn't replicating now"),
    }
}

/// The child accepts nothing before the flip, on any member.
fn childs_guards(view: &View, other: &Other) -> Result<(), Note> {
    let Some(wanted) = view.split().and_then(|s| s.guard.as_ref().ok()) else { return no(Reason::PlacingGuards, "no guard") };
    for name in std::iter::once(&other.record.primary).chain(&other.record.standby) {
        let there = view.other_answer(name).and_then(|f| f.guard.as_ref());
        if !there.is_some_and(|g| g.hash == wanted.hash && g.owned.is_empty() && g.retired()) {
            return no(Reason::AwaitingChild, format!("{name} lacks its guard, has sessions from before it, or doesn't answer"));
        }
    }
    Ok(())
}

/// Forward and back, each applying.
fn both_run(view: &View, (primary, name, member, theirs): (&Facts, &str, &Member, &Facts)) -> Result<(), Note> {
    let address = view.primary().and_then(|m| m.address.as_deref());
    if !runs_from(theirs.channel.as_ref(), address, &primary.server_uuid) {
        return no(Reason::Linking, format!("{name} isn't replicating from {}", view.record.primary));
    }
    if !runs_from(primary.channel.as_ref(), member.address.as_deref(), &theirs.server_uuid) {
        return no(Reason::Linking, format!("{} isn't replicating from {name}", view.record.primary));
    }
    Ok(())
}

fn caught_up(source: &str, from: &Facts, name: &str, to: &Facts) -> Result<(), Note> {
    let missing = from.executed.subtract(&to.executed).count();
    if missing > BEHIND || to.lag_seconds.is_some_and(|s| s > BEHIND_SECONDS) {
        return no(Reason::CatchingUp, format!("{name} has {missing} transactions of {source} to apply"));
    }
    Ok(())
}

fn begun(view: &View) -> Record {
    let given_up = view.record.flip.as_ref().map_or(0, |f| f.given_up);
    Record { flip: Some(Flip { given_up, given_up_at: None, begun_at: Some(MicroTime(view.now)) }), ..view.record.clone() }
}

fn cede(view: &View) -> Option<Decision> {
    let (other, split) = (view.other()?, view.split()?);
    let wanted = split.guard.as_ref().ok()?;
    let mut record = view.next_record();
    record.flip = None;
    record.linked = Some(Linked { pair: other.name.clone() });
    record.ceded = Some(Ceded { pair: other.name.clone(), epoch: record.epoch, fenced_at: MicroTime(view.now), executed: String::new() });
    let step = Step::Cede {
        primary: view.record.primary.clone(),
        to: other.record.primary.clone(),
        acker: other.record.standby.clone(),
        moves: wanted.moves,
        stays: wanted.stays,
        record: Box::new(record),
    };
    let message = format!("{} hands half of its keys to {}", view.record.primary, other.name);
    Some(Decision::act(vec![Step::WriteRecord(Box::new(begun(view))), step], Reason::Flipping, message))
}

/// The way back: as long as the link stands on both sides.
fn ready_to_give_back(view: &View) -> Result<(), Note> {
    let Some((split, other)) = view.split().zip(view.other()) else { return no(Reason::AwaitingParent, "the parent isn't known here") };
    let stands = |r: &Record| r.severed.is_none() && r.linked.is_some();
    if !stands(view.record) || !stands(&other.record) {
        return no(Reason::LinkBroken, "no way back: the link is gone; only forward");
    }
    if other.record.ceded.as_ref().is_none_or(|c| c.pair != split.name) {
        return no(Reason::AwaitingParent, format!("{} ceded nothing to this pair", other.name));
    }
    let Some(primary) = view.primary_answer().filter(|p| open(p)) else { return no(Reason::GivingBack, format!("{} isn't open", view.record.primary)) };
    let Some((name, member, theirs)) = view.other_primary().filter(|(_, m, f)| open(f) && calm(m)) else {
        return no(Reason::AwaitingParent, format!("the primary of {} isn't open", other.name));
    };
    if other.record.standby.is_some() && other.record.mode != Mode::Sync {
        return no(Reason::AwaitingParent, format!("{} isn't in Sync", other.name));
    }
    both_run(view, (primary, name, member, theirs))?;
    caught_up(&view.record.primary, primary, name, theirs)
}

fn give_back(view: &View) -> Option<Decision> {
    let other = view.other()?;
    let epoch = other.record.ceded.as_ref()?.epoch;
    let mut record = view.next_record();
    (record.linked, record.flip) = (None, None);
    record.follows = Some(Follows { pair: other.name.clone(), given_back: Some(epoch) });
    let undone = view.record.flip.as_ref().map_or(0, |f| f.given_up);
    let patience_ms = (FIRST_PATIENCE_MS << undone.min(10)).min(LONGEST_PATIENCE_MS);
    let step = Step::GiveBack { primary: view.record.primary.clone(), to: other.record.primary.clone(), patience_ms, record: Box::new(record) };
    let message = format!("{} gives its keys back to {}", view.record.primary, other.name);
    Some(Decision::act(vec![Step::WriteRecord(Box::new(begun(view))), step], Reason::GivingBack, message))
}

/// Is this side done with the flip, seen as such?
pub(super) fn flipped(view: &View) -> bool {
    let Some((split, other)) = view.split().zip(view.other()) else { return false };
    match split.role {
        SplitRole::Parent => view.record.ceded.is_some() && other.record.follows.is_none() && other.record.epoch > 0,
        SplitRole::Child => {
            let ip = view.primary().and_then(|m| m.pod.as_ref()?.ip.as_deref());
            view.record.follows.is_none() && view.primary_answer().is_some_and(open) && ip.is_some() && view.seen.vip.points_to.as_deref() == ip
        }
    }
}

