//! A rollout goes pair by pair, the lowest shard first: what goes wrong (an image that doesn't start) stops at its first pair. Pure.
//!
//! Invariant 13. Only what is voluntary waits: the restart of an outdated standby that serves or will serve as it is, and the
//! switchover away from an outdated primary. A failover, a drain, a rebuild, a request never do.

use super::{HUNG_MS, View};
use crate::pair::decide::serving;
use crate::pair::facts::{Lower, Member, Observation};
use crate::pair::record::Mode;
use crate::pair::settings::Settings;
use crate::pair::step::{Note, Reason};

/// Must outdated pairs of higher shards wait for this one? Nobody waits for a higher one: the lowest of those that are waited for
/// waits for nobody.
pub fn holds(lower: &Lower) -> bool {
    let Lower { record, members, .. } = lower;
    // In nobody's care, not made yet, or without keys of its own: the others would wait for as long as a person likes.
    if lower.excused || !record.provisioned() || record.follows.is_some() {
        return false;
    }
    let seen = Observation { members: members.clone(), ..Observation::default() };
    let view = View { record, settings: &Settings::default(), seen: &seen, now: jiff::Timestamp::UNIX_EPOCH };
    let as_wanted = |name: &String| view.answer(name).is_some() && view.untaken_settings(name).is_none() && !view.outdated(name);
    let renewed = [Some(&record.primary), record.standby.as_ref()].into_iter().flatten().all(as_wanted);
    let in_sync = record.mode == Mode::Sync && record.transition.is_none() && view.standby_answer().is_some_and(|s| serving(&view, s));
    !(lower.told && renewed && in_sync)
}

/// The outdated standby is left as it is for now.
pub(super) fn stays(view: &View, name: &str, member: &Member) -> bool {
    view.seen.turn_of.is_some() && !mended_by_a_restart(view, name, member)
}

/// Its container can't run, or it can't follow (an older MySQL behind a newer one): its current template may be what it needs.
fn mended_by_a_restart(view: &View, name: &str, member: &Member) -> bool {
    let facts = view.answer(name);
    if member.not_serving_ms < HUNG_MS || facts.is_some_and(|f| serving(view, f)) {
        return false;
    }
    let channel = facts.and_then(|f| f.channel.as_ref());
    let fails = channel.is_some_and(|c| !c.receiver_error.is_empty() || !c.applier_error.is_empty());
    fails || member.pod.as_ref().is_some_and(|p| !p.waiting.is_empty())
}

/// Told as long as it waits.
pub(super) fn waits(view: &View) -> Option<Note> {
    let first = view.seen.turn_of.as_ref()?;
    let standby = view.standby().filter(|(name, member)| stays(view, name, member)).map(|(name, _)| name);
    let names: Vec<&str> = standby.into_iter().chain([view.record.primary.as_str()]).filter(|name| view.outdated(name)).collect();
    (!names.is_empty()).then(|| Note::new(Reason::AwaitingTurn, format!("{}: the restart with the new image or settings waits for {first}", names.join(", "))))
}
