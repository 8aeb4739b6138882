//! The text form of a scenario: one thing that happens a line, `---` and what the operator decides below it.
//!
//! `# …` tells the story. `pair new|sync [required] [flushed] [replace after 60s]` begins it. `<member>: <what>, <what>`
//! changes the world, see [`World::change`]. `decide` shows a decision, `apply [n]` carries it out (n steps of it), `run`
//! goes on until the pair rests, `interrupt` runs it once for every place where the operator can be killed.

use std::fmt::Write;

use shardpair::pair::decide::decide;
use shardpair::pair::facts::{Contact, ReceiverState};
use shardpair::pair::record::{AppliedSettings, Record};
use shardpair::pair::settings::{Ack, Durability};
use shardpair::pair::step::{Decision, Next};

use shardpair::api::expansion::Standbys;
use shardpair::pair::facts::Observation;
use shardpair::pair::split::SplitUntil;

use super::law::Case;
use super::show;
use super::steps::Stopped;
use super::world::{World, gtids, uuid_of};

/// Passes after which a pair that still finds something to do is said never to rest.
const MANY: usize = 40;

fn ms(text: &str) -> u64 {
    let text = text.trim();
    match text.strip_suffix("ms") {
        Some(n) => n.parse().unwrap_or_else(|_| panic!("a time: {text}")),
        None => text.strip_suffix('s').and_then(|n| n.parse::<u64>().ok()).unwrap_or_else(|| panic!("a time: {text}")) * 1000,
    }
}

impl World {
    /// One line of a story; what it shows.
    pub fn tell(&mut self, line: &str) -> String {
        if let Some((name, what)) = line.split_once(": ").filter(|(name, _)| name.starts_with('m') && !name.contains(' ')) {
            what.split(", ").for_each(|change| self.change(name, change));
            self.settle();
            return String::new();
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "pair" if rest == "prepared" => *self = World::prepared(),
            "pair" if rest == "flipped" => *self = World::flipped(),
            "pair" => *self = begin(rest),
            "wait" => self.wait(ms(rest)),
            "write" => self.write(rest.parse().expect("write <n>")),
            "cordon" | "uncordon" => {
                let sides = self.seen.members.values_mut().chain(self.parked.iter_mut().flat_map(|p| p.seen.members.values_mut()));
                for pod in sides.filter_map(|m| m.pod.as_mut()).filter(|p| p.node.as_deref() == Some(rest)) {
                    pod.node_cordoned = word == "cordon";
                }
            }
            "request" => self.request(rest),
            "turn" => self.seen.turn_of = rest.strip_prefix("of ").map(str::to_owned),
            "set" => self.set(rest),
            "new-operator" => self.new_operator(),
            "split" => self.begin_split(if rest == "after" { Standbys::After } else { Standbys::Before }),
            "unsplit" => self.end_split(),
            "drop-child" => self.drop_child(),
            "until" => self.until(match rest {
                "prepared" => SplitUntil::Prepared,
                "flipped" => SplitUntil::Flipped,
                "dissolved" => SplitUntil::Dissolved,
                _ => SplitUntil::Purged,
            }),
            "child" => {
                self.swap();
                let text = self.tell(rest);
                self.swap();
                return text;
            }
            "fence" => self.fence_held = rest == "held",
            "switchover-fails-at" => self.switchover_fails_at = rest.parse().ok(),
            "decide" => return show::decision(None, &self.record, &self.decide()),
            "apply" => return self.pass(None, rest.parse().ok()).1,
            "run" => return self.run(),
            "interrupt" => return self.interrupt(),
            "show" if self.parked.is_some() => return self.both(),
            "show" => return show::state(self),
            other => panic!("no such line: {other}"),
        }
        self.settle();
        String::new()
    }

    fn request(&mut self, what: &str) {
        let (kind, member) = what.split_once(' ').expect("request <kind> <member>");
        *self.request_field(kind) = Some(member.to_owned());
    }

    fn set(&mut self, what: &str) {
        match what {
            "paused" => self.settings.paused = true,
            "unpaused" => self.settings.paused = false,
            "durability required" => self.settings.durability = Durability::Required,
            "durability preferred" => self.settings.durability = Durability::Preferred,
            "ack flushed" => self.settings.ack = Ack::Flushed,
            "unprovisioned" => self.seen.unprovisioned = true,
            "record-lost" => self.record = Record::default(),
            "status primary m1" => (self.record.primary, self.record.standby) = ("m1".into(), Some("m0".into())),
            "status mode sync" => self.record.mode = shardpair::pair::record::Mode::Sync,
            "status mode solo" => self.record.mode = shardpair::pair::record::Mode::Solo,
            "status nobody deposed" => self.record.deposed = None,
            "status rebuild done" => self.record.rebuild = None,
            "rewind-garbage" => self.record.rewind.as_mut().expect("a rewind").tail = "by hand".into(),
            "vip-lost" => self.seen.vip.points_to = None,
            "no-standby" => self.record.standby = None,
            "foreign slice" => self.seen.vip.foreign = vec!["shop-abc".into()],
            other => match other.split_once(' ') {
                Some(("replace-after", time)) => self.settings.replace_after_ms = Some(ms(time)),
                Some(("epoch", n)) => self.record.epoch = n.parse().expect("an epoch"),
                Some(("failovers", n)) => self.record.recent_failovers = (0..n.parse().expect("a number")).map(|_| k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(self.now)).collect(),
                _ => panic!("no such setting: {other}"),
            },
        }
    }

    /// `m0: dies`, `m1: has A:1-118`, …
    pub fn change(&mut self, name: &str, what: &str) {
        let elsewhere = self.parked.as_ref().is_some_and(|p| p.seen.members.contains_key(name));
        if !self.seen.members.contains_key(name) && elsewhere {
            self.swap();
            self.change(name, what);
            return self.swap();
        }
        let (word, rest) = what.split_once(' ').unwrap_or((what, ""));
        if self.change_body(name, word, rest) || self.change_facts(name, word, rest) {
            return;
        }
        let member = self.seen.members.get_mut(name).unwrap_or_else(|| panic!("no member {name}"));
        let pod = member.pod.as_mut();
        match (word, rest) {
            ("volume", "gone") => member.volume = None,
            ("volume", id) => member.volume = Some(id.to_owned()),
            ("terminating", _) => pod.expect("a pod").terminating = true,
            ("outdated", _) => pod.expect("a pod").outdated = true,
            ("waiting", why) => pod.expect("a pod").waiting = why.to_owned(),
            ("config", hash) => member.config_hash = Some(hash.to_owned()),
            ("refuses", error) => member.contact = Contact::Refused(error.to_owned()),
            ("contact", "broken") => member.contact = Contact::Broken { for_ms: 70, refused: false },
            ("held-by-lock", time) => (member.beat.held_by_lock, member.beat.pending_ms) = (true, Some(ms(time))),
            ("writes-fail", time) => member.beat.failing = Some(("1114: The table is full".into(), ms(time))),
            ("writes-hang", time) => member.beat.pending_ms = Some(ms(time)),
            _ => panic!("{name}: no such change: {what}"),
        }
        if matches!(word, "held-by-lock" | "writes-hang") {
            self.body(name).stuck = true;
        }
    }

    fn change_body(&mut self, name: &str, word: &str, rest: &str) -> bool {
        match (word, rest) {
            ("dies", _) => self.die(name, false),
            ("is", "killed") => self.die(name, true),
            ("returns", _) => {
                if !self.body(name).alive {
                    self.boot(name);
                    self.new_pod(name);
                }
            }
            ("hangs", _) => self.body(name).hung = true,
            // A guard was placed on it, and `super_read_only` can't be put back.
            ("held", "open") => {
                let body = self.body(name);
                (body.held, body.lifted, body.facts.super_read_only) = (true, true, false);
            }
            ("unseen", _) => self.body(name).unseen = true,
            ("unasked", _) => self.body(name).unasked = true,
            ("cut", "off") => (self.body(name).unseen, self.body(name).unlinked) = (true, true),
            ("unlinked", _) => self.body(name).unlinked = true,
            ("heals", _) => {
                let body = self.body(name);
                (body.hung, body.unseen, body.unlinked, body.stuck, body.deaf) = (false, false, false, false, false);
                body.unasked = false;
            }
            ("reboots", _) => {
                self.body(name).kernel += 1;
                let boot = format!("boot{}", self.body(name).kernel);
                // Unless the relay log was flushed, what was received and not applied is gone.
                let flushed = self.settings.ack == Ack::Flushed;
                let facts = &mut self.body(name).facts;
                if let Some(channel) = facts.channel.as_mut().filter(|_| !flushed) {
                    channel.received = channel.received.intersection(&facts.executed);
                }
                self.boot(name);
                self.seen.members.get_mut(name).and_then(|m| m.pod.as_mut()).expect("a pod").node_boot = Some(boot);
            }
            ("uninvertible", _) => self.body(name).uninvertible = true,
            ("differs", _) => self.body(name).differs = true,
            ("applies", how) => self.body(name).slow = how == "slowly",
            ("sessions", what) => self.body(name).at_work = what == "at work",
            ("deaf", _) => self.body(name).deaf = true,
            ("new-pod", _) => {
                self.boot(name);
                self.new_pod(name);
            }
            ("receiver-error", error) => self.body(name).refused = Some(error.to_owned()),
            ("refused-setting", entry) => {
                let (process, hash) = (self.body(name).facts.process.clone(), self.seen.members[name].config_hash.clone().unwrap_or_default());
                self.record.member_mut(name).settings = Some(AppliedSettings { process, hash, refused: vec![entry.to_owned()], ..AppliedSettings::default() });
            }
            ("strangers", n) => self.body(name).strangers = n.parse().expect("a number"),
            ("clone-dies", _) => {
                self.body(name).cloning = None;
                self.boot(name);
            }
            ("applier-breaks", error) => self.body(name).breaks = Some(error.to_owned()),
            ("applier-repaired", _) => {
                let body = self.body(name);
                body.breaks = None;
                if let Some(channel) = body.facts.channel.as_mut().filter(|c| !c.applier_error.is_empty()) {
                    (channel.applier_error, channel.applier_running) = (String::new(), true);
                }
            }
            _ => return false,
        }
        true
    }

    fn change_facts(&mut self, name: &str, word: &str, rest: &str) -> bool {
        let Some(body) = self.bodies.get_mut(name) else { return false };
        let facts = &mut body.facts;
        match (word, rest) {
            ("has", set) => facts.executed = gtids(set),
            ("purged", set) => facts.purged = gtids(set),
            ("received", set) => facts.channel.as_mut().expect("a channel").received = gtids(set),
            ("receiver", "off") => facts.channel.as_mut().expect("a channel").receiver = ReceiverState::Off,
            ("source", host) => facts.channel.as_mut().expect("a channel").source_host = format!("svc-{host}"),
            ("applier-error", error) => {
                let channel = facts.channel.as_mut().expect("a channel");
                (channel.applier_running, channel.applier_error) = (false, error.to_owned());
                channel.received = gtids("B:1");
                body.breaks = Some(error.to_owned());
            }
            ("applier", "off") => facts.channel.as_mut().expect("a channel").applier_running = false,
            ("acks", "altered") => facts.source.altered = true,
            ("filters", n) => facts.filters = n.parse().expect("a number"),
            ("channels", n) => facts.foreign_channels = n.parse().expect("a number"),
            ("acks", "off") => (facts.source.enabled, facts.source.on) = (false, false),
            ("writable", _) => (facts.super_read_only, facts.offline_mode) = (false, false),
            ("server", letter) => facts.server_uuid = uuid_of(letter.chars().next().expect("a letter")),
            ("epoch", "none") => facts.epoch = None,
            ("epoch", n) => facts.epoch = n.parse().ok(),
            ("lag", time) => body.behind_ms = ms(time),
            ("events-disabled", n) => facts.events_disabled = n.parse().expect("a number"),
            ("wait-count", n) => facts.source.wait_count = n.parse().expect("a number"),
            _ => return false,
        }
        true
    }

    pub fn decide(&self) -> Decision {
        let decision = decide(&self.record, &self.settings, &self.seen, self.now);
        let case = Case { record: &self.record, settings: &self.settings, seen: &self.seen, now: self.now };
        let broken = case.broken(&decision);
        assert!(broken.is_empty(), "{}\ndecided: {decision:?}\nseen: {:#?}", broken.join("\n"), self.seen);
        decision
    }

    /// Observe, decide, act; false: there was nothing to do.
    pub fn pass(&mut self, number: Option<usize>, fuel: Option<u32>) -> (bool, String) {
        let decision = self.decide();
        let mut text = show::decision(number, &self.record, &decision);
        let before = (self.record.clone(), self.seen.clone(), self.settings.clone());
        self.fuel = fuel.or(self.fuel);
        match self.act(&decision) {
            Ok(()) => {}
            Err(Stopped::Surprise(why)) => {
                let _ = writeln!(text, "     surprise: {why}");
            }
            Err(Stopped::Killed) => text.push_str("     the operator is killed\n"),
        }
        if fuel.is_some() {
            self.fuel = None;
        }
        self.settle();
        let stage = self.name.clone();
        if let Some(broken) = self.broken_split_law() {
            let _ = writeln!(text, "!!! {broken}");
        }
        let lost = self.lost_writes();
        if self.name != stage {
            self.swap();
        }
        if let Some(lost) = lost {
            let _ = writeln!(text, "!!! ACKNOWLEDGED WRITES ARE LOST: {}", show::set(&lost));
        }
        // Something that is expected any moment, and nothing came: at rest.
        let still = before.0 == self.record && same(&before.1, &self.seen) && before.2 == self.settings;
        (!(still && (decision.steps.is_empty() || decision.next != Next::Now)), text)
    }

    /// Passes until it rests.
    pub fn run(&mut self) -> String {
        if self.parked.is_some() {
            return self.run_both();
        }
        let mut text = String::new();
        for number in 1..=MANY {
            let quiet = text.rsplit_once(". ").map(|(_, last)| last.to_owned());
            let (busy, told) = self.pass(Some(number), None);
            // The same once more, while the world settles: said once.
            if told.split_once(". ").map(|(_, this)| this) != quiet.as_deref() || told.lines().count() > 1 {
                text.push_str(&told);
            }
            if self.fuel == Some(0) {
                return text;
            }
            if !busy {
                return text + &show::state(self);
            }
        }
        text + "!!! IT NEVER RESTS\n"
    }

    /// The same, with the operator killed after each of its steps in turn: where does it end?
    fn interrupt(&mut self) -> String {
        let begun = self.clone();
        let text = self.run();
        let steps = self.spent - begun.spent;
        let mut ends: Vec<(String, Vec<String>)> = Vec::new();
        let mut wrong = String::new();
        for killed_after in 0..steps {
            let mut other = begun.clone();
            other.fuel = Some(killed_after);
            other.run();
            other.new_operator();
            let mut last = other.run();
            // What a new operator must see again takes a moment.
            other.wait(4_000);
            last.push_str(&other.run());
            if last.contains("!!!") {
                let _ = writeln!(wrong, "!!! KILLED AFTER {killed_after} STEPS:\n{last}");
            }
            let end = other.end();
            match ends.iter_mut().find(|(known, _)| *known == end) {
                Some((_, after)) => after.push(killed_after.to_string()),
                None => ends.push((end, vec![killed_after.to_string()])),
            }
        }
        let told: String = match ends.as_slice() {
            [(end, _)] if *end == self.end() => format!("~ the operator killed after any of its {steps} steps, another one begun: the same end\n"),
            _ => ends.iter().map(|(end, after)| format!("~ killed after {} steps: {end}\n", after.join(", "))).collect(),
        };
        text + &told + &wrong
    }

    /// What an interrupted move must have in common with one that wasn't.
    fn end(&mut self) -> String {
        if self.parked.is_none() {
            return self.one_end();
        }
        self.parent_first();
        let parent = self.one_end();
        self.swap();
        let text = format!("{parent} | child {}", self.one_end());
        self.swap();
        text
    }

    fn one_end(&self) -> String {
        let r = &self.record;
        let open: Vec<&String> = self.bodies.iter().filter(|(n, b)| b.alive && !b.facts.super_read_only && self.seen.members.contains_key(*n)).map(|(n, _)| n).collect();
        let reason = self.decide().note.reason;
        let abandoned: Vec<&str> = r.abandoned.iter().map(|a| a.member.as_str()).collect();
        let open: Vec<&str> = open.into_iter().map(String::as_str).collect();
        let mut text = format!("{} {:?}, standby {}, open: {}; {}", r.primary, r.mode, r.standby.as_deref().unwrap_or("none"), open.join(", "), reason.as_str());
        text.push_str(&show::of_split(r));
        if let Some(t) = &r.transition {
            let _ = write!(text, ", {:?} under way", t.kind);
        }
        if !abandoned.is_empty() {
            let _ = write!(text, ", abandoned {}", abandoned.join(", "));
        }
        text
    }
}

/// Does a pair see the same? (What the other side of a split does shows in its members soon enough.)
fn same(a: &Observation, b: &Observation) -> bool {
    a.members == b.members && a.vip == b.vip && a.requests == b.requests && a.unprovisioned == b.unprovisioned
}

fn begin(how: &str) -> World {
    let mut world = if how.starts_with("sync") { World::in_sync() } else { World::new() };
    for option in how.split(' ').skip(1) {
        match option {
            "required" => world.settings.durability = Durability::Required,
            "flushed" => world.settings.ack = Ack::Flushed,
            other => panic!("no option {other}"),
        }
    }
    world
}
