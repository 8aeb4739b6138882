//! What happens in the scripted world by itself: pods start, members replicate, time goes by; and what an operator sees of it.

use jiff::SignedDuration;
use shardpair::mysql::gtid::GtidSet;
use shardpair::pair::decide::{View, of_use};
use shardpair::pair::facts::{Channel, Contact, Facts, Member, Pod, ReceiverState};

use super::world::{Body, World, letter, uuid_of};

impl World {
    /// All that happens by itself within milliseconds.
    pub fn settle(&mut self) {
        self.now += SignedDuration::from_millis(5);
        let mut everybody = Vec::new();
        for _ in 0..2 {
            everybody.extend(self.named());
            self.swap();
        }
        let highest = everybody.iter().filter_map(|n| n[1..].parse::<u32>().ok()).max().unwrap_or(0);
        for _ in 0..2 {
            let next: u32 = self.seen.next_member[1..].parse().unwrap_or(2);
            self.seen.next_member = format!("m{}", next.max(highest + 1));
            for name in self.named() {
                self.ensure(&name);
            }
            let named = self.named();
            self.seen.members.retain(|name, _| named.contains(name));
            self.swap();
        }
        // The cluster's controller takes the pod of a member that was replaced; its volume stays.
        self.bodies.retain(|name, _| everybody.contains(name));
        let names: Vec<String> = self.bodies.keys().cloned().collect();
        for name in &names {
            self.finish_clone(name);
            if !self.bodies[name].alive && self.bodies[name].returns {
                self.boot(name);
                self.new_pod(name);
            }
        }
        for _ in 0..2 {
            names.iter().for_each(|name| self.replicate(name));
        }
        names.iter().for_each(|name| self.count(name));
        for _ in 0..2 {
            self.look();
            self.swap();
        }
        self.look_over();
    }

    fn named(&self) -> Vec<String> {
        let recorded = [Some(self.record.primary.clone()), self.record.standby.clone()];
        let mut all: Vec<String> = self.settings.members.iter().cloned().chain(recorded.into_iter().flatten()).filter(|n| !n.is_empty()).collect();
        all.sort();
        all.dedup();
        all
    }

    fn ensure(&mut self, name: &str) {
        if !self.settings.members.iter().any(|m| m == name) && !self.bodies.contains_key(name) {
            // In the record and not in the spec: nobody makes its pod.
            self.seen.members.entry(name.to_owned()).or_default();
            return;
        }
        if self.bodies.contains_key(name) && !self.seen.members.contains_key(name) {
            // A member that changes pairs.
            let known = self.parked.as_ref().and_then(|p| p.seen.members.get(name)).cloned().unwrap_or_default();
            self.seen.members.insert(name.to_owned(), known);
        }
        if !self.bodies.contains_key(name) {
            let facts = Facts { server_uuid: uuid_of(letter(name)), version: "9.7.4".into(), ..Facts::default() };
            self.bodies.insert(name.to_owned(), Body { kernel: 1, facts, ..Body::default() });
            let pod = Pod { uid: format!("pod-{name}.0"), node: Some(name.replace('m', "n")), node_boot: Some("boot1".into()), node_ready: true, ..Pod::default() };
            let member = Member { pod: Some(pod), volume: Some(format!("v-{name}")), address: Some(format!("svc-{name}")), facts_age_ms: u64::MAX, ..Member::default() };
            self.seen.members.insert(name.to_owned(), member);
            self.new_pod(name);
            self.boot(name);
        }
    }

    fn finish_clone(&mut self, name: &str) {
        let Some(donor) = self.bodies[name].cloning.clone() else { return };
        if !self.bodies[name].alive || self.bodies[name].deaf || !self.bodies.get(&donor).is_some_and(|d| d.alive && !d.hung) {
            return;
        }
        let (executed, guard) = (self.bodies[&donor].facts.executed.clone(), self.bodies[&donor].facts.guard.clone());
        let epoch = self.bodies[&donor].facts.epoch.filter(|_| self.same_pair(name, &donor));
        let (self_undone, rewound) = (self.bodies[&donor].undone.clone(), self.bodies[&donor].facts.rewound);
        let body = self.body(name);
        body.cloning = None;
        (body.pending, body.undone, body.differs) = (GtidSet::default(), self_undone, false);
        let facts = &mut body.facts;
        (facts.purged, facts.executed, facts.epoch) = (executed.clone(), executed, epoch);
        (facts.rebuild_marker, facts.channel, facts.guard, facts.rewound) = (false, None, guard, rewound);
        (facts.filters, facts.foreign_channels) = (0, 0);
        self.boot(name);
    }

    fn same_pair(&self, a: &str, b: &str) -> bool {
        let of = |r: &shardpair::pair::record::Record, n: &str| r.primary == n || r.standby.as_deref() == Some(n);
        let theirs = self.parked.as_ref().map(|p| &p.record);
        of(&self.record, a) && of(&self.record, b) || theirs.is_some_and(|r| of(r, a) && of(r, b))
    }

    fn linked(&self, a: &str, b: &str) -> bool {
        [a, b].iter().all(|n| self.bodies.get(*n).is_some_and(|b| b.alive && !b.hung && !b.unlinked))
    }

    /// One member's two threads.
    fn replicate(&mut self, name: &str) {
        let Some(mut channel) = self.bodies[name].facts.channel.clone() else { return };
        if !self.bodies[name].alive || self.bodies[name].hung {
            return;
        }
        let source = channel.source_host.trim_start_matches("svc-").to_owned();
        if channel.receiver != ReceiverState::Off {
            if self.linked(name, &source) {
                self.receive(name, &source, &mut channel);
            } else if !self.bodies.get(&source).is_some_and(|s| s.alive) {
                channel.receiver = ReceiverState::Connecting;
                channel.receiver_error = "2003: Can't connect".into();
            }
        }
        let breaks = self.bodies[name].breaks.clone();
        // What it applies waits for its own acker.
        let own = &self.bodies[name].facts.source;
        let left = channel.received.subtract(&self.bodies[name].facts.executed);
        // An acker that has it already is never sent it, and acknowledges nothing of it, but with the next write of an open primary.
        let host = format!("svc-{name}");
        let acker = self.bodies.values().find(|b| b.facts.replica_enabled && b.facts.channel.as_ref().is_some_and(|c| c.source_host == host));
        let stuck = own.enabled && !left.is_empty() && (own.clients == 0 || self.bodies[name].facts.super_read_only && acker.is_some_and(|a| a.facts.executed.contains(&left)));
        if stuck || self.bodies[name].slow {
            self.body(name).facts.channel = Some(channel);
            return;
        }
        if channel.applier_running && channel.applier_error.is_empty() {
            match breaks {
                Some(error) if !self.bodies[name].facts.executed.contains(&channel.received) => (channel.applier_running, channel.applier_error) = (false, error),
                _ => self.body(name).facts.executed = self.bodies[name].facts.executed.union(&channel.received),
            }
        }
        let applied = self.bodies[name].facts.executed.contains(&channel.received) && channel.receiver == ReceiverState::On;
        if applied && self.bodies[name].facts.super_read_only && self.same_pair(name, &source) {
            self.body(name).facts.epoch = self.bodies[name].facts.epoch.max(self.bodies[&source].facts.epoch);
        }
        self.body(name).facts.channel = Some(channel);
    }

    fn receive(&mut self, name: &str, source: &str, channel: &mut Channel) {
        if let Some(error) = &self.bodies[name].refused {
            (channel.receiver, channel.receiver_error) = (ReceiverState::Off, error.clone());
            return;
        }
        let from = &self.bodies[source];
        let (own, held) = (&self.bodies[name].facts, self.bodies[name].facts.executed.union(&channel.received));
        if !held.contains(&from.facts.purged) {
            (channel.receiver, channel.receiver_error) = (ReceiverState::Off, "13114: the source has purged what is needed".into());
            return;
        }
        // It ignores what it wrote itself.
        let new = from.facts.executed.union(&from.pending).subtract(&own.executed).subtract(&self.bodies[name].pending);
        let (acks, uuid) = (own.replica_enabled, from.facts.server_uuid.clone());
        (channel.receiver, channel.source_uuid, channel.silent_ms) = (ReceiverState::On, uuid, Some(0));
        channel.receiver_error.clear();
        if self.bodies[name].deaf {
            return;
        }
        channel.received = channel.received.union(&new);
        self.body(name).lag_ms = 0;
        if acks {
            self.release(source);
        }
    }

    /// Semi-sync clients, waiting commits, the heartbeat row.
    fn count(&mut self, name: &str) {
        let host = format!("svc-{name}");
        let clients = self.bodies.iter().filter(|(other, b)| {
            b.facts.replica_enabled && self.linked(name, other) && b.facts.channel.as_ref().is_some_and(|c| c.source_host == host && c.receiver == ReceiverState::On)
        });
        let clients = clients.count() as u32;
        let parked = self.parked.as_ref().map(|p| &p.record).filter(|r| r.primary == name);
        let record = parked.unwrap_or(&self.record);
        let (epoch, primary) = (record.epoch, record.primary == name);
        let body = self.body(name);
        body.facts.source.clients = clients + body.strangers;
        let was_held = body.held;
        body.held &= body.facts.source.enabled && clients == 0;
        if !body.pending.is_empty() || body.held {
            body.facts.source.waiting = body.facts.source.waiting.max(1);
        } else if was_held {
            body.facts.source.waiting = 0;
        }
        let beats = primary && !body.facts.super_read_only && body.facts.epoch.is_some();
        let lag_ms = if beats { body.behind_ms } else { body.lag_ms + body.behind_ms };
        body.facts.lag_seconds = (body.facts.channel.is_some() && body.facts.epoch.is_some()).then_some(lag_ms as i64 / 1000);
        if beats && body.alive && !body.hung {
            body.facts.epoch = body.facts.epoch.max(Some(epoch));
        }
    }

    /// What the operator sees of all this.
    pub fn look(&mut self) {
        for (name, body) in &self.bodies {
            let Some(member) = self.seen.members.get_mut(name) else { continue };
            if body.unasked {
                (member.contact, member.facts) = (Contact::Never, None);
                continue;
            }
            let answers = body.alive && !body.hung && !body.unseen;
            let silent = body.alive && (body.hung || body.unseen);
            if answers {
                if !matches!(member.contact, Contact::Refused(_)) {
                    member.contact = Contact::Answering;
                }
                (member.facts, member.facts_age_ms) = (Some(body.facts.clone()), 0);
                if let (Some(facts), Some(_)) = (&mut member.facts, &body.cloning) {
                    facts.cloning = Some((512 << 20, 1024 << 20));
                }
            } else if silent && !matches!(member.contact, Contact::Silent { .. }) {
                member.contact = Contact::Silent { for_ms: 0 };
            } else if !body.alive && !matches!(member.contact, Contact::Broken { .. }) {
                member.contact = Contact::Broken { for_ms: 70, refused: true };
            }
            let writes_wait = body.stuck || !body.pending.is_empty();
            member.beat.pending_ms = writes_wait.then(|| member.beat.pending_ms.unwrap_or(1));
        }
        self.remember_serving();
    }

    fn remember_serving(&mut self) {
        let Some(name) = self.record.standby.clone() else { return };
        let view = View { record: &self.record, settings: &self.settings, seen: &self.seen, now: self.now };
        let serves = view.standby_answer().is_some_and(|facts| of_use(&view, facts));
        if let Some(member) = self.seen.members.get_mut(&name) {
            member.not_serving_ms = if serves { 0 } else { member.not_serving_ms.max(1) };
        }
    }

    /// Time goes by.
    pub fn wait(&mut self, ms: u64) {
        self.now += SignedDuration::from_millis(ms as i64);
        let sides = self.seen.members.values_mut().chain(self.parked.iter_mut().flat_map(|p| p.seen.members.values_mut()));
        for member in sides {
            if let Contact::Broken { for_ms, .. } | Contact::Silent { for_ms } = &mut member.contact {
                *for_ms += ms;
            }
            if member.contact != Contact::Answering {
                member.facts_age_ms = member.facts_age_ms.saturating_add(ms);
            }
            if member.not_serving_ms > 0 {
                member.not_serving_ms += ms;
            }
            member.beat.pending_ms = member.beat.pending_ms.map(|p| p + ms);
        }
        let names: Vec<String> = self.bodies.keys().cloned().collect();
        for name in names {
            let Some(source) = self.bodies[&name].facts.channel.as_ref().map(|c| c.source_host.trim_start_matches("svc-").to_owned()) else { continue };
            let linked = self.linked(&name, &source);
            self.body(&name).lag_ms += ms;
            let channel = self.body(&name).facts.channel.as_mut().expect("seen above");
            if !linked && channel.receiver == ReceiverState::Connecting && ms >= 1_000 {
                channel.receiver_error = "2003: Can't connect".into();
            }
            if !linked && channel.receiver == ReceiverState::On {
                let silent = channel.silent_ms.unwrap_or(0) + ms;
                channel.silent_ms = Some(silent);
                if silent >= 2_000 {
                    channel.receiver = ReceiverState::Connecting;
                }
            }
        }
        self.settle();
    }
}
