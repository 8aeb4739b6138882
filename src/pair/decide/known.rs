//! A member that isn't, or isn't yet, the one that the record knows. Pure (invariant 6).

use super::{FRESH_MS, Identity, View, identity, standby};
use crate::pair::facts::Member;
use crate::pair::record::Record;
use crate::pair::settings::Durability;
use crate::pair::step::{Decision, Reason, Step};

/// Not the member that the record knows: no role. One whose volume was replaced is made anew, while the primary is well.
pub(super) fn who(view: &View, name: &str, member: &Member) -> Option<Decision> {
    match identity(view.record, member, name) {
        Identity::Match | Identity::Unknown => None,
        Identity::FirstSeen => Some(first_seen(view, name, member)),
        Identity::OtherVolume => {
            // With Required a primary that came back stays closed for want of this very standby: it is cloned from all the same.
            let required = view.settings.durability == Durability::Required && view.record.follows.is_none();
            let healthy = view.primary_answer().is_some_and(|p| view.in_role(p) || required);
            if !healthy {
                return Some(Decision::wait(Reason::ForeignMember, format!("{name} has another volume than recorded; it is made anew when the primary is open")));
            }
            let record = made_anew(view, name, Reason::VolumeLost);
            Some(Decision::act(vec![Step::WriteRecord(Box::new(record))], Reason::VolumeLost, format!("{name} has a new volume: it is provisioned and cloned")))
        }
        Identity::OtherServer => Some(Decision::wait(
            Reason::ForeignMember,
            format!("{name} answers with another server_uuid than recorded: its data directory was replaced; annotate shardpair.io/rebuild={name} to have it cloned"),
        )),
    }
}

/// A new member is known by its volume and server_uuid from here on.
pub(super) fn first_seen(view: &View, name: &str, member: &Member) -> Decision {
    let (Some(volume), Some(facts)) = (&member.volume, member.answer().filter(|_| member.facts_age_ms <= FRESH_MS)) else {
        return Decision::wait(Reason::Rebuilding, format!("{name} is being provisioned"));
    };
    let mut record = view.record.clone();
    let known = record.member_mut(name);
    known.volume = volume.clone();
    known.server_uuid = facts.server_uuid.clone();
    known.node = member.pod.as_ref().and_then(|p| p.node.clone());
    Decision::act(vec![Step::WriteRecord(Box::new(record))], Reason::Rebuilding, format!("{name} is known by its volume and server_uuid"))
}

/// The record with a standby that starts from nothing.
pub(super) fn made_anew(view: &View, name: &str, reason: Reason) -> Record {
    let mut record = standby::rebuild(view, name, reason);
    let known = record.member_mut(name);
    known.volume.clear();
    known.server_uuid.clear();
    // What it held is gone with its volume.
    record.deposed = record.deposed.filter(|d| d.member != name);
    record.abandoned.retain(|a| a.member != name);
    record
}
