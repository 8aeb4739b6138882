//! What may never be in the simulated world, whatever happens, of one pair or of each of the two of a split (`split::laws` has
//! what is of both). Numbers are the invariants of docs/failover.md.

use super::script::{index, name};
use super::server::Receiver;
use super::split::guard::{MOVES, STAYS};
use super::split::pairs::{Glance, in_words};
use super::world::{Host, World};
use crate::pair::record::Mode;
use crate::pair::settings::Ack;

impl World {
    /// Is this the member of which Sync was recorded, and has its relay log survived?
    pub fn complete(&self, pair: &Glance, standby: &str) -> bool {
        let Some(host) = self.hosts.get(&index(standby)) else { return false };
        let known = pair.record.member(standby).is_some_and(|m| m.volume == format!("v{}", host.server.volume));
        let boot = pair.record.standby_boot.as_deref().and_then(|b| b.rsplit_once("/k")).and_then(|(_, k)| k.parse().ok());
        known && (boot == Some(host.server.kernel) || pair.settings.ack == Ack::Flushed)
    }

    /// The first law that is broken.
    pub fn wrong(&self) -> Option<String> {
        let of_each = |pair: &Glance| self.lost(pair).or_else(|| self.tail(pair)).or_else(|| self.unproven(pair));
        self.broken.clone().or_else(|| self.glances().iter().find_map(of_each)).or_else(|| self.two_ackers()).or_else(|| self.opened())
    }

    fn lost(&self, pair: &Glance) -> Option<String> {
        let primary = self.hosts.get(&index(&pair.record.primary)).map(|h| h.server)?;
        let lost = self.due(pair, self.acked).without(primary.rows());
        let counts = pair.record.transition.is_none() && primary.open() && !lost.is_empty();
        counts.then(|| format!("acknowledged writes are lost: {}", self.log.words(lost)))
    }

    fn tail(&self, pair: &Glance) -> Option<String> {
        let freed = self.acked.and(self.dead);
        if !freed.is_empty() {
            return Some(format!("told OK by a deposed primary (4): {}", self.log.words(freed)));
        }
        // What a link brought before it was cut for good is deleted with all that the pair doesn't own.
        let back = self.due(pair, self.hosts.get(&index(&pair.record.primary))?.server.keeps().and(self.dead));
        (!back.is_empty()).then(|| format!("a tail flows back (8, 9): {} has {}", pair.record.primary, self.log.words(back)))
    }

    fn unproven(&self, pair: &Glance) -> Option<String> {
        let standby = pair.record.standby.as_ref().filter(|s| pair.record.mode == Mode::Sync && self.complete(pair, s))?;
        let missing = self.due(pair, self.acked).without(self.hosts[&index(standby)].server.keeps());
        (!missing.is_empty()).then(|| format!("Sync, and {standby} lacks (1, 2): {}", self.log.words(missing)))
    }

    fn two_ackers(&self) -> Option<String> {
        // Where a person gave a member's writes up, it may still be there.
        if self.glances().iter().any(|pair| !pair.record.abandoned.is_empty()) {
            return None;
        }
        let of_class = |class| {
            let both: Vec<String> = self.hosts.keys().filter(|m| self.accepts(**m, class) && self.can_acknowledge(**m)).map(|m| name(*m)).collect();
            (both.len() > 1).then(|| format!("{} can both acknowledge (1, 4, 12)", both.join(" and ")))
        };
        of_class(STAYS).or_else(|| of_class(MOVES))
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
        let of_pair = |g: &Glance| format!("{} {}: {} {:?}{}", if self.parked.is_some() { g.name } else { "record" }, g.record.epoch, g.record.primary, g.record.mode, in_words(g.record));
        let mut parts: Vec<String> = self.glances().iter().map(of_pair).collect();
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
            if let Some(guard) = s.guard {
                text.push_str(&format!(", guard {}{}", if guard.accepts(STAYS) { "s" } else { "-" }, if guard.accepts(MOVES) { "m" } else { "-" }));
            }
            parts.push(text);
        }
        if !self.moving.is_empty() {
            parts.push(format!("keys that move: {}", self.log.words(self.moving)));
        }
        parts.push(format!("told OK: {}", self.log.words(self.acked)));
        parts.join("; ")
    }
}
