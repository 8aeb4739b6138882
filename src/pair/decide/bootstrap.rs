//! The first roles. Pure.
//!
//! Two empty members: the first is the primary. Members with data (a cluster made again over kept volumes): the one that
//! holds everything the other holds; if neither does, a person must choose.

use super::{FRESH_MS, View};
use crate::pair::facts::{Facts, Member};
use crate::pair::record::{self, Mode, Record};
use crate::pair::step::{Decision, Reason, Step};

pub(super) fn decide(view: &View) -> Decision {
    let [first, second] = view.settings.members.as_slice() else {
        return Decision::wait(Reason::Provisioning, "the pair's spec doesn't name two members");
    };
    let (Some(a), Some(b)) = (ready(view, first), ready(view, second)) else {
        return Decision::wait(Reason::Provisioning, waiting_for(view, &[first, second]));
    };
    for (name, facts) in [(first, a.1), (second, b.1)] {
        if let Some(channel) = &facts.channel
            && !facts.executed.contains(&channel.received)
        {
            if !channel.applier_error.is_empty() {
                return Decision::wait(Reason::ApplierError, format!("{name} can't apply what it had received: {}", channel.applier_error));
            }
            let step = Step::StartApplier { member: name.clone() };
            return match channel.applier_running {
                true => Decision::soon(Reason::Draining, format!("{name} applies what it had received")),
                false => Decision::act(vec![step], Reason::Draining, format!("{name} applies what it had received")),
            };
        }
    }
    let (primary, standby) = if a.1.executed.contains(&b.1.executed) {
        (first, second)
    } else if b.1.executed.contains(&a.1.executed) {
        (second, first)
    } else {
        let message = format!("{first} and {second} hold different data and neither holds all of the other's; remove the volume of the one to be rebuilt");
        return Decision::wait(Reason::UnclearOrigin, message);
    };
    let mut record = Record { epoch: 1, primary: primary.clone(), standby: Some(standby.clone()), mode: Mode::Solo, ..Record::default() };
    // Epochs kept in MySQL go on from there.
    record.epoch += a.1.epoch.max(b.1.epoch).unwrap_or(0);
    for (name, (member, facts)) in [(first, a), (second, b)] {
        *record.member_mut(name) = record::Member {
            name: name.clone(),
            volume: member.volume.clone().unwrap_or_default(),
            server_uuid: facts.server_uuid.clone(),
            node: member.pod.as_ref().and_then(|p| p.node.clone()),
            ..record::Member::default()
        };
    }
    Decision::act(vec![Step::WriteRecord(Box::new(record))], Reason::Provisioning, format!("{primary} becomes the primary, {standby} its standby"))
}

/// A member that answers, closed to clients, on a known volume.
fn ready<'a>(view: &View<'a>, name: &str) -> Option<(&'a Member, &'a Facts)> {
    let member = view.seen.members.get(name)?;
    let facts = member.answer()?;
    (member.volume.is_some() && member.facts_age_ms <= FRESH_MS && facts.super_read_only).then_some((member, facts))
}

fn waiting_for(view: &View, names: &[&String]) -> String {
    let mut parts = Vec::new();
    for name in names {
        if ready(view, name).is_some() {
            continue;
        }
        let pod = view.seen.members.get(*name).and_then(|m| m.pod.as_ref());
        parts.push(match pod {
            None => format!("{name} has no pod yet"),
            Some(p) if !p.waiting.is_empty() => format!("{name}: {}", p.waiting),
            Some(_) => format!("{name} doesn't answer yet"),
        });
    }
    parts.join("; ")
}
