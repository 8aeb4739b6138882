//! What is told of a split. Pure.

use super::{flip, follow, guarded, link, owned};
use crate::api::pair::SplitRole;
use crate::pair::decide::{View, standby};
use crate::pair::record::{Cut, Mode};
use crate::pair::settings::SplitWanted;
use crate::pair::split::{LinkState, SplitState, SplitStatus, SplitUntil};
use crate::pair::step::{Decision, Reason};

/// Bytes of a clone are told in steps of this many, so that a status isn't written all the time.
const STEP: u64 = 64 << 20;

/// How far the split has come on this side; None: there is none, and nothing of one is left.
pub fn status(view: &View, decision: &Decision, pause_seconds: Option<f64>) -> Option<SplitStatus> {
    let Some(split) = view.split() else { return leftovers(view, decision) };
    let state = state(view, split);
    let done = matches!(state, SplitState::Prepared | SplitState::Flipped | SplitState::Dissolved);
    let broken = view.record.severed.as_ref().is_some_and(|s| s.reason == Cut::LinkBroken);
    let quiet = done && matches!(decision.note.reason, Reason::InSync | Reason::Following | Reason::Upkeep);
    let names = [Some(&view.record.primary), view.record.standby.as_ref()];
    let clone = view.record.rebuild.as_ref().and_then(|r| view.answer(&r.member)?.cloning);
    let step = |bytes: u64| (bytes / STEP * STEP) as i64;
    Some(SplitStatus {
        state,
        link: link(view, split),
        reason: if broken { Reason::LinkBroken.as_str().to_owned() } else if quiet { String::new() } else { decision.note.reason.as_str().to_owned() },
        message: if quiet { String::new() } else { decision.note.message.clone() },
        guarded: names.into_iter().flatten().filter(|n| view.answer(n).is_some_and(|f| guarded(view, f))).cloned().collect(),
        owns: split.guard.as_ref().map(|g| owned(view.record, split, g).into_iter().collect()).unwrap_or_default(),
        pause_seconds,
        given_up: view.record.flip.as_ref().map(|f| f.given_up).filter(|n| *n > 0),
        cloned_bytes: clone.map(|(done, _)| step(done)),
        clone_bytes: clone.map(|(_, all)| step(all)),
    })
}

/// Present until the last guard and the last word of the record are gone: whoever waits for that sees it go.
fn leftovers(view: &View, decision: &Decision) -> Option<SplitStatus> {
    let r = view.record;
    let names = [Some(&r.primary), r.standby.as_ref()];
    let guarded: Vec<String> = names.into_iter().flatten().filter(|n| view.answer(n).is_some_and(|f| f.guard.is_some())).cloned().collect();
    let left = r.ceded.is_some() || r.linked.is_some() || r.severed.is_some() || r.flip.is_some() || !guarded.is_empty();
    left.then(|| SplitStatus {
        state: if r.severed.as_ref().is_some_and(|s| s.proven) { SplitState::Dissolved } else { SplitState::Preparing },
        reason: decision.note.reason.as_str().to_owned(),
        message: decision.note.message.clone(),
        guarded,
        ..SplitStatus::default()
    })
}

fn state(view: &View, split: &SplitWanted) -> SplitState {
    let r = view.record;
    if let Some(severed) = &r.severed {
        return if severed.proven { SplitState::Dissolved } else { SplitState::Dissolving };
    }
    let wants = |until| split.until >= until;
    match split.role {
        SplitRole::Parent if r.ceded.is_some() && !wants(SplitUntil::Flipped) => SplitState::GivingBack,
        SplitRole::Parent if r.ceded.is_some() && flip::flipped(view) => if wants(SplitUntil::Dissolved) { SplitState::Dissolving } else { SplitState::Flipped },
        SplitRole::Parent if r.ceded.is_some() => SplitState::Flipping,
        SplitRole::Parent if wants(SplitUntil::Flipped) => SplitState::Flipping,
        SplitRole::Parent => if parent_prepared(view) { SplitState::Prepared } else { SplitState::Preparing },
        SplitRole::Child if r.follows.is_some() || !r.provisioned() => if child_prepared(view, split) { SplitState::Prepared } else { SplitState::Preparing },
        SplitRole::Child if !wants(SplitUntil::Flipped) => SplitState::GivingBack,
        SplitRole::Child if !flip::flipped(view) => SplitState::Flipping,
        SplitRole::Child => if wants(SplitUntil::Dissolved) { SplitState::Dissolving } else { SplitState::Flipped },
    }
}

fn parent_prepared(view: &View) -> bool {
    // All that a flip needs, whether it is allowed yet or not.
    flip::ready_to_cede(view).is_ok()
}

fn child_prepared(view: &View, split: &SplitWanted) -> bool {
    let standby = match (split.standbys, &view.record.standby) {
        (crate::api::expansion::Standbys::After, None) => true,
        _ => view.record.mode == Mode::Sync && view.standby_answer().is_some_and(|s| standby::serving(view, s) && guarded(view, s)),
    };
    standby && view.record.rebuild.is_none() && view.primary_answer().is_some_and(|p| guarded(view, p)) && follow::runs(view)
}

fn link(view: &View, split: &SplitWanted) -> LinkState {
    if let Some(severed) = &view.record.severed {
        return match (severed.reason, severed.proven) {
            (_, true) => LinkState::Gone,
            (Cut::LinkBroken, false) => LinkState::Broken,
            (Cut::Dissolved, false) => LinkState::Absent,
        };
    }
    let following = split.role == SplitRole::Child && view.record.follows.is_some();
    if link::error(view).is_some() {
        return LinkState::Failing;
    }
    let stands = if following { follow::runs(view) } else { link::stands(view) };
    if stands { LinkState::Standing } else { LinkState::Absent }
}
