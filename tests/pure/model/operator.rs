//! The operator in the model: what it sees, the real decision on it, and the commands one by one.

use std::sync::Arc;

use shardpair::pair::decide::{View, decide, of_use};
use shardpair::pair::facts::{Contact, Facts, Member, Observation, Pod, Requests};
use shardpair::pair::record::Record;
use shardpair::pair::settings::Settings;
use shardpair::simulation::facts::{Around, address, facts};
use shardpair::simulation::script::{Command, commands, name};
use shardpair::simulation::server::Server;
use shardpair::simulation::set::{Log, Set, uuid};
use shardpair::simulation::verb::Verb;

use super::Pair;
use super::next::PROCESSES;
use super::state::{Glimpse, Late, Plan, Rec, State, Wrong};
use super::tables::{Carried, Key, Look, now, visible};
use crate::decisions::law::Case;

/// Time is what the observer says it is: just now, past all thresholds but the longest, or past all.
pub const PATIENCE_MS: [u64; 3] = [1, 5_000, 40_000];

pub fn settings() -> Settings {
    Settings { members: vec!["m0".into(), "m1".into()], ..Settings::default() }
}

impl Pair {
    fn look(&self, state: &State, member: u8) -> Look {
        if let Some(peek) = state.peek.as_deref().filter(|p| p.0 == member) {
            return Look::Answers(peek.1, peek.2);
        }
        let (server, last) = (state.member(member), state.lead().last[member as usize]);
        match (server.alive, state.reaches(member)) {
            (_, true) => Look::Answers(visible(server), state.ackers(member).len() as u32),
            (false, _) => Look::Broken(last),
            (true, false) => Look::Silent(last),
        }
    }

    pub fn key(&self, state: &State, patience: u8) -> Key {
        Key {
            record: state.lead().record.id,
            patience,
            looks: [self.look(state, 0), self.look(state, 1)],
            linked: state.linked(0, 1),
            pods: state.pods,
            volumes: [state.servers[0].volume, state.servers[1].volume],
            kernels: [state.servers[0].kernel, state.servers[1].kernel],
            origins: state.origins,
            writes: state.writes,
            asked: state.asked,
        }
    }

    /// Does anything depend on how long it has lasted?
    pub fn patient(&self, state: &State) -> bool {
        let standby = state.member(state.lead().record.standby.min(2));
        let idle = standby.acker && standby.applier && standby.receiver == shardpair::simulation::server::Receiver::On && standby.read_only && !standby.acks;
        !(idle && state.linked(0, 1) && state.reaches(0) && state.reaches(1) && state.servers.iter().all(|s| s.pending.is_empty()))
    }

    /// Looks, decides; the other operator's sessions end where it is answered. None: nothing changes.
    pub fn pass(&self, state: &State, patience: u8) -> Option<State> {
        let carried = self.carried(state, patience);
        let mut next = state.clone();
        next.peek = None;
        if self.mutant != Some(super::Mutant::LateCommand) {
            let other = 1 - state.leader as usize;
            let ended = |late: &Late| self.target(late.plan).is_some_and(|member| state.reaches(member));
            next.operators[other].late = next.operators[other].late.filter(|late| !ended(late));
        }
        if carried.lawless {
            next.wrong = Some(Wrong::Law);
        }
        (next.lead_mut().plan, next.lead_mut().changed) = (carried.plan.map(|id| Plan { id, at: 0 }), [false; 2]);
        (next != *state).then_some(next)
    }

    pub fn carried(&self, state: &State, patience: u8) -> Arc<Carried> {
        let key = self.key(state, patience);
        self.tables.decision(key, || self.decide(&key, &state.log()))
    }

    fn decide(&self, key: &Key, log: &Log) -> Carried {
        let mut record: Record = (*self.tables.record(key.record)).clone();
        let settings = settings();
        let mut seen = observe(&record, &settings, key, log);
        if let Some(mutant) = self.mutant {
            mutant.tell(&mut record, &mut seen);
        }
        let mut decision = decide(&record, &settings, &seen, now());
        let case = Case { record: &record, settings: &settings, seen: &seen, now: now() };
        let broken = if self.mutant.is_none() { case.broken(&decision) } else { Vec::new() };
        if let Some(mutant) = self.mutant {
            mutant.decided(&record, &seen, &mut decision);
        }
        let mut all = Vec::new();
        for step in &decision.steps {
            let mut now = commands(step, &settings, log);
            if let Some(mutant) = self.mutant {
                mutant.script(step, &mut now);
            }
            all.extend(now);
        }
        let lowers = self.mutant == Some(super::Mutant::CountLoweredTooEarly);
        all.retain(|c| !matches!(c, Command::SameEpoch | Command::PointVip(_) | Command::SaveTail(..) | Command::SetMembers(_) | Command::Nothing(_)) && (lowers || !matches!(c, Command::Sql(_, Verb::EndSessions))));
        let words = format!("{}: {}{}", decision.note.reason.as_str(), decision.note.message, broken.iter().map(|b| format!(" [{b}]")).collect::<String>());
        Carried { plan: (!all.is_empty()).then(|| self.tables.intern_plan(all)), words, reason: decision.note.reason.as_str(), lawless: !broken.is_empty() }
    }

    /// The member that the command goes to, if it goes to one.
    pub fn target(&self, plan: Plan) -> Option<u8> {
        match self.tables.plan(plan.id).commands.get(plan.at as usize)? {
            Command::Sql(member, _) | Command::Beat(member) => Some(*member),
            _ => None,
        }
    }

    /// The leader's next command, answered. A surprise ends the plan.
    pub fn carry_on(&self, state: &State) -> Option<State> {
        let plan = state.lead().plan?;
        let commands = self.tables.plan(plan.id);
        let command = &commands.commands[plan.at as usize];
        let mut next = state.clone();
        if let Some(member) = self.target(plan) {
            // Its own command that got no answer is ended first.
            let own = state.lead().late.filter(|late| self.target(late.plan) == Some(member));
            if own.is_some() && state.reaches(member) {
                next.lead_mut().late = None;
            }
        }
        let reached = match command {
            Command::Sql(m, _) | Command::Beat(m) | Command::NoteProof(m) | Command::NoteExecuted(m) | Command::AwaitReceived(m) | Command::AwaitExecuted(m) | Command::Invertible(m, ..) => state.reaches(*m) && !state.lead().changed[*m as usize],
            _ => true,
        };
        let noted = state.lead().noted;
        let leader = state.leader;
        let current = state.lead().current;
        let done = reached.then(|| self.execute(&mut next, command, commands.written[plan.at as usize], (leader, current), noted)).flatten();
        let last = plan.at as usize + 1 == commands.commands.len();
        let lead = next.lead_mut();
        lead.plan = done.filter(|_| !last).map(|_| Plan { at: plan.at + 1, ..plan });
        if lead.plan.is_none() {
            lead.changed = [false; 2];
        }
        lead.noted = if lead.plan.is_some() { done.unwrap_or_default() } else { Set::EMPTY };
        Some(next)
    }

    /// One command takes effect; what is noted from here on. None: a surprise.
    fn execute(&self, next: &mut State, command: &Command, written: Option<Rec>, (writer, current): (u8, bool), noted: Set) -> Option<Set> {
        match command {
            Command::Sql(member, verb) => {
                let server = next.member_mut(*member);
                let done = match self.mutant {
                    Some(mutant) => mutant.obey(server, *verb),
                    None => server.obey(*verb),
                };
                if !server.alive {
                    next.lost_contact(*member);
                }
                next.acked = next.acked.union(done.ok()?);
                Some(noted)
            }
            Command::Beat(member) => {
                let ackers: Vec<Server> = next.ackers(*member).into_iter().copied().collect();
                let server = next.member_mut(*member);
                let all = server.logged();
                let heard = ackers.iter().filter(|f| f.holds().contains(all)).count() >= usize::from(server.wait_count);
                if !server.acks || server.read_only || !heard {
                    return None;
                }
                let done = server.pending;
                (server.executed, server.pending) = (all, Set::EMPTY);
                next.acked = next.acked.union(done);
                Some(noted)
            }
            Command::NoteProof(member) => {
                let server = next.member(*member);
                (server.acks && server.wait_count == 1 && next.ackers(*member).len() == 1).then_some(server.executed)
            }
            Command::NoteExecuted(member) => Some(next.member(*member).executed),
            Command::AwaitReceived(member) => next.member(*member).holds().contains(noted).then_some(noted),
            Command::AwaitExecuted(member) => next.member(*member).executed.contains(noted).then_some(noted),
            Command::Write(_) => {
                let written = written.expect("interned");
                if !current {
                    next.operators[writer as usize].must_claim = true;
                    return None;
                }
                next.recorded(written, writer);
                Some(noted)
            }
            Command::Invertible(member, mark, _) => {
                if self.scene.invertible || next.member(*member).rewound == Some(*mark) {
                    return Some(noted);
                }
                let written = written.expect("interned");
                if current {
                    next.recorded(written, writer);
                } else {
                    next.operators[writer as usize].must_claim = true;
                }
                None
            }
            Command::DeletePod(member, uid) => {
                if uid.rsplit('.').next() == Some(&next.pods[*member as usize].to_string()) {
                    next.lost_contact(*member);
                    next.member_mut(*member).die();
                    let pod = &mut next.pods[*member as usize];
                    *pod = (*pod + 1) % PROCESSES;
                }
                Some(noted)
            }
            Command::ClearRequest(_) => {
                next.asked = None;
                Some(noted)
            }
            _ => Some(noted),
        }
    }

    /// The leader's next command is sent, and no answer comes: it may take effect later, or never.
    pub fn unanswered(&self, state: &State) -> Option<State> {
        let plan = state.lead().plan?;
        let commands = self.tables.plan(plan.id);
        let late = Late { plan, end: plan.at + 1, current: state.lead().current, noted: state.lead().noted };
        let mut next = state.clone();
        let lead = next.lead_mut();
        match commands.commands[plan.at as usize] {
            Command::Write(_) => lead.must_claim = true,
            Command::Sql(..) | Command::DeletePod(..) => {}
            _ => return None,
        }
        (lead.plan, lead.late, lead.noted, lead.changed) = (None, Some(late), Set::EMPTY, [false; 2]);
        Some(next)
    }

    /// The other operator leads. What the old one was about to send may still come: the rest of the verb it was at.
    pub fn taken_over(&self, state: &State) -> State {
        let mut next = state.clone();
        let old = next.lead_mut();
        if let Some(plan) = old.plan.take() {
            let commands = &self.tables.plan(plan.id).commands;
            let same = |c: &Command| matches!((c, &commands[plan.at as usize]), (Command::Sql(a, _), Command::Sql(b, _)) if a == b);
            let more = commands[plan.at as usize + 1..].iter().take_while(|c| same(c)).count() as u8;
            if matches!(commands[plan.at as usize], Command::Write(_) | Command::Sql(..) | Command::DeletePod(..)) {
                old.late = Some(Late { plan, end: plan.at + 1 + more, current: old.current, noted: old.noted });
            }
        }
        (old.noted, old.last, old.changed) = (Set::EMPTY, [None; 2], [false; 2]);
        next.peek = None;
        next.leader = 1 - next.leader;
        let new = next.lead_mut();
        (new.must_claim, new.plan, new.noted, new.last) = (true, None, Set::EMPTY, [None; 2]);
        next
    }

    /// A quorum read and a write: whatever an older version names fails from here on.
    pub fn claimed(&self, state: &State) -> State {
        let mut next = state.clone();
        next.recorded(state.record, state.leader);
        next.lead_mut().must_claim = false;
        next
    }

    /// A command that was on its way takes effect.
    pub fn late(&self, state: &State, operator: u8) -> Option<State> {
        let late = state.operators[operator as usize].late?;
        let commands = self.tables.plan(late.plan.id);
        let command = &commands.commands[late.plan.at as usize];
        if self.target(late.plan).is_some_and(|member| !state.member(member).runs()) {
            return None;
        }
        let mut next = state.clone();
        let must_claim = next.operators[operator as usize].must_claim;
        let done = self.execute(&mut next, command, commands.written[late.plan.at as usize], (operator, late.current), late.noted);
        let own = &mut next.operators[operator as usize];
        own.must_claim |= must_claim;
        let plan = Plan { at: late.plan.at + 1, ..late.plan };
        own.late = done.filter(|_| plan.at < late.end).map(|noted| Late { plan, noted, ..late });
        Some(next)
    }

    /// Which decision the leader would make, in words.
    pub fn decision_words(&self, state: &State, patience: u8) -> String {
        self.carried(state, patience).words.clone()
    }

    pub fn plan_words(&self, plan: Plan) -> String {
        let commands = self.tables.plan(plan.id);
        match &commands.commands[plan.at as usize] {
            Command::Write(record) => format!("record: primary {}, {:?}{}{}", record.primary, record.mode,
                record.transition.as_ref().map_or(String::new(), |t| format!(", {:?} to {} begun", t.kind, t.to)),
                record.deposed.as_ref().map_or(String::new(), |d| format!(", {} deposed", d.member))),
            Command::Sql(member, verb) => format!("m{member}: {verb:?}"),
            other => format!("{other:?}"),
        }
    }
}

fn observe(record: &Record, settings: &Settings, key: &Key, log: &Log) -> Observation {
    let mut seen = Observation { next_member: "m9".into(), ..Observation::default() };
    let ms = PATIENCE_MS[key.patience as usize];
    for (member, look) in (0u8..).zip(&key.looks) {
        let (kernel, at) = (key.kernels[member as usize], member as usize);
        let pod = Pod { uid: format!("pod-{}.{}", name(member), key.pods[at]), node: Some(format!("n{member}")), node_boot: Some(format!("b{kernel}")), node_ready: true, ..Pod::default() };
        let mut m = Member { pod: Some(pod), volume: Some(format!("v{}", key.volumes[at])), address: Some(address(member)), facts_age_ms: ms, ..Member::default() };
        match look {
            Look::Answers(server, clients) => {
                let silent_ms = if key.linked { 0 } else { ms };
                let around = Around { clients: *clients, silent_ms, receiver_error: !key.linked && key.patience > 0, lag_ms: 0 };
                m.facts = Some(Facts { epoch: Some(0), ..facts(member, server, &around, log) });
                (m.contact, m.facts_age_ms) = (Contact::Answering, 0);
                m.beat.pending_ms = (!server.pending.is_empty()).then_some(ms);
            }
            Look::Broken(last) => (m.contact, m.facts) = (Contact::Broken { for_ms: ms.max(70), refused: true }, last.map(|g| glimpsed(member, g, log))),
            Look::Silent(last) => (m.contact, m.facts) = (Contact::Silent { for_ms: ms }, last.map(|g| glimpsed(member, g, log))),
        }
        seen.members.insert(name(member), m);
    }
    seen.requests = Requests { switchover_to: key.asked.map(name), ..Requests::default() };
    if let Some(standby) = &record.standby {
        let view = View { record, settings, seen: &seen, now: now() };
        let serves = view.standby_answer().is_some_and(|f| of_use(&view, f));
        if let Some(member) = seen.members.get_mut(standby) {
            member.not_serving_ms = if serves { 0 } else { ms };
        }
    }
    seen
}

fn glimpsed(member: u8, glimpse: Glimpse, log: &Log) -> Facts {
    let server = Server { process: glimpse.process, kernel: glimpse.kernel, executed: glimpse.executed, ..Server::new(glimpse.volume) };
    Facts { server_uuid: uuid(glimpse.volume), ..facts(member, &server, &Around::default(), log) }
}

impl State {
    /// The record is written: whatever names an older version fails from here on.
    pub fn recorded(&mut self, rec: Rec, writer: u8) {
        let old = self.record;
        if rec.primary != old.primary {
            if !old.sync {
                self.wrong = Some(Wrong::PromotedFromSolo);
            }
            let tail = self.member(old.primary).logged().without(self.member(rec.primary).executed).without(self.acked);
            self.dead = self.dead.union(tail);
        }
        self.record = rec;
        for operator in &mut self.operators {
            operator.current = false;
            operator.late = operator.late.map(|late| Late { current: false, ..late });
        }
        let own = &mut self.operators[writer as usize];
        (own.record, own.current) = (rec, true);
    }

    /// Before a member stops answering: what the leader knows of it last.
    pub fn lost_contact(&mut self, member: u8) {
        if member < 2 && self.reaches(member) {
            let s = self.member(member);
            let glimpse = Glimpse { process: s.process, kernel: s.kernel, volume: s.volume, executed: s.executed };
            self.lead_mut().last[member as usize] = Some(glimpse);
        }
    }

    /// After something that may let it answer again.
    pub fn maybe_contact(&mut self, member: u8) {
        if member < 2 && self.reaches(member) {
            self.lead_mut().last[member as usize] = None;
        }
    }
}
