//! The simulated world: members on their nodes, the API server, clients, time in milliseconds; and what happens by itself.
//! What the operator sees and does is in `operator`, what befalls the world in `life`, what may never be in `laws`. In a
//! split there are two pairs: one is on the stage (the fields here), the other beside it (`split::pairs`).

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

pub use super::host::Host;
use super::operator::Operator;
use super::script::name;
use super::server::{Receiver, Server};
use super::set::{Log, Set, uuid};
use super::split::pairs::{Side, named};
use crate::pair::facts::Requests;
use crate::pair::record::{self, Mode, Record};
use crate::pair::settings::{Ack, Settings};

/// A process that died is started again after this, milliseconds; …
const RESTART_MS: u64 = 900;
/// … one whose node lost power after this.
const REBOOT_MS: u64 = 8_000;
/// A receiver notices a silent source after this (`replica_net_timeout`).
const NOTICE_MS: u64 = 4_000;
/// A clone takes this long.
const CLONE_MS: u64 = 3_000;

/// See the module.
#[derive(Clone, Debug)]
pub struct World {
    /// Milliseconds since the story began.
    pub now_ms: u64,
    /// The user's choices.
    pub settings: Settings,
    /// Members by number.
    pub hosts: BTreeMap<u8, Host>,
    /// Who wrote what.
    pub log: Log,
    /// In etcd.
    pub record: Record,
    /// Its resourceVersion.
    pub version: u64,
    /// The API server answers.
    pub api: bool,
    /// Where the VIP's slice points: a pod's address.
    pub vip: Option<String>,
    /// What people ask for.
    pub requests: Requests,
    /// Both operators; one leads.
    pub operators: [Operator; 2],
    /// Which.
    pub leader: usize,
    /// Clients were told OK.
    pub acked: Set,
    /// Never acknowledged, and cut off by a promotion: nobody may see it again.
    pub dead: Set,
    /// Volumes so far.
    pub volumes: u8,
    /// What happened, line by line.
    pub story: Vec<String>,
    /// The name of the pair on the stage.
    pub name: &'static str,
    /// Its record as the other pair's runner has heard of it last: from a watch, which may be behind.
    pub heard: Record,
    /// The other pair of a split.
    pub parked: Option<Box<Side>>,
    /// Transactions with keys that move.
    pub moving: Set,
    /// The plan is over: clients write each key where the map says.
    pub over: bool,
    /// A law of the split that something broke when it happened.
    pub broken: Option<String>,
}

impl World {
    /// m0 the primary, m1 its standby, in Sync.
    pub fn in_sync() -> Self {
        let server = |member| Server { executed: Set::one(0), epoch: 7, offline: false, ..Server::new(member) };
        let members = [0, 1].map(|m| record::Member { name: name(m), volume: format!("v{m}"), server_uuid: uuid(m), ..Default::default() });
        let record = Record { epoch: 7, primary: "m0".into(), standby: Some("m1".into()), mode: Mode::Sync, members: members.into(), standby_boot: Some("n1b1/k1".into()), ..Record::default() };
        let mut world = Self {
            now_ms: 0,
            settings: Settings { members: vec!["m0".into(), "m1".into()], ..Settings::default() },
            hosts: [0, 1].map(|m| (m, Host::new(server(m)))).into(),
            log: Log::default(),
            name: "pair",
            heard: record.clone(),
            operators: [Operator::new(&record, 1), Operator::new(&record, 1)],
            record,
            version: 1,
            api: true,
            vip: Some("10.0.0.1".into()),
            requests: Requests::default(),
            leader: 0,
            acked: Set::one(0),
            dead: Set::EMPTY,
            volumes: 2,
            story: Vec::new(),
            parked: None,
            moving: Set::EMPTY,
            over: false,
            broken: None,
        };
        let primary = world.server(0);
        (primary.read_only, primary.acks) = (false, true);
        (primary.source, primary.receiver, primary.applier) = (Some(1), Receiver::Connecting, true);
        let standby = world.server(1);
        (standby.source, standby.receiver, standby.applier, standby.acker) = (Some(0), Receiver::Connecting, true, true);
        world.settle();
        world
    }

    /// A member's mysqld.
    pub fn server(&mut self, member: u8) -> &mut Server {
        &mut self.host(member).server
    }

    /// A member; one that nobody made is dead and empty.
    pub fn host(&mut self, member: u8) -> &mut Host {
        self.hosts.entry(member).or_insert_with(|| Host::new(Server { alive: false, ..Server::new(u8::MAX) }))
    }

    /// The wall clock.
    pub fn clock(&self) -> Timestamp {
        Timestamp::from_second(1_767_225_600).expect("a time") + SignedDuration::from_millis(self.now_ms as i64)
    }

    /// One line of the story.
    pub fn tell(&mut self, line: impl AsRef<str>) {
        let mut line = line.as_ref().to_owned();
        for volume in 0..if line.contains("-0000-") { self.volumes.min(26) } else { 0 } {
            line = line.replace(&uuid(volume), &char::from(b'A' + volume).to_string());
        }
        self.story.push(format!("{:>8.3}  {line}", self.now_ms as f64 / 1000.0));
    }

    /// The same of the pair on the stage.
    pub fn tell_of_pair(&mut self, line: &str) {
        match self.parked {
            Some(_) => self.tell(format!("{} {line}", self.name)),
            None => self.tell(line),
        }
    }

    /// Members of the spec and of the record.
    pub fn named(&self) -> Vec<u8> {
        named(&self.record, &self.settings)
    }

    /// Time goes by.
    pub fn pass_time(&mut self, ms: u64) {
        self.now_ms += ms;
        self.settle();
    }

    /// Can one member's receiver talk to the other's server?
    pub fn linked(&self, a: u8, b: u8) -> bool {
        [a, b].iter().all(|m| self.hosts.get(m).is_some_and(|h| h.server.runs() && !h.cut && !h.dark))
    }

    /// Connected followers that acknowledge.
    pub fn ackers(&self, member: u8) -> Vec<Server> {
        let acks = |(f, host): &(&u8, &Host)| {
            let s = &host.server;
            **f != member && s.source == Some(member) && s.receiver == Receiver::On && s.acknowledges && self.linked(**f, member)
        };
        self.hosts.iter().filter(acks).map(|(_, h)| h.server).collect()
    }

    /// Clients write `n` transactions wherever they are let in.
    pub fn write(&mut self, n: u64) {
        for member in self.named() {
            for _ in 0..n {
                let Some(host) = self.hosts.get(&member).filter(|h| h.server.runs() && h.server.open() && !h.full && !h.cut) else { break };
                let Some(id) = self.log.write(host.server.volume) else { return };
                if name(member) != self.record.primary {
                    self.dead = self.dead.union(Set::one(id));
                }
                if self.server(member).write(id) {
                    self.told_ok(member, Set::one(id));
                }
            }
        }
        self.settle();
    }

    /// Clients of a member whose writes a person gave up were warned.
    pub fn told_ok(&mut self, member: u8, set: Set) {
        if self.record_of(member).abandoned.iter().all(|a| a.member != name(member)) {
            self.acked = self.acked.union(set);
            self.trespassed(member, set);
        }
    }

    /// All that happens by itself, until nothing more does.
    pub fn settle(&mut self) {
        self.make_and_unmake();
        let everyone = self.everyone();
        for _ in 0..8 {
            let before: Vec<Server> = self.hosts.values().map(|h| h.server).collect();
            for member in everyone.iter().copied() {
                self.starts(member);
                self.replicates(member);
                self.clones(member);
                self.hears(member);
            }
            if before == self.hosts.values().map(|h| h.server).collect::<Vec<_>>() {
                break;
            }
        }
        for member in everyone {
            self.ages(member);
        }
    }

    /// The cluster's controller makes the members of the spec, and takes those that nobody names; their volumes stay.
    fn make_and_unmake(&mut self) {
        let named = self.everyone();
        self.hosts.retain(|member, _| named.contains(member));
        for member in named {
            if !self.hosts.contains_key(&member) && self.in_a_spec(member) {
                let volume = self.volumes;
                self.volumes += 1;
                self.hosts.insert(member, Host::new(Server::new(volume)));
                self.tell(format!("{} is made, on a new volume", name(member)));
            }
        }
    }

    fn starts(&mut self, member: u8) {
        let now = self.now_ms;
        let Some(host) = self.hosts.get_mut(&member) else { return };
        let wait = if host.dark { REBOOT_MS } else { RESTART_MS };
        if host.server.alive || now < host.dead_since + wait {
            return;
        }
        host.dark = false;
        host.server.boot();
        let process = host.server.process;
        if host.terminating && !host.stranded {
            (host.terminating, host.pod) = (false, host.pod + 1);
        }
        host.at_work = false;
        self.disconnected(member);
        self.tell(format!("{} starts again (process {process})", name(member)));
    }

    /// Connections to a process that has ended are gone, and so is what was on its way to it.
    pub fn disconnected(&mut self, member: u8) {
        for (other, host) in &mut self.hosts {
            if *other != member && host.server.source == Some(member) && host.server.receiver == Receiver::On {
                host.server.receiver = Receiver::Connecting;
            }
        }
        let beside = self.parked.iter_mut().flat_map(|side| side.operators.iter_mut());
        self.operators.iter_mut().chain(beside).for_each(|operator| operator.lose_sessions(member));
    }

    fn replicates(&mut self, member: u8) {
        let Some(host) = self.hosts.get(&member) else { return };
        let (server, full, busy) = (host.server, host.full, host.busy);
        let Some(source) = server.source.filter(|_| server.runs()) else { return };
        let linked = self.linked(member, source);
        let gone = self.hosts.get(&source).is_none_or(|h| !h.server.alive && !h.dark && !h.cut) && !host.cut;
        let silent = host.silent_since.is_some_and(|since| self.now_ms >= since + NOTICE_MS);
        let synced = self.settings.ack == Ack::Flushed;
        let from = self.hosts.get(&source).map(|h| h.server);
        let (split, one_pair) = (self.parked.is_some(), self.of_one_pair(member, source));
        // Its own transactions come back to nobody.
        let own = if split { self.log.of(server.volume) } else { Set::EMPTY };
        let server = self.server(member);
        match (server.receiver, linked, from) {
            (Receiver::Connecting, true, Some(from)) => {
                server.connect(&from);
            }
            (Receiver::On, true, Some(from)) if !full => {
                server.receive(server.news(&from).without(own), synced);
                if server.applies() && one_pair && server.undrained().is_empty() && server.read_only {
                    server.epoch = server.epoch.max(from.epoch);
                }
            }
            (Receiver::On, false, _) if gone || silent => server.receiver = Receiver::Connecting,
            _ => {}
        }
        if split && server.applier_goes_on() && !full && !busy && !server.undrained().is_empty() {
            server.apply_as_source();
        } else if server.applies() && !full && !busy && !server.undrained().is_empty() {
            server.apply();
        }
    }

    fn clones(&mut self, member: u8) {
        let Some(host) = self.hosts.get(&member) else { return };
        let Some(donor) = host.server.cloning.filter(|_| host.server.runs() && self.now_ms >= host.clone_since + CLONE_MS) else { return };
        let ready = self.hosts.get(&donor).map(|h| h.server).filter(|d| self.linked(member, donor) && d.pending.is_empty());
        if !self.hosts.contains_key(&donor) {
            // A clone whose donor goes for good fails.
            self.server(member).cloning = None;
        }
        if let Some(from) = ready {
            let one_pair = self.of_one_pair(member, donor);
            let server = self.server(member);
            server.cloned(&from);
            // The heartbeat's row is its pair's own.
            server.epoch = if one_pair { server.epoch } else { 0 };
            self.disconnected(member);
            self.tell(format!("{} holds a clone of {}", name(member), name(donor)));
        }
    }

    /// Acknowledgements arrive, the heartbeat row is written.
    fn hears(&mut self, member: u8) {
        let ackers = self.ackers(member);
        let (record, split) = (self.record_of(member), self.parked.is_some());
        let epoch = record.epoch as u16;
        let primary = record.primary == name(member) && record.transition.is_none();
        let Some(host) = self.hosts.get_mut(&member).filter(|h| h.server.runs() && !h.full) else { return };
        let done = host.server.acknowledged(&ackers.iter().collect::<Vec<_>>());
        // What was cloned has the heartbeat's table, if not its own pair's row in it.
        let made = host.server.epoch > 0 || split && host.server.executed.contains(Set::one(0));
        if primary && host.server.open() && made && !host.blind {
            host.server.epoch = host.server.epoch.max(epoch);
        }
        self.told_ok(member, done);
    }

    fn ages(&mut self, member: u8) {
        let now = self.now_ms;
        let linked = self.hosts.get(&member).and_then(|h| h.server.source).is_some_and(|s| self.linked(member, s));
        let Some(host) = self.hosts.get_mut(&member) else { return };
        host.silent_since = if linked { None } else { Some(host.silent_since.unwrap_or(now)) };
        let waits = !host.server.pending.is_empty() || host.full && host.server.open();
        host.waits_since = if waits { Some(host.waits_since.unwrap_or(now)) } else { None };
    }

    /// The process ends; the entry script, or the kubelet, starts another.
    pub fn die(&mut self, member: u8) {
        let now = self.now_ms;
        let host = self.host(member);
        if host.server.alive {
            host.server.die();
            host.dead_since = now;
            self.disconnected(member);
        }
    }

    /// Its node loses power.
    pub fn power_cut(&mut self, member: u8) {
        self.die(member);
        let host = self.host(member);
        host.server.power_cut();
        host.dark = true;
    }

    /// Another, empty volume in its place. What nobody else was promised to hold is gone with the old one.
    pub fn emptied(&mut self, member: u8) {
        let pair = self.pair_of(member);
        let promised = pair.record.mode == Mode::Sync && pair.record.standby.as_ref().is_some_and(|s| self.complete(&pair, s));
        if !promised && self.record.primary == name(member) {
            let others = self.hosts.iter().filter(|(m, _)| **m != member).fold(Set::EMPTY, |all, (_, h)| all.union(h.server.keeps()));
            self.acked = self.acked.and(others);
        }
        let volume = self.volumes;
        self.volumes += 1;
        self.die(member);
        self.server(member).emptied(volume);
        self.disconnected(member);
    }
}
