//! The standby: lost, found again, made anew, proven. Pure.
//!
//! Solo is recorded before the primary stops waiting; Sync only after the standby is proven to hold everything that was
//! executed at a moment when commits already waited (invariant 2).

use super::failover::{boot_of, booted_since};
use super::alone::{deaf, keeps_closed, leaving, lost, relax_if_alone, stalled};
use super::{HUNG_MS, View, known, open, returning, split, turn};
use crate::mysql::gtid::GtidSet;
use crate::pair::facts::{Contact, Facts, Member, ReceiverState};
use crate::pair::record::{Mode, Rebuild, RebuildPhase, Record};
use crate::pair::settings::{Ack, Durability};
use crate::pair::step::{Decision, Next, Reason, Step};

/// A standby further behind than this isn't waited for yet: commits would wait as long as it takes to receive that much.
const CATCH_UP_TRANSACTIONS: u64 = 2_000;
/// A standby that has applied all it received and is this far behind receives nothing, seconds: don't wait for it.
const IDLE_SECONDS: i64 = 2;

/// An applier error that lasts is shown at once; the standby counts as not serving with it.
pub(super) fn decide(view: &View) -> Option<Decision> {
    let Some((name, member)) = view.standby() else {
        return relax_if_alone(view).or_else(|| no_standby(view));
    };
    if let Some(decision) = known::who(view, name, member) {
        return relax_if_alone(view).or_else(|| lost(view, name, member)).or(Some(decision));
    }
    let facts = view.standby_answer();
    if let Some(deposed) = &view.record.deposed
        && deposed.member == name
    {
        let returns = || returning::deposed(view, name, member, deposed);
        return relax_if_alone(view).or_else(|| given_up(view, name, member)).or_else(|| Some(returns()));
    }
    if let Some(rebuild) = &view.record.rebuild
        && rebuild.member == name
    {
        let rebuilds = || returning::rebuilding(view, name, member, rebuild);
        return relax_if_alone(view).or_else(|| given_up(view, name, member)).or_else(|| Some(rebuilds()));
    }
    let rewinds = || view.record.rewind.as_ref().filter(|r| r.member == name).and_then(|r| returning::rewinding(view, name, member, r));
    if let Some(undoing) = returning::marked(view, name, facts).or_else(rewinds) {
        return relax_if_alone(view).or_else(|| given_up(view, name, member)).or(Some(undoing));
    }
    if let Some(decision) = update(view, name, member) {
        return Some(decision);
    }
    if let Some(decision) = leaving(view, name, member) {
        return Some(decision);
    }
    match facts {
        Some(facts) if serving(view, facts) => {
            stalled(view, name).or_else(|| deaf(view, name, member, facts)).or_else(|| proven(view, name, member, facts))
        }
        Some(facts) => lost(view, name, member).or_else(|| Some(attach(view, name, facts))),
        None => lost(view, name, member).or_else(|| given_up(view, name, member)).or_else(|| away(view, member, name)),
    }
}

/// Does the standby receive from the recorded primary?
pub(super) fn receives(view: &View, standby: &Facts) -> bool {
    let uuid = view.record.member(&view.record.primary).map(|m| m.server_uuid.as_str());
    standby.channel.as_ref().is_some_and(|c| c.receiver == ReceiverState::On && Some(c.source_uuid.as_str()) == uuid)
}

/// Is it of use to the primary? The time since it was is `Member::not_serving_ms`: past `soloAfter` the pair goes Solo.
pub fn of_use(view: &View, standby: &Facts) -> bool {
    serving(view, standby) && !keeps_closed(view, standby)
}

/// Does the standby do all that a standby does: receive, acknowledge, apply, refuse writes?
pub fn serving(view: &View, standby: &Facts) -> bool {
    let applies = standby.channel.as_ref().is_some_and(|c| c.applier_running && c.applier_error.is_empty());
    receives(view, standby) && applies && standby.filters == 0 && standby.replica_enabled && standby.super_read_only && !standby.source.enabled
}

/// The record in Solo.
pub(super) fn solo(view: &View) -> Record {
    let mut record = view.next_record();
    record.mode = Mode::Solo;
    record.standby_boot = None;
    record
}

/// The record with the standby's data to be replaced.
pub(super) fn rebuild(view: &View, name: &str, reason: Reason) -> Record {
    let mut record = solo(view);
    record.rebuild = Some(Rebuild { member: name.to_owned(), phase: RebuildPhase::Marking, reason: reason.as_str().to_owned() });
    record.rewind = None;
    record
}

/// Gone for long: hung on a healthy node, its process is restarted; past `replaceAfter` another member takes its place.
fn given_up(view: &View, name: &str, member: &Member) -> Option<Decision> {
    if view.record.mode != Mode::Solo || view.standby_answer().is_some() {
        return None;
    }
    if let (Contact::Silent { for_ms }, Some(pod)) = (&member.contact, &member.pod)
        && *for_ms >= HUNG_MS
        && pod.node_ready
        && !pod.terminating
    {
        let step = Step::KillProcess { member: name.to_owned(), pod_uid: pod.uid.clone() };
        return Some(Decision::act(vec![step], Reason::RestartingHung, format!("{name} has hung for {} s: its process is restarted", for_ms / 1000)));
    }
    let after_ms = view.settings.replace_after_ms?;
    let open = view.primary_answer().is_some_and(|p| view.in_role(p));
    (open && member.away_ms() >= after_ms).then(|| replace(view, Some(name), format!("{name} has been away for {} s", member.away_ms() / 1000)))
}

/// It doesn't answer.
fn away(view: &View, member: &Member, name: &str) -> Option<Decision> {
    let reason = match (view.settings.durability, view.record.mode) {
        (Durability::Required, _) => Reason::WritesStalled,
        (Durability::Preferred, _) => Reason::StandbyUnreachable,
    };
    let why = member.pod.as_ref().map_or("it has no pod", |p| p.waiting.as_str());
    Some(Decision::wait(reason, format!("{name} doesn't answer{}{why}", if why.is_empty() { "" } else { ": " })))
}

/// A new member takes the standby's place, or becomes the standby where there is none: recorded with nothing known of it, so that it
/// is provisioned and cloned.
pub(super) fn replace(view: &View, old: Option<&str>, why: String) -> Decision {
    let new = view.seen.next_member.clone();
    if new.is_empty() || view.record.member(&new).is_some() {
        // What the next free name is, is read from watches: they may be behind our own last write.
        return Decision::soon(Reason::Replacing, format!("{why}: a free name is awaited"));
    }
    let mut record = solo(view);
    record.members.retain(|m| Some(m.name.as_str()) != old);
    record.member_mut(&new);
    record.standby = Some(new.clone());
    // Its volume is kept, and with it what it holds.
    (record.deposed, record.rewind) = (None, None);
    record.rebuild = Some(Rebuild { member: new.clone(), phase: RebuildPhase::Marking, reason: Reason::Replacing.as_str().to_owned() });
    let members = vec![record.primary.clone(), new.clone()];
    let steps = vec![Step::WriteRecord(Box::new(record)), Step::SetMembers { members }];
    let kept = old.map_or_else(|| format!("{new} is made"), |old| format!("{new} takes its place; the volume of {old} is kept"));
    Decision::act(steps, Reason::Replacing, format!("{why}: {kept}"))
}

fn no_standby(view: &View) -> Option<Decision> {
    // Its standby was given to a new shard (`standbys: After`), and the plan was taken back.
    let given = view.record.standby.is_none() && view.settings.members == [view.record.primary.clone()];
    if given && view.split().is_none() && view.record.follows.is_none() && view.primary_answer().is_some_and(open) {
        return Some(replace(view, None, "its standby was given away".to_owned()));
    }
    let message = match &view.record.standby {
        Some(name) => format!("{name} isn't among the pair's members"),
        None => "the pair has no standby".to_owned(),
    };
    Some(Decision::wait(Reason::NoStandby, message))
}

/// A planned restart: Solo first, so that no commit waits for a standby that is on its way.
fn update(view: &View, name: &str, member: &Member) -> Option<Decision> {
    let pod = member.pod.as_ref().filter(|p| !p.terminating && view.outdated(name) && !turn::stays(view, name, member))?;
    let primary = view.primary_answer().filter(|p| view.in_role(p))?;
    let kill = Step::KillProcess { member: name.to_owned(), pod_uid: pod.uid.clone() };
    // A newer MySQL doesn't take over the redo log of an older one that was killed.
    let mut restart = vec![kill];
    if let Some(facts) = view.answer(name).filter(|_| pod.outdated) {
        restart.insert(0, Step::ShutDown { member: name.to_owned() });
        if facts.source.enabled {
            restart.insert(0, Step::CloseStandby { member: name.to_owned() });
        }
    }
    let message = format!("{name} is restarted with its new settings");
    if view.settings.durability == Durability::Required {
        return Some(Decision::act(restart, Reason::Updating, message));
    }
    if view.record.mode == Mode::Sync {
        return Some(Decision::act(vec![Step::WriteRecord(Box::new(solo(view)))], Reason::Updating, message));
    }
    if primary.source.enabled {
        return relax_if_alone(view);
    }
    Some(Decision::act(restart, Reason::Updating, message))
}

/// It answers and isn't (fully) a standby yet.
fn attach(view: &View, name: &str, facts: &Facts) -> Decision {
    let Some(primary) = view.primary_answer() else {
        return Decision::wait(Reason::Attaching, format!("{name} is attached when {} answers", view.record.primary));
    };
    if !facts.super_read_only {
        let step = Step::CloseStandby { member: name.to_owned() };
        return Decision::act(vec![step], Reason::Attaching, format!("{name} is writable and isn't the primary: it is closed"));
    }
    if let Some(afresh) = afresh(view, name, facts, primary) {
        return afresh;
    }
    if let Some(channel) = &facts.channel
        && !channel.applier_error.is_empty()
    {
        let message = format!("{name}: {}; repair it, or annotate shardpair.io/rebuild={name} to have it cloned", channel.applier_error);
        return Decision::wait(Reason::ApplierError, message);
    }
    if let Some(wait) = somebody_wrote(view, name, facts, primary).or_else(|| returning::filtered(name, facts)) {
        return wait;
    }
    if !facts.holds().contains(&primary.purged) {
        let record = rebuild(view, name, Reason::BinlogsPurged);
        return Decision::act(vec![Step::WriteRecord(Box::new(record))], Reason::BinlogsPurged, format!("{name} is too far behind: it is cloned"));
    }
    if attached(view, facts) {
        return Decision::soon(Reason::CatchingUp, format!("{name} connects to {}", view.record.primary));
    }
    if let Some(drain) = before_change(view, name, facts) {
        return drain;
    }
    let steps = vec![
        Step::CloseStandby { member: name.to_owned() },
        Step::Attach { member: name.to_owned(), source: view.record.primary.clone(), acker: true },
    ];
    let error = facts.channel.as_ref().map(|c| c.receiver_error.as_str()).filter(|e| !e.is_empty());
    let message = match error {
        Some(error) => format!("{name} follows {} again; its receiver had stopped: {error}", view.record.primary),
        None => format!("{name} follows {}", view.record.primary),
    };
    // One that stops with an error each time is tried at leisure.
    let next = if error.is_some() { Next::Tick } else { Next::Soon };
    Decision { next, ..Decision::act(steps, Reason::Attaching, message) }
}

/// What a power cut left of a relay log isn't taken up again: MySQL may read on across a hole, or stop at it, or wait there for
/// ever and say that it runs. Only where nobody may promote the standby as it is (invariant 3), and the primary holds all that
/// goes (5) and can still send it.
fn afresh(view: &View, name: &str, facts: &Facts, primary: &Facts) -> Option<Decision> {
    let channel = facts.channel.as_ref()?;
    let rebooted = view.settings.ack == Ack::Received && booted_since(view, name);
    let left = channel.received.subtract(&facts.executed);
    let held = left.without_source(&primary.server_uuid).subtract(&primary.executed).is_empty();
    if !(view.record.mode == Mode::Solo || rebooted) || !held || !facts.executed.contains(&primary.purged) {
        return None;
    }
    let new_process = channel.receiver == ReceiverState::Off && !channel.applier_running && channel.applier_error.is_empty();
    if !unreadable(&channel.applier_error) && (!new_process || left.is_empty()) {
        return None;
    }
    let message = format!("{name} receives again what it had received and not applied: {} holds it, and a power cut may have spoilt it", view.record.primary);
    Some(Decision::act(vec![Step::DropRelayLog { member: name.to_owned(), left }], Reason::Attaching, message))
}

/// The applier's errors that speak of the relay log and not of a transaction in it: ER_REPLICA_RELAY_LOG_READ_FAILURE, and
/// the error log's numbers for the same (13117 seen with an empty file and with one cut in an event, 9.7).
pub(super) fn unreadable(applier_error: &str) -> bool {
    ["1594:", "13117:", "13121:"].iter().any(|number| applier_error.starts_with(number))
}

/// Invariant 5: a channel that leads elsewhere is changed only when all it received is applied.
fn before_change(view: &View, name: &str, facts: &Facts) -> Option<Decision> {
    let channel = facts.channel.as_ref()?;
    let address = view.primary().and_then(|m| m.address.as_deref());
    if Some(channel.source_host.as_str()) == address || facts.executed.contains(&channel.received) {
        return None;
    }
    let message = format!("{name} applies what it received, before it follows {}", view.record.primary);
    if facts.source.enabled {
        // A primary that followed another pair: what it applies would wait for an acknowledgement that nobody gives.
        return Some(Decision::act(vec![Step::CloseStandby { member: name.to_owned() }], Reason::Draining, message));
    }
    if channel.applier_running {
        return Some(Decision::soon(Reason::Draining, message));
    }
    Some(Decision::act(vec![Step::StartApplier { member: name.to_owned() }], Reason::Draining, message))
}

/// Set up, and only not connected yet.
fn attached(view: &View, facts: &Facts) -> bool {
    let address = view.primary().and_then(|m| m.address.as_deref());
    facts.super_read_only
        && !facts.source.enabled
        && facts.replica_enabled
        && facts.channel.as_ref().is_some_and(|c| {
            Some(c.source_host.as_str()) == address && c.applier_running && c.receiver != ReceiverState::Off
        })
}

/// What the standby has and the primary never had. A transaction of the primary's own that waits for its acknowledgement
/// may be executed on the standby before it shows in the primary's `gtid_executed`: those don't count.
pub(super) fn errant(view: &View, standby: &Facts, primary: &Facts) -> GtidSet {
    if view.record.follows.is_some() {
        // Neither writes; what they hold is the parent's, or nobody's.
        return view.other_primary().map(|(_, _, theirs)| split::beyond(standby, theirs)).unwrap_or_default();
    }
    // What a linked primary received and applies may wait for the standby's acknowledgement in the same way.
    let linked = view.record.linked.is_some();
    let known = if linked { primary.holds() } else { primary.executed.clone() };
    standby.executed.subtract(&known).without_source(&primary.server_uuid)
}

/// The same without what comes over the link of a split: the standby's answer may be younger than the primary's, and only a pair's
/// own commits are known not to be errant then. What a deposed primary of the other side sent is the link's matter.
pub(super) fn written_here(view: &View, standby: &Facts, primary: &Facts) -> GtidSet {
    let all = errant(view, standby, primary);
    let Some(other) = view.other().filter(|_| view.record.follows.is_none()) else { return all };
    let theirs = other.record.members.iter().filter(|m| !m.server_uuid.is_empty());
    theirs.fold(all, |rest, member| rest.without_source(&member.server_uuid))
}

fn somebody_wrote(view: &View, name: &str, facts: &Facts, primary: &Facts) -> Option<Decision> {
    if let Some(anew) = split::left_by_the_link(view, name, facts, primary) {
        return Some(anew);
    }
    let errant = written_here(view, facts, primary);
    if !errant.is_empty() && view.record.follows.is_some() {
        let record = rebuild(view, name, Reason::TailFound);
        let message = format!("{name} holds {errant:#}, which the parent never had: it owns nothing, it is cloned again");
        return Some(Decision::act(vec![Step::WriteRecord(Box::new(record))], Reason::TailFound, message));
    }
    let message = || {
        let primary = &view.record.primary;
        format!("{name} holds {errant:#}, which {primary} never had: somebody wrote there; take what you need, then annotate shardpair.io/discard-tail={name}")
    };
    (!errant.is_empty()).then(|| Decision::wait(Reason::ErrantTransactions, message()))
}

/// It serves. Towards Sync, or at rest in it.
fn proven(view: &View, name: &str, member: &Member, facts: &Facts) -> Option<Decision> {
    let primary = view.primary_answer().filter(|p| view.in_role(p))?;
    if let Some(wait) = somebody_wrote(view, name, facts, primary) {
        return Some(wait);
    }
    let prove = Step::ProveSync { primary: view.record.primary.clone(), standby: name.to_owned() };
    if view.record.mode == Mode::Sync {
        // `ack: Received`: after another boot of its node it must be proven complete again before it may be promoted.
        if view.settings.ack == Ack::Received && booted_since(view, name) && boot_of(member).is_some() {
            let mut record = view.record.clone();
            record.standby_boot = boot_of(member);
            let steps = vec![prove, Step::WriteRecord(Box::new(record))];
            return Some(Decision::act(steps, Reason::ProvingSync, format!("the node of {name} has rebooted: proven complete again")));
        }
        return None;
    }
    let missing = primary.executed.subtract(&facts.holds()).count();
    let idle = missing > 0 && facts.executed.contains(&facts.holds()) && facts.lag_seconds > Some(IDLE_SECONDS);
    if missing > CATCH_UP_TRANSACTIONS || idle {
        return Some(Decision::soon(Reason::CatchingUp, format!("{name} has {missing} transactions to receive")));
    }
    if let Some(compare) = returning::comparing(view, name, facts) {
        return Some(compare);
    }
    if split::drains_its_acker(view, primary) {
        return Some(Decision::soon(Reason::Draining, format!("{} applies what came from {name}, before its commits wait for it", view.record.primary)));
    }
    if !primary.source.enabled {
        let step = Step::RequireAcks { member: view.record.primary.clone() };
        return Some(Decision::act(vec![step], Reason::ProvingSync, format!("{}: commits wait for {name} from here on", view.record.primary)));
    }
    if primary.source.wait_count != 1 {
        // It can't be lowered while commits may wait: off first, where Solo allows it.
        let message = format!("{} waits for {} acknowledgements: lower rpl_semi_sync_source_wait_for_replica_count", view.record.primary, primary.source.wait_count);
        return relax_if_alone(view).or_else(|| Some(Decision::wait(Reason::AcksSwitchedOff, message)));
    }
    if primary.source.clients != 1 {
        return Some(Decision::soon(Reason::ProvingSync, format!("{} shows {} semi-sync clients, one is expected", view.record.primary, primary.source.clients)));
    }
    let mut record = view.next_record();
    record.mode = Mode::Sync;
    record.standby_boot = boot_of(member);
    let steps = vec![prove, Step::WriteRecord(Box::new(record))];
    Some(Decision::act(steps, Reason::ProvingSync, format!("{name} holds all that {} has", view.record.primary)))
}
