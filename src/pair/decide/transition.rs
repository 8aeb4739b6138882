//! A move that the record says has begun: go on with it, or give it up. Pure.
//!
//! Until the new primary is recorded, a failover may be given up (Abandon); after that the ordinary rules roll it
//! forward, since the record names who is who. A switchover runs in one step: found here again, it didn't finish.
//! A failover that can neither go on nor be given up waits for either member, or for a person's word.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{Verdict, View, failover, judge_primary, returning};
use crate::api::names;
use crate::mysql::gtid::GtidSet;
use crate::pair::facts::{Channel, Facts, ReceiverState};
use crate::pair::record::{Abandoned, Mode, MoveKind, Transition};
use crate::pair::settings::Ack;
use crate::pair::step::{Decision, Reason, Step};

/// Failovers kept in the record, for the limit.
const KEPT_FAILOVERS: usize = 10;

pub(super) fn decide(view: &View) -> Option<Decision> {
    let transition = view.record.transition.as_ref()?;
    Some(match transition.kind {
        MoveKind::Failover | MoveKind::PromoteWithDataLoss => promote(view, transition),
        MoveKind::Switchover => unfinished_switchover(view),
    })
}

/// Fence, drain, check, record: one step a pass, each seen before the next.
fn promote(view: &View, transition: &Transition) -> Decision {
    let to = &transition.to;
    let Some(facts) = view.answer(to) else {
        return give_up(view, transition, Reason::FailingOver, format!("{to} doesn't answer"));
    };
    // Invariant 3, again: what was promotable when the move began may have lost its relay log since.
    if transition.kind == MoveKind::Failover && view.settings.ack == Ack::Received && failover::booted_since(view, to) {
        return give_up(view, transition, Reason::StandbyRebooted, format!("the node of {to} has rebooted: it may lack what it had received"));
    }
    if let Some(first) = returning::before_promotion(view, to, facts) {
        return first;
    }
    let Some(channel) = &facts.channel else { return finish(view, transition, facts) };
    // Invariant 4: "connecting" is not stopped.
    if channel.receiver != ReceiverState::Off {
        let step = Step::StopReceiver { member: to.clone() };
        return Decision::act(vec![step], Reason::FailingOver, format!("{to} stops receiving: from here on {} can acknowledge nothing", view.record.primary));
    }
    if facts.source.enabled {
        // Its applier would wait for an acknowledgement that nobody gives.
        return Decision::act(vec![Step::RelaxAcks { member: to.clone() }], Reason::FailingOver, format!("{to} is no source yet"));
    }
    if let Some(drain) = drain(view, transition, facts, channel) {
        return drain;
    }
    finish(view, transition, facts)
}

/// Invariant 5: everything received is applied before the channel is touched.
fn drain(view: &View, transition: &Transition, facts: &Facts, channel: &Channel) -> Option<Decision> {
    let to = &transition.to;
    let left = channel.received.subtract(&facts.executed);
    if left.is_empty() {
        return None;
    }
    if !channel.applier_error.is_empty() {
        return Some(give_up(view, transition, Reason::ApplierError, format!("{to} can't apply what it received: {}", channel.applier_error)));
    }
    if !channel.applier_running {
        let step = Step::StartApplier { member: to.clone() };
        return Some(Decision::act(vec![step], Reason::Draining, format!("{to} applies what it received")));
    }
    Some(Decision::soon(Reason::Draining, format!("{to} has {} received transactions left to apply", left.count())))
}

fn finish(view: &View, transition: &Transition, facts: &Facts) -> Decision {
    let old = view.record.primary.clone();
    if transition.kind == MoveKind::Failover
        && let Some(missing) = missing_of_serving(view, facts)
    {
        let message = format!("{} lacks {missing}, which {old} had committed in Sync: look at both members", transition.to);
        return give_up(view, transition, Reason::Contradiction, message);
    }
    if transition.kind == MoveKind::Failover
        && let Some(more) = back_with_more(view, facts)
    {
        // Giving up loses nothing and clones nothing: it opens when its standby holds that too.
        return give_up(view, transition, Reason::FailingOver, format!("{old} is back and holds {more:#}, which {} lacks", transition.to));
    }
    let mut record = view.next_record();
    record.primary = transition.to.clone();
    record.standby = Some(old.clone());
    record.mode = Mode::Solo;
    record.standby_boot = None;
    (record.transition, record.rewind) = (None, None);
    if transition.kind == MoveKind::PromoteWithDataLoss {
        record.abandoned.retain(|a| a.member != old);
        record.abandoned.push(Abandoned { member: old.clone(), epoch: record.epoch });
        // Not before: until then the record may still hold that the other one was deposed.
        record.deposed = Some(failover::deposed(view, record.epoch));
    } else {
        record.recent_failovers.push(MicroTime(view.now));
        let excess = record.recent_failovers.len().saturating_sub(KEPT_FAILOVERS);
        record.recent_failovers.drain(..excess);
    }
    let message = format!("{} is the primary now, instead of {old}", transition.to);
    Decision::act(vec![Step::WriteRecord(Box::new(record))], Reason::Promoted, message)
}

/// What the old primary had committed *in the process that was serving*, and the new one lacks. After its restart the
/// un-acknowledged tail shows in `gtid_executed`: that isn't missing.
fn missing_of_serving(view: &View, to: &Facts) -> Option<String> {
    let old = view.primary()?.facts.as_ref()?;
    let serving = view.record.deposed.as_ref()?.process.as_ref()?;
    let known = view.record.member(&view.record.primary)?;
    if old.process != *serving || old.server_uuid != known.server_uuid {
        return None;
    }
    let missing = old.executed.subtract(&to.executed);
    (!missing.is_empty()).then(|| missing.to_string())
}

/// What the old primary, in a new process and closed, has beyond the member that was to take over.
fn back_with_more(view: &View, to: &Facts) -> Option<GtidSet> {
    let old = view.primary_answer().filter(|f| f.super_read_only)?;
    let serving = view.record.deposed.as_ref()?.process.as_ref();
    let more = old.executed.subtract(&to.executed);
    (serving != Some(&old.process) && !more.is_empty()).then_some(more)
}

/// Back to the old primary, if that is there again; else wait for either, or for a person's word.
fn give_up(view: &View, transition: &Transition, reason: Reason, why: String) -> Decision {
    let asked = view.seen.requests.promote_with_data_loss.as_deref();
    if view.primary_answer().is_none() {
        let unsure = transition.kind == MoveKind::Failover && matches!(reason, Reason::Contradiction | Reason::StandbyRebooted);
        if unsure && asked == Some(&transition.to) {
            return by_word(view, transition);
        }
        let mut message = format!("the failover can't go on: {why}; neither can {} be reached", view.record.primary);
        if unsure {
            message.push_str(&format!("; if that is lost for good: kubectl annotate shp … shardpair.io/promote-with-data-loss={}", transition.to));
        }
        return Decision::wait(reason, message);
    }
    let mut record = view.next_record();
    record.transition = None;
    // Another one that was deposed before stays so: its tail isn't known yet.
    record.deposed = record.deposed.filter(|d| d.member != record.primary);
    if reason == Reason::Contradiction {
        // It isn't in Sync, whatever the record said: proven again, or Solo.
        record.mode = Mode::Solo;
        record.standby_boot = None;
    }
    let mut steps = vec![Step::WriteRecord(Box::new(record))];
    if asked.is_some() {
        // Tried once, not for ever.
        steps.push(Step::ClearRequest { annotation: names::ASK_PROMOTE_WITH_DATA_LOSS });
    }
    let told = if reason == Reason::Contradiction { reason } else { Reason::Abandoned };
    Decision::act(steps, told, format!("failover given up: {why}; {} keeps its role", view.record.primary))
}

/// A person names the loss that the failover would not risk.
fn by_word(view: &View, transition: &Transition) -> Decision {
    let mut record = view.next_record();
    let reason = Reason::Requested.as_str().to_owned();
    record.transition = Some(Transition { kind: MoveKind::PromoteWithDataLoss, reason, ..transition.clone() });
    let message = format!("{} is promoted on request; what only {} holds is given up, and kept there", transition.to, view.record.primary);
    Decision::act(vec![Step::WriteRecord(Box::new(record))], Reason::Requested, message)
}

/// The old primary is still recorded: it gets its writes back, or, if it is gone by now, the failover begins.
fn unfinished_switchover(view: &View) -> Decision {
    if let Verdict::Gone(reason) = judge_primary(view)
        && failover::promotable(view).is_ok()
    {
        let record = failover::begin(view, MoveKind::Failover, reason);
        return Decision::act(vec![Step::WriteRecord(Box::new(record))], reason, "the primary went away during the switchover");
    }
    let mut record = view.next_record();
    record.transition = None;
    record.given_up_at = Some(MicroTime(view.now));
    let mut steps = vec![Step::WriteRecord(Box::new(record))];
    if view.seen.requests.switchover_to.is_some() {
        steps.push(Step::ClearRequest { annotation: names::ASK_SWITCHOVER_TO });
    }
    Decision::act(
        steps,
        Reason::SwitchoverGivenUp,
        format!("{} keeps its role and gets its writes back", view.record.primary),
    )
}
