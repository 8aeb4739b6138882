//! A split, as each of the two pairs carries out its part. Pure.
//!
//! The child is a pair of its own from the first moment; while it *follows* it owns nothing, and no write depends on it.
//! The flip is one write of the parent's record (`ceded`), the way back one of the child's (`follows.givenBack`); each side
//! reads the other's record from a watch, and acts only on what no later record takes back: a cession is undone by nobody
//! but the child that has it, a return by nobody but a later cession.
//! `follow` is the child before the flip, `flip` the flip and the way back, `link` the dual-master link, `dissolve` its end, `tails` what deposed primaries leave on the other side.
//! Invariant 12: the guard's rows on every member are what the record says, before that member becomes writable.

mod dissolve;
mod flip;
mod follow;
mod link;
mod status;
mod tails;

use std::collections::BTreeSet;

pub use status::status;

use super::{FRESH_MS, Identity, View, identity, open};
use crate::api::pair::SplitRole;
use crate::mysql::gtid::GtidSet;
use crate::pair::facts::{Channel, Contact, Facts, GuardSeen, Member, Other, ReceiverState};
use crate::pair::record::{Mode, Record};
use crate::pair::settings::{GuardWanted, SplitWanted};
use crate::pair::step::{Decision, Next, Reason, Step};

impl<'a> View<'a> {
    /// What the plan asks.
    pub(super) fn split(&self) -> Option<&'a SplitWanted> {
        self.settings.split.as_ref()
    }

    /// The other pair, as last heard of.
    pub(super) fn other(&self) -> Option<&'a Other> {
        let wanted = self.split()?;
        self.seen.other.as_ref().filter(|o| o.name == wanted.other && o.record.provisioned())
    }

    /// Fresh facts of a member of the other pair that is who that pair's record says.
    pub(super) fn other_answer(&self, name: &str) -> Option<&'a Facts> {
        let other = self.other()?;
        let member = other.members.get(name)?;
        let fresh = member.facts_age_ms <= FRESH_MS && identity(&other.record, member, name) == Identity::Match;
        member.answer().filter(|_| fresh)
    }

    /// The other pair's primary, when that pair isn't changing it now.
    pub(super) fn other_primary(&self) -> Option<(&'a str, &'a Member, &'a Facts)> {
        let other = self.other().filter(|o| o.record.transition.is_none())?;
        let (name, member) = other.members.get_key_value(&other.record.primary)?;
        Some((name, member, self.other_answer(name)?))
    }

    /// May this pair's primary be counted on: open, or following as it should?
    pub(super) fn in_role(&self, primary: &Facts) -> bool {
        open(primary) || self.record.follows.is_some()
    }
}

/// The first roles of a child.
pub(super) fn bootstrap(view: &View) -> Option<Decision> {
    follow::bootstrap(view)
}

/// A pair that follows another: all of its pass.
pub(super) fn following(view: &View) -> Decision {
    follow::decide(view)
}

/// The parent has ceded: the child's record, and its opening. Before everything else.
pub(super) fn take(view: &View) -> Option<Decision> {
    flip::take(view)
}

/// What can't wait: keys that were given back, rows of the guard that aren't the record's.
pub(super) fn urgent(view: &View) -> Option<Decision> {
    flip::taken_back(view).or_else(|| rows(view))
}

/// At rest.
pub(super) fn decide(view: &View) -> Option<Decision> {
    if view.split().is_none() {
        return dissolve::forget(view);
    }
    flip::unfinished(view)
        .or_else(|| follow::release(view))
        .or_else(|| guards(view))
        .or_else(|| dissolve::decide(view))
        .or_else(|| link::decide(view))
        .or_else(|| retiring(view))
        .or_else(|| flip::decide(view))
        .or_else(|| follow::refill(view))
}

/// A child's first data: of the parent's standby, whose copy is whole, else of its primary.
pub(super) fn donor<'a>(view: &View<'a>) -> Option<(&'a str, &'a Facts)> {
    let other = view.other()?;
    let whole = other.record.mode == Mode::Sync && other.record.rebuild.is_none() && other.record.transition.is_none();
    let standby = other.record.standby.as_deref().filter(|_| whole);
    let standby = standby.and_then(|name| Some((name, view.other_answer(name).filter(|f| !f.source.enabled)?)));
    standby.or_else(|| view.other_primary().filter(|(_, _, f)| open(f)).map(|(name, _, f)| (name, f)))
}

/// Does a member that follows still apply what came from the one which is its acker now? That one has it and is sent none of it again:
/// a commit of it would wait for ever (seen).
pub(super) fn drains_its_acker(view: &View, primary: &Facts) -> bool {
    let acker = view.standby().and_then(|(_, m)| m.address.as_deref());
    let channel = primary.channel.as_ref().filter(|c| Some(c.source_host.as_str()) == acker);
    view.record.follows.is_some() && channel.is_some_and(|c| !primary.executed.contains(&c.received))
}

/// What a member that follows holds and the parent's primary never had.
pub(super) fn beyond(facts: &Facts, primary: &Facts) -> GtidSet {
    follow::beyond(facts, primary)
}

/// A standby with what only the link could have brought it, after its end.
pub(super) fn left_by_the_link(view: &View, name: &str, standby: &Facts, primary: &Facts) -> Option<Decision> {
    tails::left(view, name, standby, primary)
}

/// A tail whose undoing has to wait for the other side.
pub(super) fn tail_elsewhere(view: &View, name: &str, tail: &GtidSet) -> Option<Decision> {
    tails::elsewhere(view, name, tail)
}

/// Does the primary's channel belong to a split, so that the ordinary reverse channel must wait?
pub(super) fn has_channel(view: &View) -> bool {
    link::wanted(view).is_some() || view.record.severed.as_ref().is_some_and(|s| !s.proven)
}

/// Does this channel of the primary's lead to the other pair?
pub(super) fn leads_to_other(view: &View, channel: &Channel) -> bool {
    let other = view.other();
    other.is_some_and(|o| o.members.values().any(|m| m.address.as_deref() == Some(channel.source_host.as_str())))
}

/// The key classes that this pair's record gives it.
pub(super) fn owned(record: &Record, split: &SplitWanted, guard: &GuardWanted) -> BTreeSet<u32> {
    match split.role {
        SplitRole::Parent if record.ceded.is_none() => BTreeSet::from([guard.stays, guard.moves]),
        SplitRole::Parent => BTreeSet::from([guard.stays]),
        SplitRole::Child if record.follows.is_some() || !record.provisioned() => BTreeSet::new(),
        SplitRole::Child => BTreeSet::from([guard.moves]),
    }
}

/// Until both channels are proven gone, nobody may change what the guard can't see …
fn closed(record: &Record) -> bool {
    record.severed.as_ref().is_none_or(|s| !s.proven)
}

/// … and tables of no shard are the parent's alone to write: both writing them would collide on the link.
fn refuses_unsharded(record: &Record, split: &SplitWanted) -> bool {
    split.role == SplitRole::Child && closed(record)
}

/// The guard's step for a member, by a record.
fn guard(view: &View, record: &Record, member: &str) -> Option<Step> {
    let split = view.split()?;
    let wanted = split.guard.as_ref().ok()?;
    // Not before those from before the flip are gone (`retire`).
    let there = view.answer(member).and_then(|f| f.guard.as_ref());
    let left = record.ceded.is_some() && there.is_some_and(|g| g.ddl_revoked && !g.retired());
    let (ddl, unsharded) = (!closed(record) && !left, !refuses_unsharded(record, split));
    Some(Step::Guard { member: member.to_owned(), owned: owned(record, split, wanted), epoch: split.map_epoch, ddl, unsharded, opens: false })
}

/// Is the guard on this member what the record asks for?
fn guarded(view: &View, facts: &Facts) -> bool {
    let Some((split, wanted)) = view.split().and_then(|s| Some((s, s.guard.as_ref().ok()?))) else { return false };
    facts.guard.as_ref().is_some_and(|g| {
        let retired = !closed(view.record) || g.old_sessions == Some(0);
        as_recorded(view.record, split, wanted, g) && retired
    })
}

/// Its rows, and what else it refuses.
fn as_recorded(record: &Record, split: &SplitWanted, wanted: &GuardWanted, there: &GuardSeen) -> bool {
    let rows = there.hash == wanted.hash && there.owned == owned(record, split, wanted);
    rows && there.ddl_revoked == closed(record) && there.unsharded_refused == refuses_unsharded(record, split)
}

/// What a REVOKE took, a session that had chosen its database before keeps: TRUNCATE would go around the guard. So such
/// sessions end before a flip; and before a parent's guard goes, those that came through the child's VIP before the flip.
fn retire(view: &View, member: &str, facts: &Facts) -> Option<Decision> {
    let there = facts.guard.as_ref().filter(|g| g.ddl_revoked && !g.retired())?;
    let due = match closed(view.record) {
        true => {
            let split = view.split()?;
            split.guard.as_ref().ok().is_none_or(|wanted| as_recorded(view.record, split, wanted, there))
        }
        false => view.record.ceded.is_some(),
    };
    if !due {
        return None;
    }
    let step = Step::RetireSessions { member: member.to_owned(), at_once: false };
    let left = there.old_sessions.map(|n| format!(", {n} are left")).unwrap_or_default();
    let message = format!("the application's sessions from before are ended on {member}: idle ones now, those at work after 10 s{left}");
    Some(Decision { next: Next::Tick, ..Decision::act(vec![step], Reason::EndingOldSessions, message) })
}

/// Invariant 12: before a primary opens, its rows are set. Err: it can't be opened now.
pub(super) fn before_open(view: &View, member: &str) -> Result<Vec<Step>, Decision> {
    let Some(split) = view.split() else { return Ok(Vec::new()) };
    let owns_half = split.role == SplitRole::Child || view.record.ceded.is_some();
    match &split.guard {
        Ok(_) => Ok(opening(view, view.record, member)),
        Err(why) if owns_half => Err(Decision::wait(Reason::PlacingGuards, format!("{member} isn't opened without its guard: {why}"))),
        Err(_) => Ok(Vec::new()),
    }
}

/// The guard by a record, and nobody from before it, on a member that is read-only now: nobody loses work.
fn opening(view: &View, record: &Record, member: &str) -> Vec<Step> {
    let Some(mut guard) = guard(view, record, member) else { return Vec::new() };
    if let Step::Guard { opens, .. } = &mut guard {
        // In a switchover it opens later, if at all.
        *opens = record.primary == member;
    }
    let known = view.answer(member).and_then(|f| f.guard.as_ref()).is_some_and(GuardSeen::retired);
    let retire = (closed(record) && !known).then(|| Step::RetireSessions { member: member.to_owned(), at_once: true });
    std::iter::once(guard).chain(retire).collect()
}

/// A guard that stands on the open primary and accepts other keys than the record says: a flip that was given up, mostly.
fn rows(view: &View) -> Option<Decision> {
    let facts = view.primary_answer().filter(|p| open(p))?;
    let (split, wanted) = view.split().and_then(|s| Some((s, s.guard.as_ref().ok()?)))?;
    let there = facts.guard.as_ref().filter(|g| g.hash == wanted.hash)?;
    if there.owned == owned(view.record, split, wanted) {
        return None;
    }
    let name = &view.record.primary;
    Some(Decision::act(vec![guard(view, view.record, name)?], Reason::PlacingGuards, format!("{name} accepts the keys that the record gives it")))
}

/// On every member that could become primary.
fn guards(view: &View) -> Option<Decision> {
    let split = view.split()?;
    if let Err(why) = &split.guard {
        return Some(Decision::wait(Reason::PlacingGuards, why.clone()));
    }
    for (name, facts) in unguarded(view) {
        if retire(view, name, facts).is_none() && !yields(view, name) {
            let step = guard(view, view.record, name)?;
            return Some(Decision::act(vec![step], Reason::PlacingGuards, format!("the guard is placed on {name}")));
        }
    }
    None
}

/// The keys that were ceded wait until the child is open: what a standby's guard costs the machine can wait for that. (It is set
/// before the standby opens, whenever that is.)
fn yields(view: &View, member: &str) -> bool {
    let opens = view.other().is_some_and(|o| o.record.follows.is_some()) || view.other_primary().is_some_and(|(_, _, theirs)| theirs.super_read_only);
    view.record.ceded.is_some() && view.record.severed.is_none() && member != view.record.primary && opens
}

/// At leisure, beneath what links need: a session that doesn't end holds up only the flip, or the guard's end.
fn retiring(view: &View) -> Option<Decision> {
    unguarded(view).into_iter().find_map(|(name, facts)| retire(view, name, facts))
}

/// Members that could become primary and lack something of their guard.
fn unguarded<'a>(view: &View<'a>) -> Vec<(&'a str, &'a Facts)> {
    let names = [Some(&view.record.primary), view.record.standby.as_ref()];
    let lacks = |name: &'a String| {
        let rebuilt = view.record.rebuild.as_ref().is_some_and(|r| r.member == *name);
        let facts = view.answer(name).filter(|facts| !rebuilt && !guarded(view, facts))?;
        // A DDL statement waits behind commits that wait.
        let stalled = view.seen.members.get(name).is_some_and(|m| m.beat.pending_ms.is_some_and(|ms| ms > FRESH_MS));
        (!stalled).then_some((name.as_str(), facts))
    };
    names.into_iter().flatten().filter_map(lacks).collect()
}

/// A channel that receives and applies from this very member.
fn runs_from(channel: Option<&Channel>, address: Option<&str>, uuid: &str) -> bool {
    channel.is_some_and(|c| {
        c.receiver == ReceiverState::On && c.source_uuid == uuid && Some(c.source_host.as_str()) == address && c.applier_running && c.applier_error.is_empty()
    })
}

/// Is the member there, and at rest with its own pair?
fn calm(member: &Member) -> bool {
    member.contact == Contact::Answering && member.pod.as_ref().is_some_and(|p| !p.terminating)
}
