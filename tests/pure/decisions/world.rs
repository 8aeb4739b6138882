//! A small scripted world: members that replicate, wait for acknowledgements, die and come back, as MySQL was seen to do
//! (docs of the measurements: sections 1-4, 7). It carries out the steps of a decision and shows what an operator would see.
//! It keeps count of what clients were told is safe, so that a lost acknowledged write is found wherever it happens.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use shardpair::mysql::gtid::{GtidSet, Uuid};
use shardpair::pair::decide::{View, serving};
use shardpair::pair::facts::{Channel, Contact, Facts, Member, Observation, Pod, ReceiverState, SourceSide};
use shardpair::pair::record::{self, Mode, Record};
use shardpair::pair::settings::Settings;

/// One member as it is, whatever the operator can see of it.
#[derive(Clone, Debug, Default)]
pub struct Body {
    /// The process lives.
    pub alive: bool,
    /// It lives and does nothing.
    pub hung: bool,
    /// The operator can't reach it.
    pub unseen: bool,
    /// Its peer can't reach it.
    pub unlinked: bool,
    /// The entry script starts it again.
    pub returns: bool,
    pub facts: Facts,
    /// In the binary log, waiting for an acknowledgement: not in `gtid_executed` yet.
    pub pending: GtidSet,
    /// Semi-sync clients that no record names.
    pub strangers: u32,
    /// The applier stops with this error as soon as it runs.
    pub breaks: Option<String>,
    /// A CLONE from there runs.
    pub cloning: Option<String>,
    /// Its receiver stays connected and receives nothing (a full disk).
    pub deaf: bool,
    /// Its receiver stops with this error as soon as it connects.
    pub refused: Option<String>,
    /// No write returns (a hung disk, a lock).
    pub stuck: bool,
    /// Its applier is this far behind.
    pub behind_ms: u64,
    /// Since it last received anything.
    pub lag_ms: u64,
    /// Processes so far.
    pub processes: u32,
    pub kernel: u32,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct World {
    pub now: Timestamp,
    pub settings: Settings,
    pub record: Record,
    pub seen: Observation,
    pub bodies: BTreeMap<String, Body>,
    /// What clients got an OK for.
    pub acked: GtidSet,
    /// Every tail that was saved.
    pub saved: Vec<(String, GtidSet)>,
    /// A switchover stops with a surprise before this step (1: closing the old primary, …).
    pub switchover_fails_at: Option<u32>,
    /// Steps that may still be carried out before the operator is killed.
    pub fuel: Option<u32>,
    pub spent: u32,
}

/// `A` for m0, `B` for m1, …: the letter that stands for a member's server_uuid.
pub fn uuid_of(letter: char) -> String {
    format!("0000000{}-0000-0000-0000-000000000000", letter.to_ascii_lowercase())
}

pub fn letter(member: &str) -> char {
    let k: u8 = member.trim_start_matches('m').parse().unwrap_or(5);
    (b'A' + k) as char
}

/// `A:1-3,B:4` with letters for uuids.
pub fn gtids(text: &str) -> GtidSet {
    if text == "nothing" {
        return GtidSet::default();
    }
    let spelled: Vec<String> = text.split(',').map(str::trim).map(|part| format!("{}{}", uuid_of(part.chars().next().unwrap_or('?')), &part[1..])).collect();
    GtidSet::parse(&spelled.join(",")).unwrap_or_else(|e| panic!("{text}: {e}"))
}

impl World {
    /// Two members that were never used.
    pub fn new() -> Self {
        let mut world = Self {
            now: "2026-01-01T03:00:00Z".parse().expect("a time"),
            settings: Settings { members: vec!["m0".into(), "m1".into()], ..Settings::default() },
            record: Record::default(),
            seen: Observation { next_member: "m2".into(), ..Observation::default() },
            bodies: BTreeMap::new(),
            acked: GtidSet::default(),
            saved: Vec::new(),
            switchover_fails_at: None,
            fuel: None,
            spent: 0,
        };
        world.settle();
        world
    }

    /// m0 the primary, m1 its standby, A:1-100 on both, at rest in Sync.
    pub fn in_sync() -> Self {
        let mut world = Self::new();
        for name in ["m0", "m1"] {
            let facts = &mut world.body(name).facts;
            facts.executed = gtids("A:1-100");
            facts.epoch = Some(7);
            facts.offline_mode = false;
        }
        world.acked = gtids("A:1-100");
        let members = ["m0", "m1"].map(|name| record::Member {
            name: name.into(),
            volume: format!("v-{name}"),
            server_uuid: uuid_of(letter(name)),
            node: Some(name.replace('m', "n")),
            ..Default::default()
        });
        world.record = Record { epoch: 7, primary: "m0".into(), standby: Some("m1".into()), mode: Mode::Sync, members: members.into(), standby_boot: Some("boot1/k1".into()), ..Record::default() };
        world.open("m0", true);
        world.connect("m1", "m0", true);
        world.connect("m0", "m1", false);
        world.seen.vip.points_to = world.seen.members["m0"].pod.as_ref().and_then(|p| p.ip.clone());
        world.settle();
        world
    }

    pub fn body(&mut self, name: &str) -> &mut Body {
        self.bodies.get_mut(name).unwrap_or_else(|| panic!("no member {name}"))
    }

    /// Writable, open to clients.
    pub fn open(&mut self, name: &str, ack: bool) {
        let facts = &mut self.body(name).facts;
        (facts.super_read_only, facts.offline_mode, facts.replica_enabled, facts.events_on) = (false, false, false, true);
        facts.source = SourceSide { enabled: ack, on: ack, wait_count: 1, ..facts.source };
        if let Some(channel) = &mut facts.channel {
            (channel.receiver, channel.applier_running) = (ReceiverState::Off, false);
        }
        if !ack {
            self.release(name);
        }
    }

    /// What waited for an acknowledgement is answered with OK.
    pub fn release(&mut self, name: &str) {
        let given_up = self.record.abandoned.iter().any(|a| a.member == name);
        let body = self.body(name);
        let pending = std::mem::take(&mut body.pending);
        body.facts.executed = body.facts.executed.union(&pending);
        body.facts.source.waiting = 0;
        if !given_up {
            self.acked = self.acked.union(&pending);
        }
    }

    /// CHANGE if need be, START both threads.
    pub fn connect(&mut self, name: &str, source: &str, acker: bool) {
        let facts = &mut self.body(name).facts;
        let host = format!("svc-{source}");
        if facts.channel.as_ref().is_none_or(|c| c.source_host != host) {
            facts.channel = Some(Channel {
                receiver: ReceiverState::Off,
                source_host: host,
                source_uuid: String::new(),
                received: GtidSet::default(),
                silent_ms: None,
                receiver_error: String::new(),
                applier_running: true,
                applier_error: String::new(),
            });
        }
        facts.replica_enabled = acker;
        let channel = facts.channel.as_mut().expect("made above");
        channel.applier_running = true;
        channel.receiver_error = String::new();
        if channel.receiver == ReceiverState::Off {
            channel.receiver = ReceiverState::Connecting;
        }
    }

    /// The process is gone; what waited in it shows when it is back.
    pub fn die(&mut self, name: &str, returns: bool) {
        let body = self.body(name);
        (body.alive, body.hung, body.returns, body.cloning) = (false, false, returns, None);
    }

    /// A new process: closed to everybody, no role.
    pub fn boot(&mut self, name: &str) {
        let body = self.body(name);
        (body.alive, body.hung, body.returns) = (true, false, true);
        body.processes += 1;
        let pending = std::mem::take(&mut body.pending);
        let facts = &mut body.facts;
        facts.executed = facts.executed.union(&pending);
        facts.process = format!("k{}-{name}.{}", body.kernel, body.processes);
        (facts.super_read_only, facts.offline_mode, facts.replica_enabled, facts.events_on) = (true, true, false, false);
        facts.source = SourceSide { wait_count: 1, ..SourceSide::default() };
        facts.cloning = None;
        if let Some(channel) = &mut facts.channel {
            (channel.receiver, channel.applier_running, channel.silent_ms) = (ReceiverState::Off, false, None);
            channel.receiver_error.clear();
            channel.applier_error.clear();
        }
    }

    /// A new pod on the same volume, with the next uid and address.
    pub fn new_pod(&mut self, name: &str) {
        let pod = self.seen.members.get_mut(name).and_then(|m| m.pod.as_mut()).expect("a pod");
        let n: u32 = pod.uid.rsplit('.').next().and_then(|n| n.parse().ok()).unwrap_or(0) + 1;
        (pod.uid, pod.terminating, pod.outdated) = (format!("pod-{name}.{n}"), false, false);
        pod.ip = Some(format!("10.0.{}.{n}", &name[1..]));
    }

    /// Clients write `n` transactions to whoever accepts them.
    pub fn write(&mut self, n: u64) {
        let writable: Vec<String> = self.bodies.iter().filter(|(_, b)| b.alive && !b.hung && !b.facts.super_read_only && !b.facts.offline_mode).map(|(n, _)| n.clone()).collect();
        for name in writable {
            let body = self.body(&name);
            let own: Uuid = body.facts.server_uuid.parse().expect("a uuid");
            let all = body.facts.executed.union(&body.pending);
            let last = all.iter().filter(|(u, tag, _)| *u == own && tag.is_empty()).flat_map(|(_, _, i)| i.iter().map(|i| i.last)).max().unwrap_or(0);
            body.pending.add(own, "", last + 1, last + n);
            if !body.facts.source.enabled {
                self.release(&name);
            }
        }
        self.settle();
    }

    /// All that happens by itself within milliseconds.
    pub fn settle(&mut self) {
        self.now += SignedDuration::from_millis(5);
        let highest = self.named().iter().filter_map(|n| n[1..].parse::<u32>().ok()).max().unwrap_or(0);
        let next: u32 = self.seen.next_member[1..].parse().unwrap_or(2);
        self.seen.next_member = format!("m{}", next.max(highest + 1));
        for name in self.named() {
            self.ensure(&name);
        }
        let named = self.named();
        // The cluster's controller takes the pod of a member that was replaced; its volume stays.
        self.bodies.retain(|name, _| named.contains(name));
        self.seen.members.retain(|name, _| named.contains(name));
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
        self.look();
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
        if !self.bodies[name].alive || !self.bodies.get(&donor).is_some_and(|d| d.alive && !d.hung) {
            return;
        }
        let (executed, epoch) = (self.bodies[&donor].facts.executed.clone(), self.bodies[&donor].facts.epoch);
        let body = self.body(name);
        body.cloning = None;
        body.pending = GtidSet::default();
        let facts = &mut body.facts;
        (facts.purged, facts.executed, facts.epoch) = (executed.clone(), executed, epoch);
        (facts.rebuild_marker, facts.channel) = (false, None);
        self.boot(name);
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
        if channel.applier_running && channel.applier_error.is_empty() {
            match breaks {
                Some(error) if !self.bodies[name].facts.executed.contains(&channel.received) => (channel.applier_running, channel.applier_error) = (false, error),
                _ => self.body(name).facts.executed = self.bodies[name].facts.executed.union(&channel.received),
            }
        }
        let applied = self.bodies[name].facts.executed.contains(&channel.received) && channel.receiver == ReceiverState::On;
        if applied && self.bodies[name].facts.super_read_only {
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
        let new = from.facts.executed.union(&from.pending).subtract(&own.executed);
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
        let (epoch, primary) = (self.record.epoch, self.record.primary == name);
        let body = self.body(name);
        body.facts.source.clients = clients + body.strangers;
        if !body.pending.is_empty() {
            body.facts.source.waiting = body.facts.source.waiting.max(1);
        }
        body.facts.lag_seconds = (body.facts.channel.is_some() && body.facts.epoch.is_some()).then_some((body.lag_ms + body.behind_ms) as i64 / 1000);
        let beats = primary && !body.facts.super_read_only && body.facts.epoch.is_some();
        if beats && body.alive && !body.hung {
            body.facts.epoch = body.facts.epoch.max(Some(epoch));
        }
    }

    /// What the operator sees of all this.
    pub fn look(&mut self) {
        for (name, body) in &self.bodies {
            let member = self.seen.members.get_mut(name).expect("every body has a member");
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
        let serves = view.standby_answer().is_some_and(|facts| serving(&view, facts));
        if let Some(member) = self.seen.members.get_mut(&name) {
            member.not_serving_ms = if serves { 0 } else { member.not_serving_ms.max(1) };
        }
    }

    /// Time goes by.
    pub fn wait(&mut self, ms: u64) {
        self.now += SignedDuration::from_millis(ms as i64);
        for member in self.seen.members.values_mut() {
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

    /// The operator is killed and another one begins: what wasn't recorded is forgotten.
    pub fn new_operator(&mut self) {
        self.fuel = None;
        for member in self.seen.members.values_mut() {
            member.not_serving_ms = member.not_serving_ms.min(1);
            if member.contact != Contact::Answering {
                (member.facts, member.facts_age_ms) = (None, u64::MAX);
            }
        }
        for body in self.bodies.values_mut() {
            body.cloning = None;
        }
        self.settle();
    }

    /// An acknowledged write that the open primary doesn't have is lost.
    pub fn lost_writes(&self) -> Option<GtidSet> {
        let body = self.bodies.get(&self.record.primary)?;
        let open = body.alive && !body.facts.super_read_only && !body.facts.offline_mode;
        let lost = self.acked.subtract(&body.facts.executed.union(&body.pending));
        (open && !lost.is_empty()).then_some(lost)
    }
}
