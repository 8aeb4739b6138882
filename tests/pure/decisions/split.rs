//! Two pairs of a split in one scripted world: the parent and the child share members' lives, each with a record of its
//! own. What holds of both at any moment is checked after every pass.

use std::collections::BTreeSet;

use shardpair::api::expansion::Standbys;
use shardpair::api::pair::SplitRole;
use shardpair::mysql::gtid::GtidSet;
use shardpair::pair::facts::{Facts, GuardSeen, Observation, Other, ReceiverState};
use shardpair::pair::record::Record;
use shardpair::pair::settings::{GuardWanted, Settings, SplitWanted};
use shardpair::pair::split::SplitUntil;

use super::show;
use super::steps::Stopped;
use super::world::World;

/// The class of keys that stays with the parent.
pub const STAYS: u32 = 0;
/// The class that moves.
pub const MOVES: u32 = 1;
/// Passes after which two pairs that still find something to do are said never to rest.
const MANY: usize = 160;

/// What one pair has for itself.
#[derive(Clone, Debug)]
pub struct Side {
    pub name: String,
    pub settings: Settings,
    pub record: Record,
    pub seen: Observation,
}

fn wanted(name: &str, other: &str, role: SplitRole, until: SplitUntil, standbys: Standbys) -> SplitWanted {
    let guard = Ok(GuardWanted { hash: "g".into(), stays: STAYS, moves: MOVES });
    SplitWanted { name: name.into(), role, other: other.into(), until, standbys, map_epoch: 2, guard }
}

impl World {
    /// A split that waits for its flip.
    pub fn prepared() -> Self {
        let mut world = Self::in_sync();
        world.begin_split(Standbys::Before);
        let text = world.run();
        assert!(!text.contains("!!!"), "{text}");
        world
    }

    /// A split after its flip.
    pub fn flipped() -> Self {
        let mut world = Self::prepared();
        world.until(SplitUntil::Flipped);
        let text = world.run();
        assert!(!text.contains("!!!") && world.record.ceded.is_some(), "{text}");
        world
    }

    /// The other pair takes the stage.
    pub fn swap(&mut self) {
        let Some(side) = self.parked.as_deref_mut() else { return };
        std::mem::swap(&mut self.name, &mut side.name);
        std::mem::swap(&mut self.settings, &mut side.settings);
        std::mem::swap(&mut self.record, &mut side.record);
        std::mem::swap(&mut self.seen, &mut side.seen);
    }

    pub fn is_child(&self) -> bool {
        self.name == "child"
    }

    /// The stage is the parent's.
    pub fn parent_first(&mut self) {
        if self.is_child() {
            self.swap();
        }
    }

    /// A plan begins: the child is made, both are told.
    pub fn begin_split(&mut self, standbys: Standbys) {
        self.name = "parent".into();
        let members: Vec<String> = match standbys {
            Standbys::Before => vec!["m2".into(), "m3".into()],
            Standbys::After => vec!["m1".into()],
        };
        self.settings.split = Some(wanted("parent", "child", SplitRole::Parent, SplitUntil::Prepared, standbys));
        let settings = Settings { members, split: Some(wanted("child", "parent", SplitRole::Child, SplitUntil::Prepared, standbys)), ..self.settings.clone() };
        self.parked = Some(Box::new(Side { name: "child".into(), settings, record: Record::default(), seen: Observation { next_member: "m4".into(), ..Observation::default() } }));
        self.settle();
    }

    /// The plan lets both go so far.
    pub fn until(&mut self, until: SplitUntil) {
        for _ in 0..2 {
            if let Some(split) = &mut self.settings.split {
                split.until = until;
            }
            self.swap();
        }
    }

    /// The plan is over.
    pub fn end_split(&mut self) {
        for _ in 0..2 {
            self.settings.split = None;
            self.swap();
        }
        self.settle();
    }

    /// When the plan is over, clients know the map: where nobody writes keys of this class.
    pub fn wrong_place(&self, class: u32) -> Vec<String> {
        let Some(side) = self.parked.as_deref().filter(|_| self.settings.split.is_none()) else { return Vec::new() };
        let wrong = if self.is_child() == (class == MOVES) { &side.seen } else { &self.seen };
        wrong.members.keys().cloned().collect()
    }

    /// The plan was taken back before the flip: the child is deleted.
    pub fn drop_child(&mut self) {
        self.parent_first();
        self.parked = None;
        (self.settings.split, self.seen.other) = (None, None);
        self.settle();
    }

    /// What each sees of the other.
    pub fn look_over(&mut self) {
        let Some(side) = self.parked.as_deref() else { return };
        let members = |record: &Record, settings: &Settings, seen: &Observation| {
            let named = |n: &String| record.primary == *n || record.standby.as_ref() == Some(n) || settings.members.contains(n);
            seen.members.iter().filter(|(n, _)| named(n)).map(|(n, m)| (n.clone(), m.clone())).collect()
        };
        let look = |name: &str, record: &Record, settings: &Settings, seen: &Observation| {
            let behind_ms = self.bodies.get(&record.primary).map(|b| b.behind_ms);
            Other { name: name.to_owned(), record: record.clone(), members: members(record, settings, seen), behind_ms }
        };
        let mine = look(&self.name, &self.record, &self.settings, &self.seen);
        let theirs = look(&side.name, &side.record, &side.settings, &side.seen);
        self.seen.other = self.settings.split.is_some().then_some(theirs);
        if let Some(side) = self.parked.as_deref_mut() {
            side.seen.other = side.settings.split.is_some().then_some(mine);
        }
    }

    /// Passes of both, in turn, until both rest.
    pub fn run_both(&mut self) -> String {
        self.parent_first();
        let (mut text, mut quiet) = (String::new(), [String::new(), String::new()]);
        let mut still = 0;
        for number in 1..=MANY {
            let (busy, told) = self.pass(Some(number.div_ceil(2)), None);
            let told: String = told.lines().map(|l| if l.starts_with(' ') || l.starts_with('!') { format!("{l}\n") } else { format!("{} {l}\n", self.name) }).collect();
            let bare = told.split_once(". ").map_or(String::new(), |(_, this)| this.to_owned());
            if bare != quiet[number % 2] || told.lines().count() > 1 {
                text.push_str(&told);
            }
            quiet[number % 2] = bare;
            still = if busy { 0 } else { still + 1 };
            self.swap();
            if self.fuel == Some(0) || still >= 4 {
                self.parent_first();
                return if self.fuel == Some(0) { text } else { text + &self.both() };
            }
        }
        self.parent_first();
        text + "!!! THEY NEVER REST\n"
    }

    /// Both, in words.
    pub fn both(&mut self) -> String {
        let mut text = String::new();
        for _ in 0..2 {
            text.push_str(&format!("{} {}", self.name, show::state(self)));
            self.swap();
        }
        text
    }

    /// Does this member accept writes of the class from an application?
    pub fn accepts(facts: &Facts, class: u32) -> bool {
        let open = !facts.super_read_only && !facts.offline_mode;
        open && facts.guard.as_ref().is_none_or(|g| g.owned.contains(&class))
    }

    /// What must hold of two pairs at any moment; the first that doesn't.
    pub fn broken_split_law(&mut self) -> Option<String> {
        self.parked.as_ref()?;
        let mut owners = Vec::new();
        let mut broken = None;
        for _ in 0..2 {
            let body = self.bodies.get(&self.record.primary);
            if let Some(body) = body.filter(|b| b.alive && Self::accepts(&b.facts, MOVES) && self.settings.split.is_some()) {
                owners.push((self.name.clone(), body.facts.guard.is_some()));
            }
            let opened = [Some(&self.record.primary), self.record.standby.as_ref()].into_iter().flatten().find(|n| {
                // One that was deposed and can't be reached may be open: nobody acknowledges what it writes.
                let deposed = self.record.deposed.as_ref().is_some_and(|d| d.member == **n);
                !deposed && self.bodies.get(*n).is_some_and(|b| b.alive && !b.facts.super_read_only && !b.lifted)
            });
            if let Some(name) = opened.filter(|_| self.record.follows.is_some()) {
                broken = Some(format!("{name} is writable and its pair follows"));
            }
            self.swap();
        }
        if owners.len() > 1 {
            broken = Some(format!("12: both accept the keys that move: {owners:?}"));
        }
        broken
    }

    /// What a write of one pair's record must not do.
    pub fn broken_record_law(&self, old: &Record, new: &Record) -> Option<String> {
        let theirs = &self.parked.as_ref()?.record;
        if let (Some(ceded), None) = (&old.ceded, &new.ceded) {
            let back = theirs.follows.as_ref().is_some_and(|f| f.given_back >= Some(ceded.epoch));
            let over = self.settings.split.is_none() && old.severed.as_ref().is_some_and(|s| s.proven);
            if !back && !over {
                return Some("ceded is undone, and the child gave nothing back".into());
            }
        }
        if let (Some(follows), None) = (&old.follows, &new.follows)
            && theirs.ceded.as_ref().is_none_or(|c| Some(c.epoch) <= follows.given_back)
        {
            return Some("the child takes what wasn't ceded".into());
        }
        if new.severed.as_ref().is_some_and(|s| s.proven) && !old.severed.as_ref().is_some_and(|s| s.proven) {
            let leads = |n: &String| self.bodies.get(n).and_then(|b| b.facts.channel.as_ref()).is_some_and(|c| self.parked.as_ref().is_some_and(|p| p.seen.members.keys().any(|m| c.source_host == format!("svc-{m}"))));
            if [Some(&new.primary), new.standby.as_ref()].into_iter().flatten().any(leads) {
                return Some("the link is said to be gone and a channel leads over".into());
            }
        }
        None
    }

    /// Acknowledged writes that the pair which owns their keys doesn't have.
    pub fn lost_over_the_split(&mut self) -> Option<GtidSet> {
        let mut lost = GtidSet::default();
        let ceded = { self.parent_first(); self.record.ceded.is_some() };
        for _ in 0..2 {
            let owns_moving = if self.is_child() { self.record.follows.is_none() && self.record.provisioned() } else { !ceded };
            if let Some(body) = self.bodies.get(&self.record.primary).filter(|b| b.alive && !b.facts.super_read_only && !b.facts.offline_mode) {
                let held = body.facts.executed.union(&body.pending);
                let staying = self.acked.subtract(&self.acked_moving);
                let due = match (self.is_child(), owns_moving) {
                    (true, false) => GtidSet::default(),
                    (true, true) => self.acked_moving.clone(),
                    (false, true) => staying.union(&self.acked_moving),
                    (false, false) => staying,
                };
                lost = lost.union(&due.subtract(&held));
            }
            self.swap();
        }
        (!lost.is_empty()).then_some(lost)
    }

    pub fn set_guard(&mut self, member: &str, owned: &BTreeSet<u32>, ddl: bool, unsharded: bool) -> Result<(), Stopped> {
        self.at(member)?;
        let now = self.now;
        let body = self.body(member);
        let before = body.facts.guard.take().filter(|g| g.ddl_revoked && !ddl);
        if before.is_none() {
            body.noted = now;
        }
        let old_sessions = before.and_then(|g| g.old_sessions);
        body.facts.guard = Some(GuardSeen { hash: "g".into(), owned: owned.clone(), ddl_revoked: !ddl, unsharded_refused: !unsharded, old_sessions });
        Ok(())
    }

    /// Idle ones end, those at work after 10 s.
    pub fn retire_sessions(&mut self, member: &str, at_once: bool) -> Result<(), Stopped> {
        self.at(member)?;
        let now = self.now;
        let body = self.body(member);
        body.at_work &= !at_once && now.duration_since(body.noted).as_secs() < 10;
        let left = if body.at_work { 2 } else { 0 };
        if let Some(guard) = &mut body.facts.guard {
            guard.old_sessions = Some(left);
        }
        Ok(())
    }

    /// As `controller::pair::split` does it; killed or surprised between any two of its commands.
    pub fn cede(&mut self, primary: &str, to: &str, acker: Option<&str>, record: &Record) -> Result<(), Stopped> {
        let done = self.fence(primary, to, acker);
        match done {
            Ok(()) => {}
            Err(Stopped::Surprise(why)) => {
                self.burn()?;
                if self.at(primary).is_ok()
                    && let Some(guard) = &mut self.body(primary).facts.guard
                {
                    guard.owned = BTreeSet::from([STAYS, MOVES]);
                }
                return Err(Stopped::Surprise(why));
            }
            Err(killed) => return Err(killed),
        }
        self.burn()?;
        self.write_record(record);
        Ok(())
    }

    fn fence(&mut self, primary: &str, to: &str, acker: Option<&str>) -> Result<(), Stopped> {
        self.burn()?;
        self.at(primary)?;
        if self.fence_held {
            return Err(Stopped::Surprise("a transaction with such keys stays open".into()));
        }
        // It waits for the writers that passed: none of theirs may wait for an acknowledgement.
        if !self.body(primary).pending.is_empty() {
            return Err(Stopped::Surprise(format!("a commit waits on {primary}")));
        }
        if let Some(guard) = &mut self.body(primary).facts.guard {
            guard.owned = BTreeSet::from([STAYS]);
        }
        self.burn()?;
        self.write_heartbeat(primary);
        if !self.body(primary).pending.is_empty() {
            return Err(Stopped::Surprise(format!("{primary}: no acknowledgement within 1 s")));
        }
        let all = self.body(primary).facts.executed.clone();
        self.burn()?;
        self.at(to)?;
        if !self.body(to).facts.executed.contains(&all) {
            return Err(Stopped::Surprise(format!("{to} doesn't apply all within 1 s")));
        }
        if let Some(acker) = acker {
            self.at(acker)?;
            if !self.body(acker).facts.holds().contains(&all) {
                return Err(Stopped::Surprise(format!("{acker} doesn't receive all within 1 s")));
            }
        }
        Ok(())
    }

    pub fn give_back(&mut self, primary: &str, to: &str, patience_ms: u64, record: &Record) -> Result<(), Stopped> {
        self.burn()?;
        self.at(primary)?;
        if self.fence_held || !self.body(primary).pending.is_empty() {
            return Err(Stopped::Surprise(format!("a commit waits on {primary}; open as before")));
        }
        self.body(primary).facts.super_read_only = true;
        self.burn()?;
        self.settle();
        let all = self.body(primary).facts.executed.clone();
        if self.at(to).is_err() || !self.body(to).facts.executed.contains(&all) {
            self.burn()?;
            if self.at(primary).is_ok() {
                self.body(primary).facts.super_read_only = false;
            }
            return Err(Stopped::Surprise(format!("{to} doesn't apply all within {patience_ms} ms")));
        }
        self.burn()?;
        self.write_record(record);
        self.burn()?;
        self.point_vip(to)
    }

    pub fn detach(&mut self, member: &str, drain: bool) -> Result<(), Stopped> {
        self.at(member)?;
        let (now, ceded) = (self.now, self.record.ceded.is_some());
        let body = self.body(member);
        if let Some(guard) = body.facts.guard.as_mut().filter(|_| ceded) {
            (guard.old_sessions, body.noted) = (None, now);
        }
        let facts = &mut body.facts;
        let Some(channel) = &mut facts.channel else { return Ok(()) };
        (channel.receiver, channel.applier_running) = (ReceiverState::Off, channel.applier_running || drain);
        if drain && !facts.executed.contains(&channel.received) {
            return Err(Stopped::Surprise(format!("{member} isn't drained")));
        }
        facts.channel = None;
        Ok(())
    }
}
