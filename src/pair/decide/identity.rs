//! Who is it? A member that doesn't match the record has no role, whatever its name (invariant 6). Pure.

use crate::pair::facts::Member;
use crate::pair::record::Record;

/// A member, held against the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Volume and `server_uuid` are the recorded ones.
    Match,
    /// The record doesn't know its volume and uuid yet: it is being provisioned.
    FirstSeen,
    /// Its claim isn't the recorded one: another volume, empty or foreign.
    OtherVolume,
    /// The volume is right, what answers on it is another server.
    OtherServer,
    /// Not enough is known to tell.
    Unknown,
}

/// Holds `member` against what the record says of `name`.
pub fn identity(record: &Record, member: &Member, name: &str) -> Identity {
    let Some(known) = record.member(name) else { return Identity::Unknown };
    if known.volume.is_empty() || known.server_uuid.is_empty() {
        return Identity::FirstSeen;
    }
    let Some(volume) = &member.volume else { return Identity::Unknown };
    if *volume != known.volume {
        return Identity::OtherVolume;
    }
    match &member.facts {
        None => Identity::Unknown,
        Some(facts) if facts.server_uuid == known.server_uuid => Identity::Match,
        Some(_) => Identity::OtherServer,
    }
}
