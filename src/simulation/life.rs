//! One life of a pair, from a seed: things befall it, the operator does what the real decision says, command by command, and
//! after each the laws are asked. In the end every fault heals, and the pair must come back to Sync by itself.

use std::collections::BTreeMap;

use super::dice::Dice;
use super::operator::{Late, Operator, target};
use super::script::{Command, commands, index, undo, words};
use super::set::Set;
use super::watch::Watcher;
use super::world::World;
use crate::api::conditions::READY;
use crate::pair::decide::decide;
use crate::pair::facts::Observation;
use crate::pair::record::{Mode, Record};
use crate::pair::report;
use crate::pair::settings::{Ack, Durability};
use crate::pair::step::{Decision, Next, Reason};

/// Looks in a row after which the operator takes a breath.
pub(super) const HASTE: u32 = 25;
/// The pair must be in Sync so long after everything has healed, in steps of half a second.
pub(super) const PATIENCE: u32 = 400;

/// What a life came to.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Line by line.
    pub story: Vec<String>,
    /// A law that was broken, and how.
    pub wrong: Option<String>,
    /// Reasons that were met, each once.
    pub reasons: std::collections::BTreeSet<&'static str>,
    /// A person was needed, since more was lost than the pair can bear.
    pub person: bool,
}

pub(super) struct Life<'a> {
    pub(super) world: World,
    pub(super) dice: Dice,
    pub(super) watcher: &'a dyn Watcher,
    pub(super) told: Told,
    /// Nothing more befalls it.
    pub(super) healing: bool,
    /// A person gave something up, or a volume was lost.
    pub(super) excused: bool,
    /// A volume was lost: one a life.
    pub(super) emptied: bool,
    /// A record was decided on and isn't written yet.
    pub(super) writing: bool,
    /// What each pair's last pass said.
    pub(super) last: BTreeMap<&'static str, String>,
}

/// Lives one life of so many turns.
pub fn live(seed: u64, turns: u32, watcher: &dyn Watcher) -> Told {
    let mut life = Life::begin(seed, watcher);
    let wrong = life.turns(turns).and_then(|()| life.heals()).err();
    life.ends(wrong)
}

impl<'a> Life<'a> {
    /// A pair in Sync, with the settings of this seed.
    pub(super) fn begin(seed: u64, watcher: &'a dyn Watcher) -> Self {
        let mut dice = Dice::new(seed);
        let mut world = World::in_sync();
        if dice.once(4) {
            world.settings.ack = Ack::Flushed;
        }
        if dice.once(4) {
            world.settings.durability = Durability::Required;
        }
        if dice.once(4) {
            world.settings.replace_after_ms = Some(30_000);
        }
        world.tell(format!("seed {seed}: {:?}, ack {:?}", world.settings.durability, world.settings.ack));
        Life { world, dice, watcher, told: Told::default(), healing: false, excused: false, emptied: false, writing: false, last: BTreeMap::new() }
    }

    /// What it came to.
    pub(super) fn ends(mut self, wrong: Option<String>) -> Told {
        if let Some(wrong) = &wrong {
            self.world.tell(format!("WRONG: {wrong}"));
            let state = self.world.state();
            self.world.tell(state);
        }
        Told { story: self.world.story, wrong, ..self.told }
    }

    fn turns(&mut self, turns: u32) -> Result<(), String> {
        for _ in 0..turns {
            for _ in 0..self.dice.roll(3) {
                self.befalls();
            }
            let writes = self.dice.roll(4);
            self.world.write(writes);
            self.lawful()?;
            let ms = self.dice.of(&[10, 70, 300, 1_600, 4_000, 35_000]);
            self.time(ms)?;
        }
        Ok(())
    }

    pub(super) fn lawful(&self) -> Result<(), String> {
        self.world.wrong().map_or(Ok(()), Err)
    }

    /// Time goes by, and the operator looks as often as something may have changed.
    pub(super) fn time(&mut self, ms: u64) -> Result<(), String> {
        let (mut left, mut step) = (ms, 50);
        while left > 0 {
            let now = step.min(left);
            left -= now;
            self.world.pass_time(now);
            self.lawful()?;
            let before = self.world.story.len();
            self.looks()?;
            step = if self.world.story.len() == before { (step * 2).min(4_000) } else { 50 };
        }
        Ok(())
    }

    /// Passes until there is nothing to do at once.
    fn looks(&mut self) -> Result<(), String> {
        if self.world.parked.is_some() {
            return self.both_look();
        }
        for _ in 0..HASTE {
            match self.pass()? {
                Next::Now => self.world.pass_time(1),
                Next::Soon => self.world.pass_time(5),
                Next::Tick => break,
            }
        }
        Ok(())
    }

    /// Observe, decide, act, report.
    pub(super) fn pass(&mut self) -> Result<Next, String> {
        self.world.probe();
        let leader = self.world.leader;
        if self.world.operators[leader].must_claim {
            if !self.world.api {
                return Ok(Next::Tick);
            }
            self.world.claim();
        }
        let mut seen = self.world.observe();
        let mut record = self.world.operators[leader].record.clone();
        let now = self.world.clock();
        self.watcher.tells(&mut record, &mut seen);
        let mut decision = decide(&record, &self.world.settings, &seen, now);
        self.watcher.decides(&record, &seen, &mut decision);
        let broken = self.watcher.broken(&record, &self.world.settings, &seen, now, &decision);
        if !broken.is_empty() {
            return Err(broken.join("; "));
        }
        self.told.reasons.insert(decision.note.reason.as_str());
        self.report(&record, &seen, &decision)?;
        let words = format!("{}: {}", decision.note.reason.as_str(), decision.note.message);
        // A wait that is only longer by now isn't told again.
        let same: String = words.chars().filter(|c| !c.is_ascii_digit()).collect();
        if !decision.steps.is_empty() || self.last.get(self.world.name) != Some(&same) {
            self.world.tell_of_pair(&words);
        }
        self.last.insert(self.world.name, same);
        let done = self.act(&decision)?;
        Ok(if done { decision.next } else { Next::Soon })
    }

    fn report(&self, record: &Record, seen: &Observation, decision: &Decision) -> Result<(), String> {
        let settings = &self.world.settings;
        let conditions = report::conditions(record, settings, seen, decision, self.world.clock());
        let roles = report::roles(record, settings, seen, self.world.clock());
        let _ = (report::members(record, seen), report::said(decision));
        let ready = conditions.iter().any(|c| c.type_ == READY && c.status == crate::api::conditions::Status::True);
        let open = |member: &str| seen.members.get(member).and_then(|m| m.answer()).is_some_and(crate::pair::decide::open);
        if ready && !(record.mode == Mode::Sync && (open(&record.primary) || record.follows.is_some()) && roles.values().all(|(_, fills)| *fills)) {
            return Err("Ready is said and it isn't".to_owned());
        }
        Ok(())
    }

    /// Command by command; between any two of them anything may happen. False: it stopped before the end.
    fn act(&mut self, decision: &Decision) -> Result<bool, String> {
        let leader = self.world.leader;
        let before = self.world.record.clone();
        let processes: Vec<(u8, u8)> = self.world.hosts.iter().map(|(m, h)| (*m, h.server.process)).collect();
        let (all, undoing) = self.script(decision);
        let mut noted = Set::EMPTY;
        for at in 0..all.len() {
            self.clients_go_on()?;
            if !self.healing && self.dice.once(25) {
                let pair = self.world.name;
                self.writing = all[at..].iter().any(|c| matches!(c, Command::Write(_)));
                self.befalls();
                self.writing = false;
                self.world.stage(pair);
                self.lawful()?;
            }
            let odds = self.odds_of_an_interruption(&all[at], undoing[at].is_some());
            if !self.healing && self.dice.once(odds) {
                return self.interrupted(&all[at..], noted, undoing[at].as_ref()).map(|()| false);
            }
            let version = self.world.operators[leader].version;
            let own = target(&all[at]).filter(|m| self.world.named().contains(m));
            let changed = own.is_some_and(|m| processes.iter().all(|(known, process)| *known != m || self.world.hosts.get(&m).is_none_or(|h| h.server.process != *process)));
            if let Some(member) = target(&all[at]) {
                // Its own command that got no answer is ended first.
                self.world.operators[leader].lose_sessions(member);
            }
            let done = if changed { Err("another process answers".to_owned()) } else { self.sends(leader, version, &all[at], noted) };
            match done {
                Ok(next) => noted = next,
                Err(why) => {
                    self.world.tell(format!("    stopped: {why}"));
                    self.undoes(leader, undoing[at].as_ref());
                    self.lawful()?;
                    return Ok(false);
                }
            }
            if !matches!(all[at], Command::SameEpoch) {
                let words = words(&all[at], &before);
                self.world.tell(format!("    {words}"));
            }
            self.lawful()?;
        }
        Ok(true)
    }

    /// The decision's commands, and of each what takes back what its step did so far.
    fn script(&self, decision: &Decision) -> (Vec<Command>, Vec<Option<Command>>) {
        let (mut all, mut undoing) = (Vec::new(), Vec::new());
        for step in &decision.steps {
            let mut its = commands(step, &self.world.settings, &self.world.log);
            self.watcher.scripts(step, &mut its);
            let recorded = its.iter().position(|c| matches!(c, Command::Write(_))).unwrap_or(0);
            undoing.extend((0..its.len()).map(|at| undo(step).filter(|_| at < recorded)));
            all.append(&mut its);
        }
        (all, undoing)
    }

    /// A command takes effect, as it should or by a mistake.
    pub(super) fn sends(&mut self, operator: usize, version: u64, command: &Command, noted: Set) -> Result<Set, String> {
        let by_mistake = match command {
            Command::Write(record) => self.watcher.writes(&self.world.record, record),
            _ => None,
        };
        let done = match by_mistake {
            Some(record) => self.world.execute(operator, self.world.version, &Command::Write(record.into()), noted),
            None => self.world.execute(operator, version, command, noted),
        };
        self.watcher.meddles(&mut self.world);
        done
    }

    /// A step of a split that failed before its record was written is undone at once, if the member can be reached.
    fn undoes(&mut self, operator: usize, undo: Option<&Command>) {
        let Some(undo) = undo else { return };
        target(undo).into_iter().for_each(|member| self.world.operators[operator].lose_sessions(member));
        let version = self.world.operators[operator].version;
        match self.world.execute(operator, version, undo, Set::EMPTY) {
            Ok(_) => self.world.tell(format!("    undone: {undo:?}")),
            Err(why) => self.world.tell(format!("    not undone: {why}")),
        }
    }

    /// The operator is killed, or paused so long that the other one leads, or hears no answer; what it was about to send may come.
    fn interrupted(&mut self, rest: &[Command], noted: Set, undo: Option<&Command>) -> Result<(), String> {
        let leader = self.world.leader;
        let version = self.world.operators[leader].version;
        let same = rest.iter().take_while(|c| target(c).is_some() && target(c) == target(&rest[0])).count().max(1);
        let late = |commands: &[Command]| Some(Late { commands: commands.to_vec(), version, noted });
        match self.dice.roll(3) {
            0 if matches!(rest[0], Command::Write(_)) => {
                // It is written, and the answer is lost.
                let _ = self.sends(leader, version, &rest[0], noted);
                self.world.operators[leader].must_claim = true;
                self.world.tell("    written, and the answer is lost");
            }
            0 | 1 => {
                self.world.operators[leader].late = late(&rest[..1]);
                self.world.operators[leader].must_claim = true;
                self.world.tell("    sent, and no answer comes");
                if self.dice_of_a_split(2) {
                    self.undoes(leader, undo);
                }
            }
            _ => {
                self.world.operators[leader].late = late(&rest[..same]);
                self.taken_over();
            }
        }
        self.lawful()
    }

    /// The other operator leads.
    pub(super) fn taken_over(&mut self) {
        self.world.leader = 1 - self.world.leader;
        let new = self.world.leader;
        for _ in 0..2 {
            let (record, version) = (self.world.record.clone(), self.world.version);
            let late = self.world.operators[new].late.take();
            self.world.operators[new] = Operator::new(&record, version);
            self.world.operators[new].late = late;
            self.world.hear();
            self.world.swap();
        }
        self.world.tell(format!("operator {new} leads from here on, the other one is paused"));
    }

    /// A command that was on its way takes effect.
    pub(super) fn late(&mut self) {
        let operator = self.dice.roll(2) as usize;
        let Some(late) = self.world.operators[operator].late.take() else { return };
        let (first, rest) = (&late.commands[0], &late.commands[1..]);
        let before = self.world.record.clone();
        match self.sends(operator, late.version, first, late.noted) {
            Ok(noted) => {
                self.world.tell(format!("a late command of operator {operator}: {}", words(first, &before)));
                let more = (!rest.is_empty()).then(|| Late { commands: rest.to_vec(), noted, ..late.clone() });
                self.world.operators[operator].late = more;
            }
            Err(why) => self.world.tell(format!("a late command of operator {operator} fails: {why}")),
        }
    }

    /// Nothing is wrong any more, but what the pair has to put right itself.
    pub(super) fn all_heals(&mut self) {
        self.healing = true;
        self.world.api = true;
        for _ in 0..2 {
            self.world.requests = Default::default();
            self.world.operators.iter_mut().for_each(|o| o.late = None);
            self.world.swap();
        }
        for member in self.world.hosts.keys().copied().collect::<Vec<_>>() {
            let host = self.world.host(member);
            host.heal();
            if host.terminating {
                self.world.die(member);
            }
        }
        self.world.tell("everything heals");
    }

    /// Everything heals: does the pair come back by itself?
    fn heals(&mut self) -> Result<(), String> {
        self.all_heals();
        for turn in 0..PATIENCE {
            self.time(500)?;
            if self.well() {
                self.world.tell("in Sync");
                return Ok(());
            }
            // What more was lost than the pair can bear, a person decides.
            if turn % 80 == 79 && self.excused {
                if self.both_lost() {
                    self.told.person = true;
                    self.world.tell("both members' data is lost: a person restores it from a backup");
                    return Ok(());
                }
                self.decides();
            }
        }
        Err(format!("it doesn't come back: {:?}", self.last))
    }

    pub(super) fn well(&mut self) -> bool {
        let record = &self.world.record;
        let (primary, standby) = (index(&record.primary), record.standby.as_deref().map(index));
        let sync = record.mode == Mode::Sync && record.transition.is_none() && (self.last_said(Reason::InSync) || self.last_said(Reason::LinkBroken));
        let (Some(p), Some(s)) = (self.world.hosts.get(&primary), standby.and_then(|s| self.world.hosts.get(&s))) else { return false };
        sync && p.server.open() && p.server.pending.is_empty() && p.server.rows() == s.server.rows() && self.world.vip == Some(format!("10.0.{primary}.{}", p.pod))
    }

    /// Was this the last that the pair on the stage said?
    pub(super) fn last_said(&self, reason: Reason) -> bool {
        self.last.get(self.world.name).is_some_and(|last| last.starts_with(reason.as_str()))
    }

    /// Is the recorded primary's volume another one?
    fn volume_lost(&self) -> bool {
        let known = self.world.record.member(&self.world.record.primary);
        known.is_some_and(|m| self.world.hosts.get(&index(&m.name)).is_some_and(|h| m.volume != format!("v{}", h.server.volume)))
    }

    /// The primary's volume, while its standby was being rebuilt.
    fn both_lost(&self) -> bool {
        self.volume_lost() && (self.world.record.rebuild.is_some() || self.world.record.standby.is_none())
    }

    fn decides(&mut self) {
        self.told.person = true;
        let (standby, lost) = (self.world.record.standby.clone(), self.volume_lost());
        if lost {
            self.world.requests.promote_with_data_loss = standby.clone();
        } else {
            self.world.requests.discard_tail = standby.clone();
        }
        self.world.tell(format!("a person decides: {} {}", if lost { "promote-with-data-loss" } else { "discard-tail" }, standby.unwrap_or_default()));
    }
}
