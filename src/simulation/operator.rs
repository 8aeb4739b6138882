//! The operator in the simulation: what its probers remember of each member, what it sees, and what becomes of a command.

use std::collections::BTreeMap;

use super::facts::{Around, address, facts};
use super::script::{Command, index, name};
use super::server::Receiver;
use super::set::Set;
use super::verb::Verb;
use super::world::World;
use crate::api::names;
use crate::pair::decide::{View, of_use};
use crate::pair::facts::{Beat, Contact, Facts, Member, Observation, Pod, Vip};
use crate::pair::record::{MoveKind, Record};

/// A member that was never heard is silent after this, milliseconds.
const LATE_MS: u64 = 300;
/// Probes are so far apart, milliseconds: in between the last answer counts.
const PROBE_MS: u64 = 500;

/// What a prober remembers of a member.
#[derive(Clone, Debug, Default)]
struct Known {
    facts: Option<Facts>,
    answered_at: Option<u64>,
    answers: bool,
    first_try: u64,
    broken_since: Option<u64>,
}

/// Commands that were sent, or were about to be, and take effect whenever they like.
#[derive(Clone, Debug)]
pub struct Late {
    /// One after the other.
    pub commands: Vec<Command>,
    /// The version of the record that they name.
    pub version: u64,
    /// What had been noted.
    pub noted: Set,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Operator {
    /// Its copy of the record.
    pub record: Record,
    /// The version of that.
    pub version: u64,
    /// It must read the newest one first, and make older writes fail.
    pub must_claim: bool,
    /// What may still come from it.
    pub late: Option<Late>,
    known: BTreeMap<u8, Known>,
    not_serving: BTreeMap<String, u64>,
}

/// The member that a command goes to, if it goes to one.
pub fn target(command: &Command) -> Option<u8> {
    match command {
        Command::Sql(m, _) | Command::Beat(m) | Command::NoteProof(m) | Command::NoteExecuted(m) | Command::AwaitReceived(m) | Command::AwaitExecuted(m) => Some(*m),
        Command::Invertible(m, ..) | Command::SaveTail(m, _) | Command::Provision(m) => Some(*m),
        Command::Fence(m, _) | Command::Retire(m, _) | Command::AwaitDrained(m) => Some(*m),
        _ => None,
    }
}

impl Operator {
    /// One that has just begun.
    pub fn new(record: &Record, version: u64) -> Self {
        Self { record: record.clone(), version, must_claim: true, late: None, known: BTreeMap::new(), not_serving: BTreeMap::new() }
    }

    /// The process at the other end is gone, and so is what was on its way to it.
    pub fn lose_sessions(&mut self, member: u8) {
        let gone = |late: &Late| late.commands.first().is_some_and(|c| target(c) == Some(member));
        self.late = self.late.take().filter(|late| !gone(late));
    }
}

impl World {
    /// Does the member answer the operators?
    pub fn answers(&self, member: u8) -> bool {
        self.hosts.get(&member).is_some_and(|h| h.server.runs() && !h.blind && !h.dark)
    }

    /// The leader's probers ask everybody; where one is answered for the first time, older operators' sessions end.
    pub fn probe(&mut self) {
        let now = self.now_ms;
        for member in self.named() {
            let seen = self.answers(member).then(|| self.tell_facts(member)).flatten();
            let dead = self.hosts.get(&member).is_none_or(|h| !h.server.alive && !h.blind && !h.dark);
            if seen.is_some() {
                self.operators[1 - self.leader].lose_sessions(member);
            }
            let known = self.operators[self.leader].known.entry(member).or_insert_with(|| Known { first_try: now, ..Known::default() });
            known.answers = seen.is_some();
            match seen {
                Some(facts) => (known.facts, known.answered_at, known.broken_since) = (Some(facts), Some(now), None),
                None if dead => known.broken_since = known.broken_since.or(Some(now.saturating_sub(70))),
                None => {}
            }
        }
    }

    fn tell_facts(&self, member: u8) -> Option<Facts> {
        let host = self.hosts.get(&member)?;
        let connecting = host.server.receiver == Receiver::Connecting;
        let silent_ms = host.silent_since.map_or(0, |since| self.now_ms - since);
        let around = Around {
            clients: self.ackers(member).len() as u32,
            silent_ms,
            receiver_error: connecting && silent_ms > 1_000,
            lag_ms: if host.busy { 3_000 } else { 0 },
        };
        Some(facts(member, &host.server, &around, &self.log))
    }

    /// Everything that the leader sees now.
    pub fn observe(&mut self) -> Observation {
        let lead = &self.operators[self.leader];
        let record = lead.record.clone();
        let mut seen = Observation { requests: self.requests.clone(), next_member: self.next_member(), ..Observation::default() };
        seen.vip = Vip { points_to: self.vip.clone(), foreign: Vec::new() };
        for member in self.named() {
            seen.members.insert(name(member), self.seen_by(&self.operators[self.leader], member, &self.record));
        }
        seen.other = self.look_over();
        if let Some(standby) = &record.standby {
            let view = View { record: &record, settings: &self.settings, seen: &seen, now: self.clock() };
            let serves = view.standby_answer().is_some_and(|f| of_use(&view, f));
            let now = self.now_ms;
            let not_serving = &mut self.operators[self.leader].not_serving;
            if serves {
                not_serving.remove(standby);
            } else if let Some(member) = seen.members.get_mut(standby) {
                member.not_serving_ms = (now - *not_serving.entry(standby.clone()).or_insert(now)).max(1);
            }
        }
        seen
    }

    /// A member, as an operator's prober and the API server tell of it.
    pub fn seen_by(&self, operator: &Operator, member: u8, record: &Record) -> Member {
        let mut m = self.objects(member);
        if let Some(known) = operator.known.get(&member) {
            self.snapshot(member, known, record, &mut m);
        }
        m
    }

    fn next_member(&self) -> String {
        let highest = self.everyone().into_iter().max().unwrap_or(1);
        name(highest.max(self.volumes.saturating_sub(1)) + 1)
    }

    /// What the API server tells.
    fn objects(&self, member: u8) -> Member {
        let Some(host) = self.hosts.get(&member).filter(|h| h.server.volume != u8::MAX) else { return Member::default() };
        let pod = Pod {
            uid: format!("pod-{}.{}", name(member), host.pod),
            ip: Some(format!("10.0.{member}.{}", host.pod)),
            node: Some(format!("n{member}")),
            node_boot: Some(format!("n{member}b{}", host.server.kernel)),
            node_ready: !host.dark && !host.stranded,
            node_cordoned: host.cordoned,
            terminating: host.terminating,
            ..Pod::default()
        };
        Member { pod: Some(pod), volume: Some(format!("v{}", host.server.volume)), address: Some(address(member)), ..Member::default() }
    }

    fn snapshot(&self, member: u8, known: &Known, record: &Record, m: &mut Member) {
        let now = self.now_ms;
        m.facts = known.facts.clone();
        m.facts_age_ms = known.answered_at.map_or(u64::MAX, |at| now - at);
        let for_ms = now - known.answered_at.unwrap_or(known.first_try);
        m.contact = match known.broken_since {
            _ if known.answers && m.facts_age_ms <= PROBE_MS => Contact::Answering,
            Some(since) => Contact::Broken { for_ms: now - since, refused: true },
            None if known.answered_at.is_none() && for_ms < LATE_MS => Contact::Never,
            None => Contact::Silent { for_ms },
        };
        let waits = self.hosts.get(&member).and_then(|h| h.waits_since).filter(|_| record.primary == name(member));
        m.beat = Beat { pending_ms: waits.map(|since| now - since), ..Beat::default() };
    }

    /// The leader reads the newest record; whatever names an older one fails from here on.
    pub fn claim(&mut self) {
        self.version += 1;
        let (record, version) = (self.record.clone(), self.version);
        let lead = &mut self.operators[self.leader];
        (lead.record, lead.version, lead.must_claim) = (record, version, false);
    }

    /// A command takes effect. What is noted from here on, or why it stops.
    pub fn execute(&mut self, by: usize, version: u64, command: &Command, noted: Set) -> Result<Set, String> {
        if let Some(member) = target(command).filter(|m| !self.answers(*m)) {
            return Err(format!("{} doesn't answer", name(member)));
        }
        let known = |holds: bool, why: String| if holds { Ok(noted) } else { Err(why) };
        match command {
            // Only what came before a flip is old.
            Command::Sql(_, Verb::NoteSessions) if self.operators[by].record.ceded.is_none() => Ok(noted),
            Command::Sql(member, verb) => {
                self.writers_pass(*member, *verb)?;
                let now = self.now_ms;
                let host = self.host(*member);
                let cloning = host.server.cloning;
                let told = host.server.obey(*verb)?;
                if cloning.is_none() {
                    host.clone_since = now;
                }
                if !host.server.alive {
                    host.dead_since = now;
                    self.disconnected(*member);
                }
                self.told_ok(*member, told);
                self.settle();
                Ok(noted)
            }
            // A primary that follows another writes nothing.
            Command::Beat(_) if self.operators[by].record.follows.is_some() => Ok(noted),
            Command::Beat(member) => self.beat(*member).map(|()| noted),
            Command::Fence(member, class) => self.fence(*member, *class).map(|()| noted),
            Command::Retire(member, at_once) => self.retire(*member, *at_once).map(|()| noted),
            Command::AwaitDrained(member) => known(self.server(*member).undrained().is_empty(), format!("{} doesn't apply all in time", name(*member))),
            Command::NoteProof(member) => {
                let (server, ackers) = (*self.server(*member), self.ackers(*member).len());
                let one = server.acks && server.wait_count == 1 && ackers == 1;
                if one { Ok(server.executed) } else { Err(format!("{} doesn't wait for one acker", name(*member))) }
            }
            Command::NoteExecuted(member) => Ok(self.server(*member).executed),
            Command::AwaitReceived(member) => known(self.server(*member).holds().contains(noted), format!("{} doesn't receive all in time", name(*member))),
            Command::AwaitExecuted(member) => known(self.server(*member).executed.contains(noted), format!("{} doesn't apply all in time", name(*member))),
            Command::SameEpoch | Command::Nothing(_) | Command::SaveTail(..) => Ok(noted),
            Command::Invertible(member, mark, otherwise) => {
                if !self.host(*member).uninvertible || self.server(*member).rewound == Some(*mark) {
                    return Ok(noted);
                }
                self.write_record(by, version, otherwise)?;
                Err(format!("the tail of {} can't be undone: it is cloned", name(*member)))
            }
            Command::Write(record) => self.write_record(by, version, record).map(|()| noted),
            _ if !self.api => Err("no answer from the API server".to_owned()),
            Command::PointVip(member) => {
                self.vip = self.hosts.get(member).map(|h| format!("10.0.{member}.{}", h.pod));
                Ok(noted)
            }
            Command::DeletePod(member, uid) => {
                self.delete_pod(*member, uid);
                Ok(noted)
            }
            Command::Provision(member) => {
                self.server(*member).epoch = self.record.epoch as u16;
                Ok(noted)
            }
            Command::SetMembers(members) => {
                self.settings.members = members.clone();
                Ok(noted)
            }
            Command::ClearRequest(annotation) => {
                self.clear(annotation);
                Ok(noted)
            }
        }
    }

    fn beat(&mut self, member: u8) -> Result<(), String> {
        self.settle();
        let waits = format!("{}: no acknowledgement in time", name(member));
        let ackers = self.ackers(member);
        let host = self.host(member);
        let all = host.server.logged();
        let heard = ackers.iter().filter(|f| f.holds().contains(all)).count() >= usize::from(host.server.wait_count);
        let written = host.server.acks && !host.server.read_only && !host.full && heard && host.server.pending.is_empty();
        if written { Ok(()) } else { Err(waits) }
    }

    fn delete_pod(&mut self, member: u8, uid: &str) {
        let Some(host) = self.hosts.get_mut(&member).filter(|h| *uid == format!("pod-{}.{}", name(member), h.pod)) else { return };
        host.terminating = true;
        if !host.stranded && !host.dark {
            self.die(member);
        }
    }

    fn clear(&mut self, annotation: &str) {
        let requests = &mut self.requests;
        match annotation {
            names::ASK_SWITCHOVER_TO => requests.switchover_to = None,
            names::ASK_PROMOTE_WITH_DATA_LOSS => requests.promote_with_data_loss = None,
            names::ASK_REPLACE => requests.replace = None,
            names::ASK_REBUILD => requests.rebuild = None,
            _ => requests.discard_tail = None,
        }
    }

    fn write_record(&mut self, by: usize, version: u64, record: &Record) -> Result<(), String> {
        if !self.api {
            self.operators[by].must_claim = true;
            return Err("no answer from the API server".to_owned());
        }
        if version != self.version {
            self.operators[by].must_claim = true;
            return Err("conflict: the record has moved on".to_owned());
        }
        self.recorded(record);
        let old = std::mem::replace(&mut self.record, record.clone());
        self.version += 1;
        (self.operators[by].record, self.operators[by].version) = (record.clone(), self.version);
        if old.primary != record.primary {
            self.promoted(&old, record);
        }
        self.settle();
        Ok(())
    }

    fn promoted(&mut self, old: &Record, new: &Record) {
        let kept = *self.server(index(&new.primary));
        if old.transition.as_ref().is_some_and(|t| t.kind == MoveKind::PromoteWithDataLoss) {
            // A person named the loss.
            (self.acked, self.dead) = (self.acked.and(kept.keeps()), self.dead.without(kept.keeps()));
            return;
        }
        let old = *self.server(index(&old.primary));
        // What came over the link of a split is the other pair's: it lives on there.
        let own = if self.parked.is_some() { self.log.of(old.volume) } else { Set(u128::MAX) };
        let tail = old.logged().without(kept.executed).without(self.acked).and(own);
        self.dead = self.dead.union(tail);
    }
}
