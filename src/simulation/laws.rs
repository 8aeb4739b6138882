//! What may never be in the simulated world, whatever happens. Numbers are the invariants of docs/failover.md.

use super::script::{index, name};
use super::server::Receiver;
use super::world::{Host, World};
use crate::pair::record::Mode;
use crate::pair::settings::Ack;

impl World {
    /// Is this the member of which Sync was recorded, and has its relay log survived?
    pub fn complete(&self, standby: &str) -> bool {
        let Some(host) = self.hosts.get(&index(standby)) else { return false };
        let known = self.record.member(standby).is_some_and(|m| m.volume == format!("v{}", host.server.volume));
        let boot = self.record.standby_boot.as_deref().and_then(|b| b.rsplit_once("/k")).and_then(|(_, k)| k.parse().ok());
        known && (boot == Some(host.server.kernel) || self.settings.ack == Ack::Flushed)
    }

    /// The first law that is broken.
    pub fn wrong(&self) -> Option<String> {
        self.lost().or_else(|| self.tail()).or_else(|| self.unproven()).or_else(|| self.two_ackers())
    }

    fn lost(&self) -> Option<String> {
        let primary = self.hosts.get(&index(&self.record.primary)).map(|h| h.server)?;
        let lost = self.acked.without(primary.rows());
        let counts = self.record.transition.is_none() && primary.open() && !lost.is_empty();
        counts.then(|| format!("acknowledged writes are lost: {}", self.log.words(lost)))
    }

    fn tail(&self) -> Option<String> {
        let freed = self.acked.and(self.dead);
        if !freed.is_empty() {
            return Some(format!("told OK by a deposed primary (4): {}", self.log.words(freed)));
        }
        let back = self.hosts.get(&index(&self.record.primary))?.server.keeps().and(self.dead);
        (!back.is_empty()).then(|| format!("a tail flows back (8, 9): {} has {}", self.record.primary, self.log.words(back)))
    }

    fn unproven(&self) -> Option<String> {
        let standby = self.record.standby.as_ref().filter(|s| self.record.mode == Mode::Sync && self.complete(s))?;
        let missing = self.acked.without(self.hosts[&index(standby)].server.keeps());
        (!missing.is_empty()).then(|| format!("Sync, and {standby} lacks (1, 2): {}", self.log.words(missing)))
    }

    fn two_ackers(&self) -> Option<String> {
        let both: Vec<String> = self.hosts.keys().filter(|m| self.can_acknowledge(**m)).map(|m| name(*m)).collect();
        // Where a person gave a member's writes up, it may still be there.
        (both.len() > 1 && self.record.abandoned.is_empty()).then(|| format!("{} can both acknowledge (1, 4)", both.join(" and ")))
    }

    /// Could a client be told OK there, now or as soon as links heal?
    fn can_acknowledge(&self, member: u8) -> bool {
        let server = &self.hosts[&member].server;
        let may = |(f, host): &(&u8, &Host)| {
            let s = &host.server;
            let acks = match s.receiver {
                Receiver::Off => false,
                Receiver::Connecting => s.acker,
                Receiver::On => s.acknowledges,
            };
            **f != member && s.alive && s.source == Some(member) && acks
        };
        server.open() && (!server.acks || self.hosts.iter().filter(may).count() >= usize::from(server.wait_count))
    }

    /// Each member in a few words.
    pub fn state(&self) -> String {
        let mut parts = vec![format!("record {}: {} {:?}", self.record.epoch, self.record.primary, self.record.mode)];
        for (member, host) in &self.hosts {
            let s = &host.server;
            let life = match (s.alive, s.hung, s.open()) {
                (false, ..) => "dead",
                (_, true, _) => "hung",
                (_, _, true) => "open",
                _ => "closed",
            };
            let mut text = format!("{} {life}, has {}", name(*member), self.log.words(s.executed));
            for (set, what) in [(s.pending, "waits"), (s.undrained(), "received"), (s.undone, "undone")] {
                if !set.is_empty() {
                    text.push_str(&format!(", {what} {}", self.log.words(set)));
                }
            }
            parts.push(text);
        }
        parts.push(format!("told OK: {}", self.log.words(self.acked)));
        parts.join("; ")
    }
}
