//! Small corrections, at rest and while the standby is away. Pure.

use super::{Verdict, View, judge_primary, open, primary, split, standby};
use crate::pair::facts::{Channel, ReceiverState};
use crate::pair::record::Mode;
use crate::pair::step::{Decision, Reason, Step};

pub(super) fn decide(view: &View) -> Option<Decision> {
    // Also while the primary is closed: with Required it may wait for a standby that isn't made before the spec names it.
    if let Some(decision) = of_the_spec(view) {
        return Some(decision);
    }
    let facts = view.primary_answer().filter(|p| open(p))?;
    let name = &view.record.primary;
    // Nothing below may run into a commit that waits (design: While a commit waits).
    if facts.source.waiting > 0 {
        return None;
    }
    if let Some(decision) = settings(view) {
        return Some(decision);
    }
    if facts.events_disabled > 0 {
        let step = Step::EnableEvents { member: name.clone() };
        return Some(Decision::act(vec![step], Reason::Upkeep, format!("EVENTs run on {name}")));
    }
    primary::provision(view, name, facts).or_else(|| reverse(view, name))
}

/// The pair's spec names the members that the record names.
pub(super) fn of_the_spec(view: &View) -> Option<Decision> {
    let (name, standby) = (&view.record.primary, view.record.standby.as_ref()?);
    if view.settings.members.contains(standby) && view.settings.members.contains(name) {
        return None;
    }
    let members = vec![name.clone(), standby.clone()];
    Some(Decision::act(vec![Step::SetMembers { members }], Reason::Upkeep, "the pair's spec follows its record"))
}

/// Invariant 9: in Solo the primary follows nobody, whoever comes back as its standby.
pub(super) fn follows_nobody(view: &View) -> Option<Decision> {
    let facts = view.primary_answer().filter(|p| open(p))?;
    let linked = |c: &&Channel| split::has_channel(view) && split::leads_to_other(view, c);
    let receiving = facts.channel.as_ref().filter(|c| !linked(c)).is_some_and(|c| c.receiver != ReceiverState::Off);
    // Commits that wait go first.
    if view.record.mode != Mode::Solo || !receiving || facts.source.waiting > 0 {
        return None;
    }
    let name = &view.record.primary;
    Some(Decision::act(vec![Step::StopReceiver { member: name.clone() }], Reason::Upkeep, format!("{name} follows nobody in Solo")))
}

/// Nothing is left to do: is all well?
pub(super) fn rest(view: &View) -> Decision {
    let name = &view.record.primary;
    if judge_primary(view) == Verdict::Doubt(Reason::HeldByLock) {
        let message = format!("{name}: a session holds a lock that stops all writes (FLUSH TABLES WITH READ LOCK, LOCK INSTANCE): end it");
        return Decision::wait(Reason::HeldByLock, message);
    }
    let waiting = view.primary_answer().map_or(0, |p| p.source.waiting);
    let long = view.primary().and_then(|p| p.beat.pending_ms).is_some_and(|ms| ms >= view.settings.detect_after_ms);
    if waiting > 0 && long {
        return Decision::wait(Reason::WritesStalled, format!("{waiting} commits on {name} wait for an acknowledgement"));
    }
    Decision::wait(Reason::InSync, "primary and standby hold the same")
}

/// Changed my.cnf entries: at run time where MySQL can; what needs a restart makes the member outdated.
pub(super) fn settings(view: &View) -> Option<Decision> {
    let mut members = view.record.standby.iter().chain([&view.record.primary]);
    let (name, hash) = members.find_map(|name| Some((name, view.untaken_settings(name)?)))?;
    let step = Step::ApplySettings { member: name.clone(), hash: hash.to_owned() };
    Some(Decision::act(vec![step], Reason::Upkeep, format!("{name} takes its changed settings")))
}

/// The reverse channel: the primary replicates from its standby too, so that a move or a split finds the link standing.
/// Only in Sync, from a standby that has nothing of its own (invariant 9).
fn reverse(view: &View, name: &str) -> Option<Decision> {
    let primary = view.primary_answer()?;
    let receiving = primary.channel.as_ref().is_some_and(|c| c.receiver != ReceiverState::Off);
    if view.record.mode == Mode::Solo || split::has_channel(view) {
        return None;
    }
    if let Some(channel) = primary.channel.as_ref().filter(|c| !c.applier_error.is_empty()) {
        let left = channel.received.subtract(&primary.executed);
        if standby::unreadable(&channel.applier_error) && view.standby_answer().is_some_and(|s| s.executed.contains(&left)) {
            let message = format!("{name} gives up the unreadable relay log of its reverse channel");
            return Some(Decision::act(vec![Step::DropRelayLog { member: name.to_owned(), left }], Reason::Upkeep, message));
        }
        let message = format!("{name} can't apply what came through the reverse channel: {}", channel.applier_error);
        return Some(Decision::wait(Reason::ApplierError, message));
    }
    let (source, member) = view.standby()?;
    let facts = view.standby_answer().filter(|s| standby::serving(view, s))?;
    let here = primary.channel.as_ref().is_some_and(|c| Some(&c.source_host) == member.address.as_ref() && c.applier_running);
    if (receiving && here) || !standby::errant(view, facts, primary).is_empty() {
        return None;
    }
    let step = Step::Attach { member: name.to_owned(), source: source.to_owned(), acker: false };
    Some(Decision::act(vec![step], Reason::Upkeep, format!("{name} follows {source}, idly")))
}
