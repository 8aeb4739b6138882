//! The two pairs of a split in one world: whose turn it is, what each has for itself and hears of the other, and where
//! clients write which keys. The members, the log of transactions and the clock are the world's, and both share them.

use super::guard::{HASH, MOVES, STAYS};
use crate::simulation::operator::Operator;
use crate::simulation::script::{index, name};
use crate::simulation::set::Set;
use crate::simulation::world::World;
use crate::api::expansion::Standbys;
use crate::api::pair::SplitRole;
use crate::pair::facts::{Other, Requests};
use crate::pair::record::Record;
use crate::pair::settings::{GuardWanted, Settings, SplitWanted};
use crate::pair::split::SplitUntil;

/// What a pair has for itself; of the one on the stage, in the fields of [`World`].
#[derive(Clone, Debug)]
pub struct Side {
    /// Its name.
    pub name: &'static str,
    /// The user's choices.
    pub settings: Settings,
    /// In etcd.
    pub record: Record,
    /// Its resourceVersion.
    pub version: u64,
    /// The record as the other pair's runner has heard of it.
    pub heard: Record,
    /// Where its VIP points.
    pub vip: Option<String>,
    /// What people ask of it.
    pub requests: Requests,
    /// Its runner in both operators.
    pub operators: [Operator; 2],
}

/// A pair, as a law looks at it.
#[derive(Clone, Copy)]
pub struct Glance<'a> {
    /// Its name.
    pub name: &'static str,
    /// The user's choices.
    pub settings: &'a Settings,
    /// In etcd.
    pub record: &'a Record,
}

impl Glance<'_> {
    /// Does it own the keys of this class, by its record?
    pub fn owns(&self, class: u32, over: bool) -> bool {
        match self.name {
            "child" => class == MOVES && self.record.follows.is_none() && self.record.provisioned(),
            "parent" if over => class == STAYS,
            _ => class == STAYS || self.record.ceded.is_none(),
        }
    }

    /// Is this a member of it, by its record or its spec?
    pub fn has(&self, member: u8) -> bool {
        let name = name(member);
        self.record.primary == name || self.record.standby.as_ref() == Some(&name) || self.settings.members.contains(&name)
    }
}

impl World {
    /// A plan begins: the child is made, both are told.
    pub fn begin_split(&mut self, standbys: Standbys) {
        let wanted = |name: &str, other: &str, role| {
            let guard = Ok(GuardWanted { hash: HASH.into(), stays: STAYS, moves: MOVES });
            SplitWanted { name: name.into(), role, other: other.into(), until: SplitUntil::Prepared, standbys, map_epoch: 2, guard }
        };
        let members = match standbys {
            Standbys::Before => vec!["m2".to_owned(), "m3".to_owned()],
            Standbys::After => self.record.standby.clone().into_iter().collect(),
        };
        self.name = "parent";
        self.settings.split = Some(wanted("parent", "child", SplitRole::Parent));
        let settings = Settings { members, split: Some(wanted("child", "parent", SplitRole::Child)), ..self.settings.clone() };
        let (record, operators) = (Record::default(), [Operator::new(&Record::default(), 1), Operator::new(&Record::default(), 1)]);
        let child = Side { name: "child", settings, heard: record.clone(), record, version: 1, vip: None, requests: Requests::default(), operators };
        self.parked = Some(Box::new(child));
        self.tell(format!("a plan begins, standbys {standbys:?}"));
        self.settle();
    }

    /// The other pair takes the stage.
    pub fn swap(&mut self) {
        let Some(side) = self.parked.as_deref_mut() else { return };
        std::mem::swap(&mut self.name, &mut side.name);
        std::mem::swap(&mut self.settings, &mut side.settings);
        std::mem::swap(&mut self.record, &mut side.record);
        std::mem::swap(&mut self.version, &mut side.version);
        std::mem::swap(&mut self.heard, &mut side.heard);
        std::mem::swap(&mut self.vip, &mut side.vip);
        std::mem::swap(&mut self.requests, &mut side.requests);
        std::mem::swap(&mut self.operators, &mut side.operators);
    }

    /// The stage is this pair's.
    pub fn stage(&mut self, pair: &str) {
        if self.name != pair {
            self.swap();
        }
    }

    /// The pair on the stage, and the other.
    pub fn glances(&self) -> Vec<Glance<'_>> {
        let own = Glance { name: self.name, settings: &self.settings, record: &self.record };
        let side = self.parked.as_deref().map(|s| Glance { name: s.name, settings: &s.settings, record: &s.record });
        std::iter::once(own).chain(side).collect()
    }

    /// The pair that a member belongs to: by a record, else by a spec.
    pub fn pair_of(&self, member: u8) -> Glance<'_> {
        let glances = self.glances();
        let named = |g: &&Glance| g.record.primary == name(member) || g.record.standby.as_deref() == Some(&name(member));
        glances.iter().find(named).or(glances.iter().find(|g| g.has(member))).copied().unwrap_or(glances[0])
    }

    /// The record of that pair.
    pub fn record_of(&self, member: u8) -> &Record {
        self.pair_of(member).record
    }

    /// Are both of the same pair?
    pub fn of_one_pair(&self, a: u8, b: u8) -> bool {
        self.parked.is_none() || self.pair_of(a).name == self.pair_of(b).name
    }

    /// Members of every pair.
    pub fn everyone(&self) -> Vec<u8> {
        let mut all: Vec<u8> = self.glances().iter().flat_map(|g| named(g.record, g.settings)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Does a pair's spec name it?
    pub fn in_a_spec(&self, member: u8) -> bool {
        self.glances().iter().any(|g| g.settings.members.contains(&name(member)))
    }

    /// What the pair on the stage sees of the other: its record from a watch, its members through its own probers.
    pub fn look_over(&self) -> Option<Other> {
        let side = self.parked.as_deref().filter(|_| self.settings.split.is_some())?;
        let mut other = Other { name: side.name.to_owned(), record: side.heard.clone(), ..Other::default() };
        for member in named(&side.heard, &side.settings) {
            other.members.insert(name(member), self.seen_by(&side.operators[self.leader], member, &side.heard));
        }
        Some(other)
    }

    /// The watch brings the other pair's newest record.
    pub fn hear(&mut self) {
        if let Some(side) = self.parked.as_deref_mut() {
            side.heard = side.record.clone();
        }
    }

    /// Clients write a key of a class, wherever they are let in: with an old map, a new one, or a connection from before.
    pub fn write_key(&mut self, class: u32) {
        for member in self.everyone() {
            let pair = self.pair_of(member);
            let (known, primary) = (!self.over || pair.owns(class, true), pair.record.primary == name(member));
            let gives = pair.owns(class, self.over);
            let what = format!("{} accepts a key of class {class}, which {} doesn't own (12)", name(member), pair.name);
            let Some(host) = self.hosts.get(&member).filter(|h| h.server.runs() && h.server.open() && !h.full && !h.cut) else { continue };
            if !known || host.server.guard.is_some_and(|g| !g.accepts(class)) {
                continue;
            }
            let Some(id) = self.log.write(host.server.volume) else { return };
            if class == MOVES {
                self.moving = self.moving.union(Set::one(id));
            }
            match primary {
                true if !gives => self.broken = self.broken.take().or(Some(what)),
                true => {}
                false => self.dead = self.dead.union(Set::one(id)),
            }
            if self.server(member).write(id) {
                self.told_ok(member, Set::one(id));
            }
        }
        self.settle();
    }
}

/// Members of a record and a spec.
pub fn named(record: &Record, settings: &Settings) -> Vec<u8> {
    let recorded = std::iter::once(&record.primary).chain(&record.standby).filter(|m| !m.is_empty());
    let mut all: Vec<u8> = settings.members.iter().chain(recorded).map(|m| index(m)).collect();
    all.sort_unstable();
    all.dedup();
    all
}


/// What a record says of a split.
pub fn in_words(record: &Record) -> String {
    let mut text = String::new();
    if let Some(follows) = &record.follows {
        text.push_str(&format!(", follows {}", follows.pair));
        text.push_str(&follows.given_back.map(|epoch| format!(" (gave back {epoch})")).unwrap_or_default());
    }
    if let Some(ceded) = &record.ceded {
        text.push_str(&format!(", ceded at {}", ceded.epoch));
    }
    if let Some(linked) = &record.linked {
        text.push_str(&format!(", linked to {}", linked.pair));
    }
    if let Some(severed) = &record.severed {
        text.push_str(&format!(", severed ({:?}{})", severed.reason, if severed.proven { ", proven" } else { "" }));
    }
    text
}
