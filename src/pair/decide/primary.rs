//! The recorded primary's own role, and the VIP. Pure.
//!
//! A member gets its role from the record, never from its own memory (invariant 6). One that comes back (Resume) opens
//! when its commits wait again and the standby holds all it has executed, or in Solo: so nobody reads rows that a
//! failover would take back.

use super::{Identity, View, identity, open, split, standby};
use crate::pair::facts::{Facts, Member};
use crate::pair::record::Mode;
use crate::pair::settings::Durability;
use crate::pair::step::{Decision, Reason, Step};

pub(super) fn decide(view: &View) -> Option<Decision> {
    let name = &view.record.primary;
    let member = view.primary()?;
    if matches!(identity(view.record, member, name), Identity::OtherVolume | Identity::OtherServer) {
        return Some(Decision::wait(
            Reason::ForeignMember,
            format!("{name} has another volume or server_uuid than recorded: it gets no role; bring its volume back, or promote the standby"),
        ));
    }
    let Some(facts) = view.primary_answer() else {
        return Some(Decision::wait(Reason::AwaitingEvidence, format!("{name} doesn't answer")));
    };
    if let Some(lost) = gone_back(view, facts) {
        return Some(lost);
    }
    match view.record.mode {
        Mode::Sync => in_sync(view, name, facts),
        Mode::Solo => in_solo(view, name, facts),
    }
    .or_else(|| vip(view, name, member, facts))
}

fn acks(facts: &Facts) -> bool {
    facts.source.enabled && facts.source.on && facts.source.wait_count == 1 && !facts.source.altered
}

/// Its standby holds transactions that this server itself wrote and no longer has: its data went back in time (a restored
/// snapshot, a disk that lied). Opened, it would give their numbers to other transactions.
fn gone_back(view: &View, facts: &Facts) -> Option<Decision> {
    let (standby, _) = view.standby()?;
    let held = view.standby_answer()?.holds();
    let lost = held.subtract(&facts.executed);
    let lost = lost.subtract(&lost.without_source(&facts.server_uuid));
    // While it is writable, a commit that waits is on the standby first.
    if lost.is_empty() || !facts.super_read_only || facts.source.waiting > 0 {
        return None;
    }
    let name = &view.record.primary;
    let message = format!(
        "{name} lacks {lost:#}, which it wrote itself and {standby} holds: its data went back in time, it isn't opened; to go on with {standby}: kubectl annotate shp … shardpair.io/promote-with-data-loss={standby}"
    );
    Some(Decision::wait(Reason::Contradiction, message))
}

fn in_sync(view: &View, name: &str, facts: &Facts) -> Option<Decision> {
    if open(facts) && acks(facts) {
        return None;
    }
    if !facts.super_read_only {
        if acks(facts) {
            // Writable, but clients are kept out.
            return Some(resume(view, name, facts));
        }
        // Invariant 1 was broken by hand: what it acknowledged meanwhile nobody else need have.
        let mut record = view.next_record();
        record.mode = Mode::Solo;
        record.standby_boot = None;
        let steps = vec![Step::WriteRecord(Box::new(record)), Step::RequireAcks { member: name.to_owned() }];
        return Some(Decision::act(steps, Reason::AcksSwitchedOff, format!("acknowledgements on {name} were changed by hand, it may have gone on without its standby: Sync must be proven again")));
    }
    if !acks(facts) {
        let step = Step::RequireAcks { member: name.to_owned() };
        return Some(Decision::act(vec![step], Reason::Resuming, format!("{name} is back: its commits shall wait for the standby")));
    }
    Some(resume(view, name, facts))
}

/// Its commits wait; does the standby hold everything?
fn resume(view: &View, name: &str, facts: &Facts) -> Decision {
    let held = view.standby_answer().is_some_and(|s| standby::receives(view, s) && s.holds().contains(&facts.executed));
    if held {
        return open_and_point(view, name, true, Reason::Resuming);
    }
    // The standby's own rules find out what it lacks; past soloAfter they record Solo.
    match standby::decide(view) {
        Some(decision) if !decision.steps.is_empty() => decision,
        wait => {
            let decision = Decision::soon(Reason::AwaitingStandby, format!("{name} opens when its standby holds all it has"));
            wait.into_iter().fold(decision, |decision, w| decision.with(w.note))
        }
    }
}

fn in_solo(view: &View, name: &str, facts: &Facts) -> Option<Decision> {
    let ack = view.settings.durability == Durability::Required;
    if open(facts) {
        // Required was chosen, or somebody switched them off.
        let step = Step::RequireAcks { member: name.to_owned() };
        return (ack && !facts.source.enabled)
            .then(|| Decision::act(vec![step], Reason::WritesStalled, format!("durability Required: commits on {name} wait for a standby")));
    }
    // A clone doesn't come while commits wait, so none may begin to (`returning::free_donor`).
    if ack && view.record.rebuild.is_some() {
        return None;
    }
    Some(open_and_point(view, name, ack, Reason::Resuming))
}

fn open_and_point(view: &View, name: &str, ack: bool, reason: Reason) -> Decision {
    let mut steps = match split::before_open(view, name) {
        Ok(guard) => guard,
        Err(wait) => return wait,
    };
    // The link of a split goes on in a primary that comes back.
    let channel = view.primary_answer().and_then(|p| p.channel.as_ref());
    let linked = channel.is_some_and(|c| split::leads_to_other(view, c));
    steps.push(Step::OpenPrimary { member: name.to_owned(), ack, linked });
    if view.primary().is_some_and(|m| !points_at(view, m)) {
        steps.push(Step::PointVip { member: name.to_owned() });
    }
    Decision::act(steps, reason, format!("{name} opens as the primary"))
}

fn points_at(view: &View, member: &Member) -> bool {
    let ip = member.pod.as_ref().and_then(|p| p.ip.as_deref());
    ip.is_none() || view.seen.vip.points_to.as_deref() == ip
}

/// Follows the open primary: its pod's address changes when the pod is made anew.
fn vip(view: &View, name: &str, member: &Member, facts: &Facts) -> Option<Decision> {
    if points_at(view, member) {
        return facts.epoch.is_none().then(|| provision(view, name, facts)).flatten();
    }
    let step = Step::PointVip { member: name.to_owned() };
    Some(Decision::act(vec![step], Reason::MovingVip, format!("the VIP follows {name}")))
}

/// Our schema, the databases, the account: once, when nothing can wait for an acknowledgement that nobody gives.
pub(super) fn provision(view: &View, name: &str, facts: &Facts) -> Option<Decision> {
    // Account statements would go over the link, and take back what the guard took: when the split is over.
    if view.settings.split.is_some() {
        return None;
    }
    let needed = facts.epoch.is_none() || view.seen.unprovisioned;
    if !needed || !open(facts) || facts.source.waiting > 0 || (facts.source.enabled && facts.source.clients == 0) {
        return None;
    }
    Some(Decision::act(vec![Step::Provision { member: name.to_owned() }], Reason::Provisioning, format!("databases and accounts are made on {name}")))
}
