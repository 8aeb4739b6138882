//! The end of the link: both channels are stopped and forgotten, and seen gone; and what is left when the plan is. Pure.

use super::{flip, leads_to_other, link, retire};
use crate::api::expansion::Standbys;
use crate::api::pair::SplitRole;
use crate::pair::decide::{View, open, standby};
use crate::pair::record::{Cut, Mode, Severed};
use crate::pair::split::SplitUntil;
use crate::pair::step::{Decision, Reason, Step};

pub(super) fn decide(view: &View) -> Option<Decision> {
    if let Some(severed) = &view.record.severed {
        return detach(view, severed);
    }
    let split = view.split()?;
    if split.until < SplitUntil::Dissolved || view.record.linked.is_none() {
        return None;
    }
    let other = view.other()?;
    if !flip::flipped(view) || other.record.linked.is_none() && other.record.severed.is_none() {
        return Some(Decision::wait(Reason::Dissolving, "the flip isn't done on both sides"));
    }
    // Unless their side has cut it already, everything must have come over.
    if other.record.severed.is_none() && !link::stands(view) {
        return None;
    }
    if view.record.mode != Mode::Sync && (split.standbys == Standbys::Before || view.record.standby.is_some()) {
        return Some(Decision::wait(Reason::Dissolving, "the link is taken away from Sync only"));
    }
    Some(link::cut(view, Cut::Dissolved, format!("the link to {} is taken away: from here on there is no way back", split.other)))
}

/// Stopped, forgotten, and seen so, on every member that could become primary.
fn detach(view: &View, severed: &Severed) -> Option<Decision> {
    if severed.proven {
        return None;
    }
    let name = &view.record.primary;
    let facts = view.primary_answer().filter(|p| open(p))?;
    let standby = view.standby();
    let own = |host: &str| standby.is_some_and(|(_, m)| m.address.as_deref() == Some(host));
    if facts.channel.as_ref().is_some_and(|c| !own(&c.source_host)) {
        // The child needs all of the parent's Reference tables; what the child wrote, the parent doesn't own.
        let child = view.split().is_some_and(|s| s.role == SplitRole::Child);
        let step = Step::Detach { member: name.clone(), drain: child && severed.reason == Cut::Dissolved };
        return Some(Decision::act(vec![step], Reason::Dissolving, format!("{name} forgets its channel to {}", severed.pair)));
    }
    if let Some((other, _)) = standby {
        let here = view.standby_answer().filter(|s| standby::serving(view, s) && !s.channel.as_ref().is_some_and(|c| leads_to_other(view, c)));
        if here.is_none() {
            return Some(Decision::wait(Reason::Dissolving, format!("{other} must be there and follow {name}: only then the link is proven gone")));
        }
    }
    let mut record = view.record.clone();
    record.severed = Some(Severed { proven: true, ..severed.clone() });
    Some(Decision::act(vec![Step::WriteRecord(Box::new(record))], Reason::Dissolving, format!("no channel leads to {} any more", severed.pair)))
}

/// The plan is over, or was taken back: guards go, and what the record kept for it.
pub(super) fn forget(view: &View) -> Option<Decision> {
    if view.record.linked.is_some() {
        return Some(Decision::wait(Reason::Dissolving, "the link of a split stands and its plan is gone: make the plan again, until Dissolved"));
    }
    if let Some(severed) = view.record.severed.as_ref().filter(|s| !s.proven) {
        return detach(view, severed);
    }
    for name in [Some(&view.record.primary), view.record.standby.as_ref()].into_iter().flatten() {
        if let Some(facts) = view.answer(name).filter(|f| f.guard.is_some()) {
            if let Some(retire) = retire(view, name, facts).filter(|_| view.record.ceded.is_some()) {
                return Some(retire);
            }
            let step = Step::RemoveGuard { member: name.clone() };
            return Some(Decision::act(vec![step], Reason::PlacingGuards, format!("the guard is taken from {name}")));
        }
    }
    let r = view.record;
    if r.ceded.is_none() && r.severed.is_none() && r.flip.is_none() {
        return None;
    }
    // As long as a member may come back with its guard, the record says what it owns.
    let all_seen = [Some(&r.primary), r.standby.as_ref()].into_iter().flatten().all(|n| view.answer(n).is_some());
    if !all_seen {
        return Some(Decision::wait(Reason::PlacingGuards, "a member doesn't answer: its guard is taken away when it is there"));
    }
    let mut record = r.clone();
    (record.ceded, record.severed, record.flip) = (None, None, None);
    Some(Decision::act(vec![Step::WriteRecord(Box::new(record))], Reason::Upkeep, "nothing of the split is left"))
}
