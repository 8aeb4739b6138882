//! The primary is gone: may its standby take over? Pure. Promotion only from Sync (invariant 3).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{FAILOVER_LIMIT, FAILOVER_WINDOW_MS, HUNG_MS, Identity, Verdict, View, evidence, identity, judge_primary};
use crate::pair::facts::{Contact, ReceiverState};
use crate::pair::record::{Deposed, Mode, MoveKind, Record, Transition};
use crate::pair::settings::Ack;
use crate::pair::step::{Decision, Next, Note, Reason, Step};

/// Gone: a failover begins, or it is said why not. In doubt: look again soon.
pub(super) fn decide(view: &View) -> Option<Decision> {
    let primary = &view.record.primary;
    match judge_primary(view) {
        Verdict::Alive => None,
        Verdict::Doubt(reason) => doubt(view, reason),
        Verdict::Gone(reason) => match promotable(view).and_then(|()| limit(view)) {
            Ok(()) => {
                let record = begin(view, MoveKind::Failover, reason);
                let message = format!("{primary} is gone ({}); {} takes over", reason.as_str(), record.standby.as_deref().unwrap_or(""));
                Some(Decision::act(vec![Step::WriteRecord(Box::new(record))], reason, message))
            }
            Err(refusal) => Some(stay(view, reason, refusal)),
        },
    }
}

fn doubt(view: &View, reason: Reason) -> Option<Decision> {
    let primary = &view.record.primary;
    let message = match reason {
        Reason::OperatorBlind => format!("{primary} doesn't answer the operator, its standby still receives from it: not gone"),
        Reason::CredentialsRefused => format!("{primary} refuses the operator's password: restore the operator Secret"),
        _ => format!("{primary} doesn't answer; a second witness is awaited"),
    };
    // With doubt about a primary that answers, the other rules still have their say; `upkeep::rest` tells of it.
    match reason {
        Reason::HeldByLock => None,
        Reason::AwaitingEvidence => restart_hung(view)
            .or_else(|| listen(view))
            .or_else(|| nobody(view))
            .or_else(|| Some(Decision::soon(reason, message))),
        // The standby's silence may become long enough any moment.
        Reason::OperatorBlind => Some(Decision::soon(reason, message)),
        _ => Some(Decision::wait(reason, message)),
    }
}

/// A standby whose receiver is stopped (its process is new) can't tell, and a primary that only we can't reach waits for
/// its acknowledgements: it listens again, on the channel that it has. Only in Sync, which says that it may.
fn listen(view: &View) -> Option<Decision> {
    let (name, _) = view.standby()?;
    let facts = view.standby_answer()?;
    let channel = facts.channel.as_ref()?;
    let address = view.primary().and_then(|m| m.address.as_deref());
    let may = view.record.mode == Mode::Sync && facts.super_read_only && !facts.source.enabled;
    if !may || channel.receiver != ReceiverState::Off || Some(channel.source_host.as_str()) != address {
        return None;
    }
    let steps = vec![
        Step::CloseStandby { member: name.to_owned() },
        Step::Attach { member: name.to_owned(), source: view.record.primary.clone(), acker: true },
    ];
    let message = format!("{} doesn't answer; {name} listens again, to tell whether it is there", view.record.primary);
    Some(Decision { next: Next::Soon, ..Decision::act(steps, Reason::AwaitingEvidence, message) })
}

/// No witness comes, and nobody could take over: as loud as if it were known to be gone.
fn nobody(view: &View) -> Option<Decision> {
    let long = view.primary()?.away_ms() >= 3 * view.settings.detect_after_ms;
    let refusal = promotable(view).err().filter(|_| long)?;
    let message = format!("{} doesn't answer, and no witness tells why; no safe move: {}", view.record.primary, refusal.message);
    Some(Decision::wait(refusal.reason, message))
}

/// No safe move: say so loudly.
fn stay(view: &View, gone: Reason, refusal: Note) -> Decision {
    let primary = &view.record.primary;
    if let Some(restart) = restart_hung(view) {
        return restart.with(refusal);
    }
    let way_out = match view.record.standby.as_deref() {
        Some(standby) => format!("it waits for {primary}; if that is lost for good: kubectl annotate shp … shardpair.io/promote-with-data-loss={standby}"),
        None => format!("it waits for {primary}; if that is lost for good, restore from a backup"),
    };
    let message = format!("{primary} is gone ({}), no safe move: {}; {way_out}", gone.as_str(), refusal.message);
    Decision::wait(refusal.reason, message)
}

/// A primary that hangs on a healthy node, with nobody to take over, is restarted: alone it loses nothing by that. Its
/// standby must answer, and not hear it: an operator that reaches neither is cut off itself.
fn restart_hung(view: &View) -> Option<Decision> {
    let primary = view.primary()?;
    let pod = primary.pod.as_ref()?;
    let hung = matches!(primary.contact, Contact::Silent { for_ms } if for_ms >= HUNG_MS);
    let witnessed = view.standby_answer().is_some_and(|s| !evidence::hears_now(view, s));
    if !hung || !witnessed || !pod.node_ready || pod.terminating || promotable(view).is_ok() {
        return None;
    }
    let member = view.record.primary.clone();
    let message = format!("{member} has hung for {} s and nobody may take over: its process is restarted", primary.away_ms() / 1000);
    Some(Decision::act(vec![Step::KillProcess { member, pod_uid: pod.uid.clone() }], Reason::RestartingHung, message))
}

pub(super) fn limit(view: &View) -> Result<(), Note> {
    if view.record.failovers_since(view.now, FAILOVER_WINDOW_MS) < FAILOVER_LIMIT {
        return Ok(());
    }
    Err(Note::new(
        Reason::FailoverLimit,
        format!("{FAILOVER_LIMIT} failovers in {} s: does a query kill every primary?", FAILOVER_WINDOW_MS / 1000),
    ))
}

/// The record with a move begun; who is deposed is known from here on.
pub(super) fn begin(view: &View, kind: MoveKind, reason: Reason) -> Record {
    let mut record = view.next_record();
    let to = record.standby.clone().unwrap_or_default();
    record.transition = Some(Transition { kind, to, started_at: MicroTime(view.now), reason: reason.as_str().to_owned() });
    if kind == MoveKind::Failover {
        record.deposed = Some(deposed(view, record.epoch));
    }
    record
}

/// The recorded primary as a deposed one: in the process that was recorded so already, else the last that was seen.
pub(super) fn deposed(view: &View, epoch: i64) -> Deposed {
    let member = view.record.primary.clone();
    let known = view.record.deposed.clone().filter(|d| d.member == member);
    known.unwrap_or_else(|| {
        let process = view.primary().and_then(|m| m.facts.as_ref()).map(|f| f.process.clone());
        Deposed { member, process, epoch }
    })
}

/// May the standby be promoted without losing an acknowledged write? The checks in order, the first refusal counts.
pub fn promotable(view: &View) -> Result<(), Note> {
    let Some((name, standby)) = view.standby() else {
        return Err(Note::new(Reason::NoStandby, "the pair has no standby"));
    };
    // Invariant 3: from Solo only a person promotes.
    if view.record.mode != Mode::Sync {
        return Err(Note::new(Reason::NotInSync, format!("the pair is Solo: {name} may lack acknowledged writes")));
    }
    // Invariant 6: the member that acknowledged, not one of the same name.
    if matches!(identity(view.record, standby, name), Identity::OtherVolume | Identity::OtherServer) {
        return Err(Note::new(Reason::ForeignMember, format!("{name} has another volume or server_uuid than recorded")));
    }
    if view.record.rebuild.as_ref().is_some_and(|r| r.member == name) {
        return Err(Note::new(Reason::Rebuilding, format!("{name} is being rebuilt")));
    }
    if view.record.rewind.as_ref().is_some_and(|r| r.member == name) {
        return Err(Note::new(Reason::Rewinding, format!("{name} is being rewound")));
    }
    let Some(facts) = view.standby_answer() else {
        return Err(Note::new(Reason::StandbyUnreachable, format!("{name} doesn't answer")));
    };
    if facts.rebuild_marker {
        return Err(Note::new(Reason::Rebuilding, format!("{name} is marked for rebuilding: its data may not be whole")));
    }
    if standby.pod.as_ref().is_some_and(|p| p.terminating) {
        return Err(Note::new(Reason::StandbyTerminating, format!("the pod of {name} is being deleted")));
    }
    if view.settings.ack == Ack::Received && booted_since(view, name) {
        return Err(Note::new(
            Reason::StandbyRebooted,
            format!("the node of {name} has rebooted since Sync was recorded: it may lack what it had received"),
        ));
    }
    if let Some(channel) = &facts.channel
        && !channel.applier_error.is_empty()
    {
        return Err(Note::new(Reason::ApplierError, format!("{name}: {}", channel.applier_error)));
    }
    Ok(())
}

/// Has the standby's node booted since Sync was recorded? Told by the node and by the kernel that the process runs on.
/// A boot that wasn't known then, or isn't now, counts as another.
pub(super) fn booted_since(view: &View, name: &str) -> bool {
    let recorded = view.record.standby_boot.as_deref();
    recorded.is_none() || view.seen.members.get(name).is_some_and(|m| boot_of(m).as_deref() != recorded)
}

/// The boot that a member runs in: the node's boot id and the first part of its process name.
pub(super) fn boot_of(member: &crate::pair::facts::Member) -> Option<String> {
    let node = member.pod.as_ref()?.node_boot.as_deref()?;
    let kernel = member.facts.as_ref()?.process.split('-').next().unwrap_or("");
    Some(format!("{node}/{kernel}"))
}
