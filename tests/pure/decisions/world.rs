//! A small scripted world: members that replicate, wait for acknowledgements, die and come back, as MySQL was seen to do
//! (docs of the measurements: sections 1-4, 7). It carries out the steps of a decision and shows what an operator would see.
//! It keeps count of what clients were told is safe, so that a lost acknowledged write is found wherever it happens.

use std::collections::BTreeMap;

use jiff::Timestamp;
use shardpair::mysql::gtid::{GtidSet, Uuid};
use shardpair::pair::facts::{Channel, Contact, Facts, Observation, Pod, ReceiverState, SourceSide};
use shardpair::pair::record::{self, Mode, Record};
use shardpair::pair::settings::Settings;

use super::split::{MOVES, STAYS, Side};

/// One member as it is, whatever the operator can see of it.
#[derive(Clone, Debug, Default)]
pub struct Body {
    /// The process lives.
    pub alive: bool,
    /// It lives and does nothing.
    pub hung: bool,
    /// What its applier committed waits for an acknowledgement.
    pub held: bool,
    /// Its `super_read_only` is lifted; `read_only` isn't.
    pub lifted: bool,
    /// The operator can't reach it.
    pub unseen: bool,
    /// The operator has just begun to look, and has no answer yet.
    pub unasked: bool,
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
    /// Transactions whose rows are undone here, whatever the GTID sets say.
    pub undone: GtidSet,
    /// Its tails can't be inverted.
    pub uninvertible: bool,
    /// A rewound row isn't as the primary's.
    pub differs: bool,
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
    /// The application's sessions from before the guard are at work; when they were counted as old.
    pub at_work: bool,
    pub noted: Timestamp,
    /// Its applier runs and comes to no end.
    pub slow: bool,
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
    /// Of a split: which pair this is, and the other one.
    pub name: String,
    pub parked: Option<Box<Side>>,
    /// Of what was acknowledged: writes with keys that move.
    pub acked_moving: GtidSet,
    /// Of all writes: those with keys that move.
    pub moving: GtidSet,
    /// Of all writes in a split: the operator's own, which belong to no pair's keys.
    pub ours: GtidSet,
    /// A transaction with moving keys stays open.
    pub fence_held: bool,
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
            name: String::new(),
            parked: None,
            acked_moving: GtidSet::default(),
            moving: GtidSet::default(),
            ours: GtidSet::default(),
            fence_held: false,
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
        world.open("m0", true, false);
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
    pub fn open(&mut self, name: &str, ack: bool, linked: bool) {
        let facts = &mut self.body(name).facts;
        (facts.super_read_only, facts.offline_mode, facts.replica_enabled, facts.events_on) = (false, false, false, true);
        facts.source = SourceSide { enabled: ack, on: ack, wait_count: 1, ..facts.source };
        if let Some(channel) = facts.channel.as_mut().filter(|_| !linked) {
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
            self.acked = self.acked.union(&pending.subtract(&self.ours));
            self.acked_moving = self.acked_moving.union(&pending.intersection(&self.moving));
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
        // Everybody has to come again.
        if let Some(guard) = &mut facts.guard {
            guard.old_sessions = Some(0);
        }
        if let Some(channel) = &mut facts.channel {
            (channel.receiver, channel.applier_running, channel.silent_ms) = (ReceiverState::Off, false, None);
            channel.receiver_error.clear();
            channel.applier_error.clear();
        }
    }

    /// A new pod on the same volume, with the next uid and address.
    pub fn new_pod(&mut self, name: &str) {
        let theirs = self.parked.iter_mut().filter_map(|p| p.seen.members.get_mut(name));
        let mut pods: Vec<&mut Pod> = self.seen.members.get_mut(name).into_iter().chain(theirs).filter_map(|m| m.pod.as_mut()).collect();
        for pod in &mut pods {
            Self::next_pod(name, pod);
        }
    }

    fn next_pod(name: &str, pod: &mut Pod) {
        let n: u32 = pod.uid.rsplit('.').next().and_then(|n| n.parse().ok()).unwrap_or(0) + 1;
        (pod.uid, pod.terminating, pod.outdated) = (format!("pod-{name}.{n}"), false, false);
        pod.ip = Some(format!("10.0.{}.{n}", &name[1..]));
    }

    /// Clients write `n` transactions to whoever accepts them; during a split, of each class of keys.
    pub fn write(&mut self, n: u64) {
        let classes: &[u32] = if self.parked.is_some() { &[STAYS, MOVES] } else { &[STAYS] };
        for class in classes {
            let wrong = self.wrong_place(*class);
            let able = |n: &String, b: &Body| b.alive && !b.hung && World::accepts(&b.facts, *class) && !wrong.contains(n);
            let writable: Vec<String> = self.bodies.iter().filter(|(n, b)| able(n, b)).map(|(n, _)| n.clone()).collect();
            writable.iter().for_each(|name| self.write_on(name, Some(*class), n));
        }
        self.settle();
    }

    fn write_on(&mut self, name: &str, class: Option<u32>, n: u64) {
        let body = self.body(name);
        let own: Uuid = body.facts.server_uuid.parse().expect("a uuid");
        let all = body.facts.executed.union(&body.pending);
        let last = all.iter().filter(|(u, tag, _)| *u == own && tag.is_empty()).flat_map(|(_, _, i)| i.iter().map(|i| i.last)).max().unwrap_or(0);
        body.pending.add(own, "", last + 1, last + n);
        let alone = !body.facts.source.enabled;
        match class.filter(|_| self.parked.is_some()) {
            Some(MOVES) => self.moving.add(own, "", last + 1, last + n),
            None if self.parked.is_some() => self.ours.add(own, "", last + 1, last + n),
            _ => {}
        }
        if alone {
            self.release(name);
        }
    }

    /// The operator's own write: no guard binds it.
    pub fn write_heartbeat(&mut self, name: &str) {
        self.write_on(name, None, 1);
        self.settle();
    }

    /// The operator is killed and another one begins: what wasn't recorded is forgotten.
    pub fn new_operator(&mut self) {
        self.fuel = None;
        let sides = self.seen.members.values_mut().chain(self.parked.iter_mut().flat_map(|p| p.seen.members.values_mut()));
        for member in sides {
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
    pub fn lost_writes(&mut self) -> Option<GtidSet> {
        if self.parked.is_some() {
            return self.lost_over_the_split();
        }
        let body = self.bodies.get(&self.record.primary)?;
        let open = body.alive && !body.facts.super_read_only && !body.facts.offline_mode;
        let lost = self.acked.subtract(&body.facts.executed.union(&body.pending)).union(&body.facts.executed.intersection(&body.undone));
        (open && !lost.is_empty()).then_some(lost)
    }
}
