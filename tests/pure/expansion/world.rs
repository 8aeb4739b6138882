//! A small world in which plans are carried out: pairs do what they are asked, one thing a tick. It objects to every step that
//! would be wrong whatever the plan says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use shardpair::api::expansion::{ExpansionPlanStatus, Finding, Phase, Severity, Standbys};
use shardpair::expansion::decide::{GRACE_MS, decide};
use shardpair::expansion::facts::{Asked, Cluster, Level, Observation, Pair, Plan, Preflight, Purge};
use shardpair::expansion::report;
use shardpair::expansion::step::{Decision, Step, Work};

/// See the module.
#[derive(Clone)]
pub struct World {
    pub plan: Plan,
    pub seen: Observation,
    pub now: Timestamp,
    pub status: ExpansionPlanStatus,
    pub released: bool,
    /// Map: shards and epoch.
    pub map: (u32, i64),
    /// Pairs that don't move by themselves.
    pub held: BTreeSet<u32>,
    pub findings: Vec<Finding>,
    /// Binary logs can't be read.
    pub blind: bool,
    pub events: Vec<String>,
    /// What was objected to.
    pub wrong: Vec<String>,
}

impl World {
    /// A healthy cluster and a plan that doubles it.
    pub fn new(shards: u32) -> Self {
        let plan = Plan {
            name: "x".to_owned(),
            to_shards: 2 * shards,
            standbys: Standbys::Before,
            until: Phase::Complete,
            clients_ms: 30_000,
            reverse_window_ms: 60_000,
            split_at: Vec::new(),
            deleting: false,
            held: false,
            paused: false,
            phase: None,
            phases: BTreeMap::new(),
            chosen: BTreeMap::new(),
            flipped_at: None,
            announced_at: None,
        };
        let well = || Pair { provisioned: true, prepared: false, parted: true, clean: true, ..Pair::default() };
        let seen = Observation {
            cluster: Some(Cluster { shards, ..Cluster::default() }),
            pairs: (0..shards).map(|s| (s, well())).collect(),
            ..Observation::default()
        };
        let now = "2026-11-23T05:00:00Z".parse().expect("a time");
        let none = (BTreeSet::new(), Vec::new(), Vec::new(), Vec::new());
        Self { plan, seen, now, status: ExpansionPlanStatus::default(), released: false, map: (shards, 1), held: none.0, findings: none.1, blind: false, events: none.2, wrong: none.3 }
    }

    pub fn decide(&self) -> Decision {
        decide(&self.plan, &self.seen, self.now)
    }

    /// Carries out the first `at_most` steps, reports, and lets the pairs and the background work go on by one thing.
    pub fn pass(&mut self, decision: &Decision, at_most: usize) {
        for step in decision.steps.iter().take(at_most) {
            self.step(step);
        }
        let done = Decision { steps: decision.steps.iter().take(at_most).cloned().collect(), ..decision.clone() };
        let new = report::status(&self.status, &self.plan, &self.seen, &done, Some(1), self.now);
        let told = report::events(&self.status, &new, &done, self.plan.deleting);
        self.events.extend(told.into_iter().map(|t| format!("{}{}: {}", if t.warning { "Warning " } else { "" }, t.reason, t.note)));
        self.remember(new);
        self.now += SignedDuration::from_millis(decision.again_ms as i64);
        for work in &decision.work {
            self.work(*work);
        }
        let shards: Vec<u32> = self.seen.pairs.keys().copied().collect();
        for shard in shards {
            self.tick(shard);
        }
    }

    fn remember(&mut self, status: ExpansionPlanStatus) {
        self.plan.phase = status.phase;
        self.plan.phases = status.shards.iter().filter_map(|s| Some((s.shard as u32, s.phase?))).collect();
        self.plan.chosen = status.shards.iter().filter_map(|s| Some((s.shard as u32, s.split_at?))).collect();
        self.plan.flipped_at = status.flipped_at.as_ref().map(|t| t.0);
        self.plan.announced_at = status.announced_at.as_ref().map(|t| t.0);
        self.status = status;
    }

    fn object(&mut self, why: String) {
        self.wrong.push(why);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Hold => self.plan.held = true,
            Step::Release => {
                self.plan.held = false;
                self.released = true;
                if self.seen.pairs.values().any(|p| p.asked.is_some()) && self.seen.cluster.as_ref().is_some_and(|c| !c.deleting) {
                    self.object("released while something of it is left".to_owned());
                }
            }
            Step::Choose(_) => {}
            Step::MakePair { parent, child } => {
                let asked = Some(Asked { plan: self.plan.name.clone(), until: Level::Prepared });
                if !self.plan.held {
                    self.object(format!("pair {child} is made by a plan that may vanish"));
                }
                if !self.seen.pairs.contains_key(parent) || self.seen.pairs.contains_key(child) {
                    self.object(format!("pair {child} is made twice, or without its parent"));
                }
                self.seen.pairs.insert(*child, Pair { asked, ..Pair::default() });
            }
            Step::Ask { parent, until } => self.ask(*parent, *until),
            Step::Unask(shard) => self.unask(*shard),
            Step::DropPair(shard) => self.drop_pair(*shard),
            Step::Announce(shards) => self.announce(*shards),
        }
    }

    fn ask(&mut self, parent: u32, until: Level) {
        let child = self.plan.child(parent);
        let was = self.seen.pairs[&parent].asked.as_ref().map(|a| a.until);
        if was >= Some(Level::Dissolved) && until < Level::Dissolved {
            self.object(format!("shard {parent} is asked back to {until:?} after Dissolved"));
        }
        let flipping = |w: &Self, s: u32| w.seen.pairs[&s].asked.as_ref().is_some_and(|a| a.until == Level::Flipped) && !w.seen.pairs[&s].flipped;
        if until == Level::Flipped && self.plan.parents().any(|s| s != parent && flipping(self, s)) {
            self.object("two shards flip at a time".to_owned());
        }
        if until == Level::Flipped && self.map.0 != self.plan.to_shards {
            self.object("keys move before the map has the new shards".to_owned());
        }
        if until >= Level::Flipped && was < Some(Level::Prepared) {
            self.object(format!("shard {parent} flips unprepared"));
        }
        let whole = self.plan.parents().all(|s| self.seen.pairs.get(&self.plan.child(s)).is_some_and(|c| !c.follows && c.provisioned));
        if until == Level::Dissolved && !whole {
            self.object("dissolved before all have flipped".to_owned());
        }
        for shard in [parent, child] {
            if let Some(pair) = self.seen.pairs.get_mut(&shard) {
                pair.asked = Some(Asked { plan: self.plan.name.clone(), until });
            }
        }
    }

    fn unask(&mut self, shard: u32) {
        let pair = self.seen.pairs.get_mut(&shard).expect("a pair");
        let was = pair.asked.take().map(|a| a.until);
        (pair.clean, pair.prepared) = (false, false);
        let open = pair.ceded && was < Some(Level::Purged);
        if open {
            self.object(format!("shard {shard} is let go while it follows, or while its other half is elsewhere"));
        }
    }

    fn drop_pair(&mut self, shard: u32) {
        let pair = self.seen.pairs.remove(&shard).expect("a pair");
        let waited = self.plan.announced_at.is_none_or(|at| self.now.as_millisecond() - at.as_millisecond() >= GRACE_MS);
        if pair.provisioned && !pair.follows || self.map.0 == self.plan.to_shards || !waited {
            self.object(format!("pair {shard} is dropped though it owns keys, or is in the map, or clients had no time"));
        }
    }

    fn announce(&mut self, shards: u32) {
        let whole = (0..shards).all(|s| self.seen.pairs.contains_key(&s));
        let ceded = self.seen.pairs.values().any(|p| p.ceded);
        if shards == self.map.0 || !whole || shards < self.map.0 && ceded {
            self.object(format!("a map of {shards} shards that isn't true, or no news"));
        }
        self.map = (shards, self.map.1 + 1);
        self.seen.cluster.as_mut().expect("a cluster").shards = shards;
    }

    fn work(&mut self, work: Work) {
        match work {
            Work::Preflight => self.seen.preflight = Some(Preflight { findings: self.findings.clone(), medians: BTreeMap::from([(0, 500), (1, 1500)]) }),
            Work::Audit(s) if self.blind => self.seen.audits.entry(s).or_default().error = Some("shop-m2 doesn't answer".to_owned()),
            Work::Audit(s) => self.seen.audits.entry(s).or_default().until = Some(self.now),
            Work::Purge(s) => {
                let child = self.plan.child(s);
                let parted = |s: u32| self.seen.pairs[&s].parted && self.seen.pairs[&s].asked.as_ref().map(|a| a.until) == Some(Level::Dissolved);
                if !parted(s) || !parted(child) {
                    self.object(format!("shard {s} is purged while a link may be there"));
                }
                let purge = self.seen.purges.entry(s).or_insert(Purge { estimated: 200, ..Purge::default() });
                (purge.scanned, purge.deleted) = (purge.scanned + 100, purge.deleted + 50);
                purge.verified = purge.scanned >= 200;
            }
        }
    }

    /// What a pair does by itself, one thing at a time.
    fn tick(&mut self, shard: u32) {
        let parent = (shard >= self.plan.to_shards / 2).then(|| shard - self.plan.to_shards / 2);
        if self.held.contains(&shard) || parent.is_some_and(|p| self.held.contains(&p)) {
            return;
        }
        match parent {
            None => self.tick_parent(shard),
            Some(parent) => self.tick_child(shard, parent),
        }
    }

    fn tick_parent(&mut self, shard: u32) {
        let child = self.seen.pairs.get(&self.plan.child(shard)).cloned();
        let pair = self.seen.pairs.get_mut(&shard).expect("a pair");
        match pair.asked.as_ref().map(|a| a.until) {
            None => (pair.clean, pair.ceded, pair.flipped) = (true, false, false),
            Some(Level::Prepared) if pair.ceded => {
                if child.is_some_and(|c| c.follows) {
                    (pair.ceded, pair.flipped, pair.pause_seconds) = (false, false, None);
                }
            }
            Some(Level::Prepared) => (pair.prepared, pair.clean, pair.parted) = (true, false, false),
            Some(Level::Flipped) if !pair.ceded => pair.ceded = child.is_some_and(|c| c.prepared),
            Some(Level::Flipped) => (pair.flipped, pair.pause_seconds) = (true, Some(0.05 + 0.01 * f64::from(shard))),
            Some(Level::Dissolved) => pair.parted = true,
            Some(Level::Purged) => {}
        }
    }

    fn tick_child(&mut self, shard: u32, parent: u32) {
        let parent = self.seen.pairs.get(&parent).cloned().expect("a parent");
        let pair = self.seen.pairs.get_mut(&shard).expect("a pair");
        match pair.asked.as_ref().map(|a| a.until) {
            None => pair.clean = true,
            Some(Level::Prepared) if !pair.provisioned => (pair.provisioned, pair.follows, pair.parted) = (true, true, false),
            Some(Level::Prepared) if !pair.follows => (pair.follows, pair.flipped) = (true, false),
            Some(Level::Prepared) => pair.prepared = true,
            Some(Level::Flipped) => {
                if parent.ceded && pair.follows {
                    pair.follows = false;
                } else if parent.ceded {
                    pair.flipped = true;
                }
            }
            Some(Level::Dissolved) => pair.parted = true,
            Some(Level::Purged) => {}
        }
    }

    /// In words, for the end of a chapter.
    pub fn state(&self) -> String {
        let mut text = format!("= map: {} shards, epoch {}; ", self.map.0, self.map.1);
        let phase = self.plan.phase.map_or("none".to_owned(), |p| format!("{p:?}"));
        let s = &self.status;
        let shown = |v: &Option<String>| v.clone().unwrap_or("-".to_owned());
        let _ = writeln!(text, "phase {phase}, flipped {}, pause {}, purged {}{}", shown(&s.flipped), shown(&s.pause), shown(&s.purged), if self.released { ", released" } else { "" });
        for (shard, pair) in &self.seen.pairs {
            let asked = pair.asked.as_ref().map_or("nothing asked".to_owned(), |a| format!("asked {:?}", a.until));
            let flags = [(pair.follows, "follows"), (pair.ceded, "ceded"), (!pair.clean, "guarded")];
            let flags: Vec<_> = flags.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
            let _ = writeln!(text, "  shard {shard}: {asked}{}{}", if flags.is_empty() { "" } else { ", " }, flags.join(", "));
        }
        text
    }

    /// Adds a finding of the preflight.
    pub fn find(&mut self, severity: Severity, reason: &str, object: &str, message: &str) {
        self.findings.push(Finding { severity, reason: reason.to_owned(), object: object.to_owned(), message: message.to_owned() });
    }

    /// Binary logs contain misrouted rows.
    pub fn misroute(&mut self, shard: u32, rows: i64) {
        let audit = self.seen.audits.entry(shard).or_default();
        (audit.misrouted, audit.example) = (rows, Some("shop.orders user_id=7".to_owned()));
    }
}
