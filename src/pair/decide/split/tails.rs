//! Tails in a split: what the other side may hold of a deposed primary's, and what a link leaves behind. Pure.

use super::link;
use crate::mysql::gtid::GtidSet;
use crate::pair::decide::{View, standby};
use crate::pair::facts::Facts;
use crate::pair::settings::Durability;
use crate::pair::step::{Decision, Reason, Step};

/// A tail is undone only when nobody of the other side holds any of it (invariants 8, 9).
///
/// A member that was rewound or cloned keeps its `server_uuid` and gives the numbers of its tail to other transactions as soon as it is
/// the primary again. Whoever has the tail by then would never be sent those, and counts as having them. As long as the member isn't
/// back, its successor's uuid is another, and the other side's own rules see the tail for what it is: that one follows anew, is made
/// anew, or cuts the link.
pub(super) fn elsewhere(view: &View, name: &str, tail: &GtidSet) -> Option<Decision> {
    // When either side has cut the link, neither will ever own the other's keys again.
    let other = view.other().filter(|o| view.record.severed.is_none() && o.record.severed.is_none())?;
    // What came over the link lives on there.
    let tail = &tail.subtract(&tail.without_source(&view.record.member(name)?.server_uuid));
    let related = view.record.linked.is_some() || other.record.follows.as_ref().is_some_and(|f| view.split().is_some_and(|s| s.name == f.pair));
    let rebuilt = |member: &str| other.record.rebuild.as_ref().is_some_and(|r| r.member == member);
    // With Required this pair's commits wait for this very member, and the other side's clone for those commits.
    if view.settings.durability == Durability::Required && rebuilt(&other.record.primary) {
        return None;
    }
    let volume = |member: &str| other.members.get(member).and_then(|m| m.volume.clone());
    let known = |member: &str| other.record.member(member).is_some_and(|m| !m.volume.is_empty() && volume(member).is_none_or(|v| v == m.volume));
    let members = std::iter::once(&other.record.primary).chain(&other.record.standby).filter(|m| related && known(m) && !rebuilt(m));
    let holds = |member: &&String| view.other_answer(member).is_none_or(|f| f.holds().intersects(tail));
    let holder = members.into_iter().find(holds)?;
    let message = format!("{name} has transactions that were never acknowledged ({tail}): they are undone when {holder} of {} is seen without them", other.name);
    Some(Decision::soon(Reason::TailFound, message))
}

/// What only a former primary received over the link, and its successor will never get: members must be the same, so it is saved
/// (invariant 8) and the member made anew.
///
/// While the link stands that is what the other side's former primaries wrote and its present one lacks. When it is proven gone, it is
/// all of the other side's: nothing of it comes to the primary any more. So no older answer can make this up.
pub(super) fn left(view: &View, name: &str, standby: &Facts, primary: &Facts) -> Option<Decision> {
    let other = view.other()?;
    let (held, but) = match view.other_primary() {
        _ if view.record.severed.as_ref().is_some_and(|s| s.proven) => (primary.holds(), ""),
        Some((source, _, theirs)) if view.record.linked.is_some() && link::stands(view) => (primary.holds().union(&theirs.holds()), source),
        _ => return None,
    };
    let beyond = standby.holds().subtract(&held);
    let theirs = other.record.members.iter().filter(|m| m.name != but && !m.server_uuid.is_empty());
    let left = beyond.subtract(&theirs.fold(beyond.clone(), |rest, m| rest.without_source(&m.server_uuid)));
    if left.is_empty() {
        return None;
    }
    let message = format!("{name} holds {left:#}, which the link brought it when it was the primary, and {} will never get: it is cloned", view.record.primary);
    let record = Step::WriteRecord(Box::new(standby::rebuild(view, name, Reason::LinkBroken)));
    Some(Decision::act(vec![Step::SaveTail { member: name.to_owned(), tail: left }, record], Reason::TailFound, message))
}
