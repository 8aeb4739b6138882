//! The primary goes on alone: when, and in which order (invariant 2: Solo is recorded first). Pure.

use super::View;
use super::standby::solo;
use crate::pair::facts::{Facts, Member};
use crate::pair::record::Mode;
use crate::pair::settings::Durability;
use crate::pair::step::{Decision, Reason, Step};

/// A commit that waits this long at least for a standby that seems to serve is the standby's trouble, milliseconds: a
/// restarted receiver alone costs 1 s.
const STALLED_MS: u64 = 2_000;

/// Invariant 2: Solo is recorded first. Also the way back when commits were made to wait and the standby left again.
pub(super) fn relax_if_alone(view: &View) -> Option<Decision> {
    if view.record.mode != Mode::Solo || view.settings.durability == Durability::Required {
        return None;
    }
    let primary = view.primary_answer()?;
    if !primary.source.enabled {
        return None;
    }
    let step = Step::RelaxAcks { member: view.record.primary.clone() };
    Some(Decision::act(vec![step], Reason::StandbyLost, format!("{} goes on alone", view.record.primary)))
}

/// Away past `soloAfter`: Solo, if the user prefers to go on. Only when the primary is there: with both away nothing is gained.
pub(super) fn lost(view: &View, name: &str, member: &Member) -> Option<Decision> {
    if view.record.mode == Mode::Solo {
        return relax_if_alone(view).filter(|_| member.not_serving_ms > 500);
    }
    view.primary_answer()?;
    if member.not_serving_ms < view.settings.solo_after_ms {
        return None;
    }
    if view.settings.durability == Durability::Required {
        return None;
    }
    Some(alone(view, Reason::StandbyLost, format!("{name} has been away for {} ms: {} goes on alone", member.not_serving_ms, view.record.primary)))
}

/// Invariant 2, in this order.
fn alone(view: &View, reason: Reason, message: String) -> Decision {
    let steps = vec![Step::WriteRecord(Box::new(solo(view))), Step::RelaxAcks { member: view.record.primary.clone() }];
    Decision::act(steps, reason, message)
}

/// It seems to serve, and commits wait for it all the same (its disk is full, its receiver doesn't acknowledge).
pub(super) fn stalled(view: &View, name: &str) -> Option<Decision> {
    let waits_ms = view.primary()?.beat.pending_ms.filter(|_| view.primary_answer().is_some_and(|p| p.source.waiting > 0))?;
    if waits_ms < view.settings.solo_after_ms.max(STALLED_MS) || view.settings.durability == Durability::Required {
        return None;
    }
    if view.record.mode == Mode::Solo {
        return relax_if_alone(view);
    }
    Some(alone(view, Reason::StandbyLost, format!("commits have waited for {name} for {waits_ms} ms: {} goes on alone", view.record.primary)))
}

/// The primary of a pair in Sync came back: closed, it opens when the standby holds what it has.
pub(super) fn keeps_closed(view: &View, standby: &Facts) -> bool {
    let (sync, still) = (view.record.mode == Mode::Sync, view.record.transition.is_none() && view.record.follows.is_none());
    let lacks = |primary: &Facts| primary.super_read_only && !standby.holds().contains(&primary.executed);
    sync && still && view.primary_answer().is_some_and(lacks)
}

/// Connected, and yet it doesn't come to hold what keeps the primary closed: commits can't wait for it, since there are none.
pub(super) fn deaf(view: &View, name: &str, member: &Member, facts: &Facts) -> Option<Decision> {
    let long = member.not_serving_ms >= view.settings.solo_after_ms.max(STALLED_MS);
    if !long || !keeps_closed(view, facts) || view.settings.durability == Durability::Required {
        return None;
    }
    let message = format!("{name} is connected and for {} ms hasn't received what {} has, which goes on alone", member.not_serving_ms, view.record.primary);
    Some(alone(view, Reason::StandbyLost, message))
}

/// Its pod is being deleted, and its process will be gone any moment: no commit shall wait for it (invariant 2's order).
pub(super) fn leaving(view: &View, name: &str, member: &Member) -> Option<Decision> {
    member.pod.as_ref().filter(|p| p.terminating)?;
    let message = format!("the pod of {name} is being deleted: {} goes on alone", view.record.primary);
    if view.record.mode == Mode::Solo {
        return relax_if_alone(view).or_else(|| Some(Decision::wait(Reason::StandbyTerminating, message)));
    }
    view.primary_answer().filter(|p| view.in_role(p))?;
    if view.settings.durability == Durability::Required {
        return None;
    }
    Some(alone(view, Reason::StandbyTerminating, message))
}
