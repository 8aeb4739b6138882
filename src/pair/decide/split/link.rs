//! The dual-master link: each primary's one channel leads to the other pair's primary. Pure.
//!
//! Before the flip only the parent's half of it is set up here (the child's is how it follows). After it, a failover on
//! either side leaves one end at a deposed member: the end is moved when nothing of the deposed one's tail came through,
//! else the link is cut for good (invariants 8, 9: no tail flows back).

use super::{leads_to_other, runs_from};
use crate::api::pair::SplitRole;
use crate::mysql::gtid::GtidSet;
use crate::pair::decide::{View, open};
use crate::pair::facts::{Facts, Member, Other, ReceiverState};
use crate::pair::record::{Cut, Record, Severed};
use crate::pair::step::{Decision, Reason, Step};

/// The other pair, if this pair's primary is to replicate from that one's.
pub(super) fn wanted<'a>(view: &View<'a>) -> Option<&'a Other> {
    let (split, other) = (view.split()?, view.other()?);
    if view.record.severed.is_some() {
        return None;
    }
    if view.record.linked.is_some() {
        return Some(other);
    }
    let follows = other.record.follows.as_ref().is_some_and(|f| f.pair == split.name);
    (split.role == SplitRole::Parent && view.record.ceded.is_none() && follows && other.record.rebuild.as_ref().is_none_or(|r| r.member != other.record.primary)).then_some(other)
}

/// Does this side's end run?
pub(super) fn stands(view: &View) -> bool {
    let ends = view.primary_answer().zip(view.other_primary());
    wanted(view).is_some() && ends.is_some_and(|(p, (_, member, q))| runs_from(p.channel.as_ref(), member.address.as_deref(), &q.server_uuid))
}

/// The applier's error, if it is the link's.
pub(super) fn error(view: &View) -> Option<String> {
    wanted(view)?;
    let channel = view.primary_answer()?.channel.as_ref().filter(|c| leads_to_other(view, c) && !c.applier_error.is_empty())?;
    Some(format!("{} can't apply what came from the other side: {}", view.record.primary, channel.applier_error))
}

pub(super) fn decide(view: &View) -> Option<Decision> {
    let other = wanted(view)?;
    if let Some(cut) = theirs_is_cut(view, other) {
        return Some(cut);
    }
    let primary = view.primary_answer().filter(|p| open(p))?;
    let name = &view.record.primary;
    let Some((source, member, theirs)) = view.other_primary() else {
        return Some(Decision::wait(Reason::Linking, format!("{}: the primary doesn't answer, or is being changed", other.name)));
    };
    if runs_from(primary.channel.as_ref(), member.address.as_deref(), &theirs.server_uuid) {
        return None;
    }
    if let Some(error) = error(view) {
        return Some(Decision::wait(Reason::Linking, error));
    }
    if let Some(first) = before(view, other, primary, (source, member, theirs)) {
        return Some(first);
    }
    let step = Step::Attach { member: name.clone(), source: source.to_owned(), acker: false };
    Some(Decision::act(vec![step], Reason::Linking, format!("{name} follows {source}")))
}

/// What stands in the way of this end.
fn before(view: &View, other: &Other, primary: &Facts, (source, member, theirs): (&str, &Member, &Facts)) -> Option<Decision> {
    let name = &view.record.primary;
    let channel = primary.channel.as_ref();
    let elsewhere = channel.filter(|c| Some(c.source_host.as_str()) != member.address.as_deref());
    if let Some(c) = channel
        && elsewhere.is_none()
        && c.receiver == ReceiverState::Connecting
        && c.applier_running
    {
        return Some(Decision::soon(Reason::Linking, format!("{name} connects to {source}")));
    }
    if elsewhere.is_some_and(|c| c.receiver != ReceiverState::Off) {
        let step = Step::StopReceiver { member: name.clone() };
        return Some(Decision::act(vec![step], Reason::Linking, format!("{name} stops following another than {source}")));
    }
    // Their end may still lead to a member that we deposed: its own side moves that first.
    if theirs.channel.as_ref().is_some_and(|c| c.receiver != ReceiverState::Off && from_us(view, &c.source_host)) {
        return Some(Decision::soon(Reason::Linking, format!("{source} leaves a former primary first")));
    }
    let ours = tail(view.record, name, theirs, primary);
    let tail = tail(&other.record, source, primary, theirs).union(&ours);
    let behind = !primary.holds().contains(&theirs.purged);
    if tail.is_empty() && !behind {
        return elsewhere.and_then(|c| drained(name, primary, c));
    }
    if view.record.linked.is_none() {
        // Not flipped: the child is made anew.
        return Some(Decision::wait(Reason::Linking, format!("{source} isn't usable yet")));
    }
    let why = if behind { "needed binary logs are purged".to_owned() } else { format!("{tail:#} came from a former primary and was never acknowledged") };
    Some(cut(view, Cut::LinkBroken, format!("the link to {} is cut for good: {why}", other.name)))
}

/// Invariant 5, of what the other side sent.
fn drained(name: &str, primary: &Facts, channel: &crate::pair::facts::Channel) -> Option<Decision> {
    if primary.executed.contains(&channel.received) {
        return None;
    }
    let message = format!("{name} applies what it received, before it follows another");
    Some(match channel.applier_running {
        true => Decision::soon(Reason::Draining, message),
        false => Decision::act(vec![Step::StartApplier { member: name.to_owned() }], Reason::Draining, message),
    })
}

/// A channel that leads to a member of this pair which isn't its primary.
fn from_us(view: &View, host: &str) -> bool {
    view.seen.members.iter().any(|(n, m)| *n != view.record.primary && m.address.as_deref() == Some(host))
}

/// What `holder` has of transactions that former primaries of `pair` wrote and its primary `name` lacks. (Its primary's own
/// may wait there for their acknowledgement.)
fn tail(pair: &Record, name: &str, holder: &Facts, primary: &Facts) -> GtidSet {
    let beyond = holder.holds().subtract(&primary.holds());
    let mut others = beyond.clone();
    pair.members.iter().filter(|m| m.name != name && !m.server_uuid.is_empty()).for_each(|m| others = others.without_source(&m.server_uuid));
    beyond.subtract(&others).without_source(&primary.server_uuid)
}

/// The other side has ended it, for whatever reason.
fn theirs_is_cut(view: &View, other: &Other) -> Option<Decision> {
    let split = view.split()?;
    let theirs = other.record.severed.as_ref().filter(|s| view.record.linked.is_some() && s.pair == split.name)?;
    Some(cut(view, theirs.reason, format!("{} has ended the link", other.name)))
}

/// The record without its link.
pub(super) fn cut(view: &View, why: Cut, message: String) -> Decision {
    let mut record = view.next_record();
    let pair = view.split().map(|s| s.other.clone()).unwrap_or_default();
    record.linked = None;
    record.severed = Some(Severed { pair, reason: why, proven: false });
    let reason = if why == Cut::LinkBroken { Reason::LinkBroken } else { Reason::Dissolving };
    Decision::act(vec![Step::WriteRecord(Box::new(record))], reason, message)
}
