//! A deposed primary that comes back, and a standby that is rebuilt. Pure.
//!
//! What it has beyond the primary was never acknowledged: saved, then undone (invariant 8). The proof is read only from a
//! process started after the deposition: in the old one a waiting commit isn't in `gtid_executed` yet, so that process is
//! ended first (invariant 9). A tail is undone from the member's own binlog (`mysql::rewind`), and the rows that it touched are
//! compared with the primary's before Sync; where that can't be, the member is cloned. A mark on the member tells how far
//! either has come.

use super::{View, open, split, standby};
use crate::mysql::gtid::GtidSet;
use crate::pair::facts::{Contact, Facts, Member};
use crate::pair::record::{Deposed, Rebuild, RebuildPhase, Record, Rewind, RewindPhase};
use crate::pair::settings::Durability;
use crate::pair::step::{Decision, Reason, Step};

/// A tail of more transactions is not rewound: cloning is as quick, and moves no locks.
const REWIND_TRANSACTIONS: u64 = 20_000;

/// The standby is a deposed primary.
pub(super) fn deposed(view: &View, name: &str, member: &Member, deposed: &Deposed) -> Decision {
    let Some(facts) = view.answer(name) else {
        // Hanging, cut off, or so full of sessions whose commits wait that nobody else gets in: the order to end it is given now and
        // reaches it when it can. One that refuses connections is starting, or not there.
        let unheard = match member.contact {
            Contact::Silent { for_ms } | Contact::Broken { for_ms, refused: false } => for_ms >= view.settings.detect_after_ms,
            _ => false,
        };
        return match unheard {
            true => end(name, member),
            false if member.volume.is_none() => Decision::wait(
                Reason::AwaitingOldPrimary,
                format!("{name}'s PersistentVolumeClaim is gone, and its data with it: for a new member, kubectl shardpair replace {name} (shardpair.io/replace)"),
            ),
            false => Decision::wait(Reason::AwaitingOldPrimary, format!("{name} isn't back yet")),
        };
    };
    end_old_process(view, name, member, deposed, facts).unwrap_or_else(|| tail(view, name, facts))
}

/// Invariant 9: the process in which it was deposed is ended before anything is read from it, or asked of it.
fn end_old_process(view: &View, name: &str, member: &Member, deposed: &Deposed, facts: &Facts) -> Option<Decision> {
    match &deposed.process {
        None => {
            let mut record = view.record.clone();
            record.deposed = Some(Deposed { process: Some(facts.process.clone()), ..deposed.clone() });
            let message = format!("{name}: its process is taken for the deposed one");
            Some(Decision::act(vec![Step::WriteRecord(Box::new(record))], Reason::EndingDeposed, message))
        }
        Some(process) if *process == facts.process => Some(end(name, member)),
        Some(_) => None,
    }
}

fn end(name: &str, member: &Member) -> Decision {
    match member.pod.as_ref().filter(|p| !p.terminating) {
        Some(pod) => {
            let step = Step::KillProcess { member: name.to_owned(), pod_uid: pod.uid.clone() };
            let message = format!("{name} is ended by SIGKILL: what waits in its process was never acknowledged");
            Decision::act(vec![step], Reason::EndingDeposed, message)
        }
        None => Decision::wait(Reason::EndingDeposed, format!("{name} is being ended")),
    }
}

/// A deposed primary is promoted on a person's word. The commits that wait in its old process would be told OK as soon as it
/// needs no acknowledgement, and the move may still be given up: that process ends first.
pub(super) fn before_promotion(view: &View, name: &str, facts: &Facts) -> Option<Decision> {
    let deposed = view.record.deposed.as_ref().filter(|d| d.member == name)?;
    end_old_process(view, name, view.seen.members.get(name)?, deposed, facts)
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
    if let Some(wait) = split::tail_elsewhere(view, name, &tail) {
        return wait;
    }
    record.abandoned.retain(|a| a.member != name);
    // What came over the link of a split is in the relay log too: undone, it would be applied again.
    let comes_again = facts.channel.as_ref().is_some_and(|c| c.received.intersects(&tail));
    if tail.count() <= REWIND_TRANSACTIONS && facts.executed.contains(&tail) && !comes_again {
        let keep = facts.executed.subtract(&tail).to_string();
        record.rewind = Some(Rewind { member: name.to_owned(), phase: RewindPhase::Undoing, tail: tail.to_string(), keep, mark: record.epoch });
    } else {
        record.rebuild = Some(Rebuild { member: name.to_owned(), phase: RebuildPhase::Marking, reason: Reason::TailFound.as_str().to_owned() });
    }
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

/// The sets of a rewind. A status that was edited by hand may hold anything.
fn sets(rewind: &Rewind) -> Option<(GtidSet, GtidSet)> {
    let (tail, keep) = (GtidSet::parse(&rewind.tail).ok()?, GtidSet::parse(&rewind.keep).ok()?);
    (!tail.is_empty() && !keep.is_empty() && !tail.intersects(&keep)).then_some((tail, keep))
}

/// The rows are as before the tail, and the GTID sets say so.
fn undone(facts: &Facts, rewind: &Rewind, tail: &GtidSet, keep: &GtidSet) -> bool {
    facts.rewound == Some(rewind.mark) && facts.executed.contains(keep) && !facts.executed.intersects(tail)
}

/// The record if it has to be cloned after all.
fn instead(view: &View, name: &str, reason: &str) -> Record {
    let mut record = standby::rebuild(view, name, Reason::TailFound);
    record.rebuild = record.rebuild.map(|r| Rebuild { reason: reason.to_owned(), ..r });
    record
}

/// The standby's tail is being undone. None: it is undone, and the member goes the way of every standby.
pub(super) fn rewinding(view: &View, name: &str, member: &Member, rewind: &Rewind) -> Option<Decision> {
    if rewind.phase == RewindPhase::Comparing {
        return None;
    }
    let Some(facts) = view.answer(name) else {
        return Some(Decision::wait(Reason::Rewinding, format!("{name} is rewound and doesn't answer now{}", waiting(member))));
    };
    let Some((tail, keep)) = sets(rewind) else {
        return Some(unreadable(view, name, facts));
    };
    if undone(facts, rewind, &tail, &keep) {
        let mut record = view.record.clone();
        record.rewind = Some(Rewind { phase: RewindPhase::Comparing, ..rewind.clone() });
        return Some(Decision::act(vec![Step::WriteRecord(Box::new(record))], Reason::Rewinding, format!("{name} is as it was before its tail")));
    }
    if facts.rewound != Some(rewind.mark) && facts.executed != keep.union(&tail) {
        let message = format!("{name}: somebody wrote there, or took something away, since its tail was recorded; look at it, then annotate shardpair.io/rebuild={name}");
        return Some(Decision::wait(Reason::ErrantTransactions, message));
    }
    Some(undo(view, name, rewind, tail, keep))
}

/// Somebody edited the record. What is there beyond the primary is saved (again), as for every rebuild.
fn unreadable(view: &View, name: &str, facts: &Facts) -> Decision {
    let Some(primary) = view.primary_answer() else {
        return Decision::wait(Reason::Rewinding, format!("{name}: the recorded tail can't be read; the primary must answer to compare"));
    };
    let tail = standby::errant(view, facts, primary);
    let save = (!tail.is_empty()).then(|| Step::SaveTail { member: name.to_owned(), tail });
    let record = Step::WriteRecord(Box::new(instead(view, name, "RecordUnreadable")));
    Decision::act(save.into_iter().chain([record]).collect(), Reason::Rebuilding, format!("{name}: the recorded tail can't be read: it is cloned"))
}

fn undo(view: &View, name: &str, rewind: &Rewind, tail: GtidSet, keep: GtidSet) -> Decision {
    let message = format!("{name}: {} transactions are undone from its own binlog", tail.count());
    let otherwise = Box::new(instead(view, name, Reason::TailFound.as_str()));
    let step = Step::Rewind { member: name.to_owned(), tail, keep, mark: rewind.mark, otherwise };
    Decision::act(vec![step], Reason::Rewinding, message)
}

/// A member that a person promotes must not be half way: rows undone, and GTIDs that say otherwise.
pub(super) fn half_undone(view: &View, name: &str) -> Option<Decision> {
    let rewind = view.record.rewind.as_ref().filter(|r| r.member == name && r.phase == RewindPhase::Undoing)?;
    let facts = view.answer(name).filter(|f| f.rewound == Some(rewind.mark))?;
    let (tail, keep) = sets(rewind)?;
    (!undone(facts, rewind, &tail, &keep)).then(|| undo(view, name, rewind, tail, keep))
}

/// Rewound and (nearly) caught up: are the rows the same? The mark is taken away by the comparison.
pub(super) fn comparing(view: &View, name: &str, facts: &Facts) -> Option<Decision> {
    let rewind = view.record.rewind.as_ref().filter(|r| r.member == name)?;
    let primary = view.record.primary.clone();
    if facts.rewound == Some(rewind.mark) {
        let otherwise = Box::new(instead(view, name, "RowsDiffer"));
        let step = Step::CompareRows { member: name.to_owned(), primary: primary.clone(), otherwise };
        return Some(Decision::act(vec![step], Reason::Rewinding, format!("the rows that the tail of {name} touched are compared with those of {primary}")));
    }
    let mut record = view.record.clone();
    record.rewind = None;
    Some(Decision::act(vec![Step::WriteRecord(Box::new(record))], Reason::Rewinding, format!("{name} holds the rows of {primary} again")))
}

/// Marked for a rebuild that the record doesn't know: somebody edited the status, or of a pair that follows another the other
/// member had to be made anew meanwhile. Its data may be half a clone's.
pub(super) fn marked(view: &View, name: &str, facts: Option<&Facts>) -> Option<Decision> {
    let facts = facts.filter(|f| f.rebuild_marker)?;
    let message = format!("{name} is marked for rebuilding and the record doesn't say so: it is rebuilt");
    let Some(primary) = view.primary_answer().filter(|p| view.in_role(p)) else { return Some(Decision::wait(Reason::Rebuilding, message)) };
    if view.record.abandoned.iter().any(|a| a.member == name) {
        return Some(Decision::wait(Reason::AbandonedTail, message));
    }
    let tail = standby::errant(view, facts, primary);
    let save = (!tail.is_empty()).then(|| Step::SaveTail { member: name.to_owned(), tail });
    let record = Step::WriteRecord(Box::new(standby::rebuild(view, name, Reason::Rebuilding)));
    Some(Decision::act(save.into_iter().chain([record]).collect(), Reason::Rebuilding, message))
}

/// With filters it doesn't apply everything, and nobody can tell what it lacks.
pub(super) fn filtered(name: &str, facts: &Facts) -> Option<Decision> {
    let message = || format!("{name} has replication filters: it doesn't hold everything; annotate shardpair.io/rebuild={name} to have it cloned, which ends them");
    (facts.filters > 0).then(|| Decision::wait(Reason::ReplicationAltered, message()))
}

/// The standby is being rebuilt.
pub(super) fn rebuilding(view: &View, name: &str, member: &Member, rebuild: &Rebuild) -> Decision {
    let why = &rebuild.reason;
    let Some(facts) = view.answer(name) else {
        return Decision::wait(Reason::Rebuilding, format!("{name} is rebuilt ({why}) and doesn't answer now{}", waiting(member)));
    };
    match (rebuild.phase, facts.rebuild_marker) {
        // It was its pair's primary while that followed: what its applier committed waits here, and no mark is set behind that.
        (RebuildPhase::Marking, false) if facts.source.enabled && view.record.primary != name => {
            let step = Step::CloseStandby { member: name.to_owned() };
            Decision::act(vec![step], Reason::Rebuilding, format!("{name} waits for nobody: its data is replaced ({why})"))
        }
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
    let required = view.settings.durability == Durability::Required;
    // With Required commits may begin to wait while it runs: it waits for them, and they for it.
    let circle = required && view.record.follows.is_none() && view.primary_answer().is_some_and(|p| p.source.waiting > 0);
    if let Some((done, total)) = facts.cloning.filter(|_| !circle) {
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
