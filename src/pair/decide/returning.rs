//! A deposed primary that comes back, and a standby that is rebuilt. Pure.
//!
//! What it has beyond the primary was never acknowledged: saved, then undone (invariant 8). The proof is read only from a
//! process started after the deposition: in the old one a waiting commit isn't in `gtid_executed` yet, so that process is
//! ended first (invariant 9). Undoing is a CLONE of the primary; the marker on the member tells whether it happened.

use super::{View, open, split};
use crate::pair::facts::{Contact, Facts, Member};
use crate::pair::record::{Deposed, Rebuild, RebuildPhase};
use crate::pair::settings::Durability;
use crate::pair::step::{Decision, Reason, Step};

/// The standby is a deposed primary.
pub(super) fn deposed(view: &View, name: &str, member: &Member, deposed: &Deposed) -> Decision {
    let same_process = || {
        let step = member.pod.as_ref().filter(|p| !p.terminating).map(|p| Step::KillProcess { member: name.to_owned(), pod_uid: p.uid.clone() });
        let message = format!("{name} is ended by SIGKILL: what waits in its process was never acknowledged");
        match step {
            Some(step) => Decision::act(vec![step], Reason::EndingDeposed, message),
            None => Decision::wait(Reason::EndingDeposed, format!("{name} is being ended")),
        }
    };
    let Some(facts) = view.answer(name) else {
        // Hanging or cut off: the order to end it is given now and reaches it when it can.
        let silent = matches!(member.contact, Contact::Silent { for_ms } if for_ms >= view.settings.detect_after_ms);
        return match silent {
            true => same_process(),
            false => Decision::wait(Reason::AwaitingOldPrimary, format!("{name} isn't back yet")),
        };
    };
    match &deposed.process {
        None => {
            let mut record = view.record.clone();
            record.deposed = Some(Deposed { process: Some(facts.process.clone()), ..deposed.clone() });
            Decision::act(vec![Step::WriteRecord(Box::new(record))], Reason::EndingDeposed, format!("{name}: its process is taken for the deposed one"))
        }
        Some(process) if *process == facts.process => same_process(),
        Some(_) => tail(view, name, facts),
    }
}

fn tail(view: &View, name: &str, facts: &Facts) -> Decision {
    let Some(primary) = view.primary_answer() else {
        return Decision::wait(Reason::AwaitingOldPrimary, format!("{name} is back; the primary must answer to compare"));
    };
    let holds = facts.holds();
    let tail = holds.subtract(&primary.executed);
    let mut record = view.record.clone();
    record.deposed = None;
    if tail.is_empty() {
        record.abandoned.retain(|a| a.member != name);
        return Decision::act(vec![Step::WriteRecord(Box::new(record))], Reason::ReturnedClean, format!("{name} has nothing that {} lacks", record_primary(view)));
    }
    if view.record.abandoned.iter().any(|a| a.member == name) && view.seen.requests.discard_tail.as_deref() != Some(name) {
        let message = format!("{name} holds {} acknowledged transactions that a promotion with data loss gave up: take what you need, then annotate shardpair.io/discard-tail={name}", tail.count());
        return Decision::wait(Reason::AbandonedTail, message);
    }
    record.abandoned.retain(|a| a.member != name);
    record.rebuild = Some(Rebuild { member: name.to_owned(), phase: RebuildPhase::Marking, reason: Reason::TailFound.as_str().to_owned() });
    let message = format!("{name} has {} transactions that were never acknowledged ({tail}): saved, then undone", tail.count());
    let mut steps = vec![Step::SaveTail { member: name.to_owned(), tail }, Step::WriteRecord(Box::new(record))];
    if view.seen.requests.discard_tail.as_deref() == Some(name) {
        steps.push(Step::ClearRequest { annotation: crate::api::names::ASK_DISCARD_TAIL });
    }
    Decision::act(steps, Reason::TailFound, message)
}

fn record_primary<'a>(view: &View<'a>) -> &'a str {
    &view.record.primary
}

/// The standby is being rebuilt.
pub(super) fn rebuilding(view: &View, name: &str, member: &Member, rebuild: &Rebuild) -> Decision {
    let why = &rebuild.reason;
    let Some(facts) = view.answer(name) else {
        return Decision::wait(Reason::Rebuilding, format!("{name} is rebuilt ({why}) and doesn't answer now{}", waiting(member)));
    };
    match (rebuild.phase, facts.rebuild_marker) {
        (RebuildPhase::Marking, false) => {
            let step = Step::PlaceMarker { member: name.to_owned() };
            Decision::act(vec![step], Reason::Rebuilding, format!("{name} is marked for rebuilding ({why})"))
        }
        (RebuildPhase::Marking, true) => {
            let mut record = view.record.clone();
            record.rebuild = Some(Rebuild { phase: RebuildPhase::Cloning, ..rebuild.clone() });
            Decision::act(vec![Step::WriteRecord(Box::new(record))], Reason::Rebuilding, format!("{name} is to be cloned ({why})"))
        }
        (RebuildPhase::Cloning, true) => clone(view, name, facts),
        (RebuildPhase::Cloning, false) => {
            let mut record = view.record.clone();
            record.rebuild = None;
            Decision::act(vec![Step::WriteRecord(Box::new(record))], Reason::Rebuilding, format!("{name} holds a clone"))
        }
    }
}

fn clone(view: &View, name: &str, facts: &Facts) -> Decision {
    if let Some((done, total)) = facts.cloning {
        return Decision::wait(Reason::Rebuilding, format!("{name}: {} of about {} MiB cloned", done >> 20, total >> 20));
    }
    let Some((donor, from)) = donor(view, name) else {
        return Decision::wait(Reason::Rebuilding, format!("{name} is cloned when its source is open"));
    };
    if from.source.waiting > 0 {
        return free_donor(view, name).unwrap_or_else(|| Decision::soon(Reason::Rebuilding, format!("{name} is cloned when no commit waits on {donor}")));
    }
    let step = Step::Clone { member: name.to_owned(), donor: donor.to_owned() };
    Decision { next: crate::pair::step::Next::Tick, ..Decision::act(vec![step], Reason::Rebuilding, format!("{name} is cloned from {donor}")) }
}

/// The primary; of a pair that follows another, which has no data of its own yet: the parent's standby, else its primary.
fn donor<'a>(view: &View<'a>, name: &str) -> Option<(&'a str, &'a Facts)> {
    if view.record.follows.is_none() {
        let required = view.settings.durability == Durability::Required;
        return view.primary_answer().filter(|p| open(p) || required).map(|p| (view.record.primary.as_str(), p));
    }
    if name != view.record.primary {
        return view.primary_answer().filter(|_| view.record.rebuild.as_ref().is_none_or(|r| r.member == name)).map(|p| (view.record.primary.as_str(), p));
    }
    split::donor(view)
}

/// CLONE waits for commits that wait for their acknowledgement (seen), and with `durability: Required` these wait for the
/// clone. The donor's process is ended: nobody was told that they succeeded. It stays closed until it has its standby.
fn free_donor(view: &View, name: &str) -> Option<Decision> {
    let donor = view.primary()?;
    let pod = donor.pod.as_ref().filter(|p| !p.terminating && view.settings.durability == Durability::Required)?;
    let member = view.record.primary.clone();
    let message = format!("commits on {member} wait for {name}, which is cloned only when none waits: {member} is restarted, and closed until then");
    Some(Decision::act(vec![Step::KillProcess { member, pod_uid: pod.uid.clone() }], Reason::WritesStalled, message))
}

fn waiting(member: &Member) -> String {
    match &member.pod {
        None => " (no pod)".to_owned(),
        Some(pod) if !pod.waiting.is_empty() => format!(" ({})", pod.waiting),
        Some(_) => String::new(),
    }
}
