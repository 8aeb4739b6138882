//! Two pairs of a split under chance: arbitrary records and observations of both sides, and long random lives, with the
//! plan going forward and back, faults on either side, and an operator that is killed anywhere.
//!
//! The laws are those of `decisions::law` and `decisions::split`: one owner of a key class, no write before the record, a
//! cession undone by nobody but the child's own record, every acknowledged write with its owner.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use shardpair::pair::decide::decide;
use shardpair::pair::facts::GuardSeen;
use shardpair::pair::record::{Ceded, Cut, Flip, Follows, Linked, Mode, Severed};
use shardpair::pair::settings::Durability;
use shardpair::pair::split::SplitUntil;
use shardpair::simulation::dice::Dice;

use crate::decisions::law::Case;
use crate::decisions::world::World;
use crate::invariants::{arbitrary_facts, arbitrary_seen, happens, number};

/// Something of a split that a record of this side may hold.
fn arbitrary_split(dice: &mut Dice, world: &mut World) {
    let (child, other) = (world.is_child(), if world.is_child() { "parent" } else { "child" });
    let now = MicroTime(world.now);
    let record = &mut world.record;
    if dice.once(3) {
        record.severed = dice.once(2).then(|| Severed { pair: other.into(), reason: dice.of(&[Cut::Dissolved, Cut::LinkBroken]), proven: dice.once(2) });
        if child && record.severed.is_some() {
            record.follows = None;
        }
        record.linked = (record.severed.is_none() && dice.once(2)).then(|| Linked { pair: other.into() });
    }
    if dice.once(4) {
        record.flip = Some(Flip { given_up: dice.roll(3) as u32, given_up_at: dice.once(2).then(|| now.clone()), begun_at: dice.once(2).then(|| now.clone()) });
    }
    if dice.once(3) {
        match child {
            true if record.severed.is_none() => record.follows = dice.once(2).then(|| Follows { pair: other.into(), given_back: dice.of(&[None, Some(8), Some(20)]) }),
            true => {}
            false => record.ceded = dice.once(2).then(|| Ceded { pair: other.into(), epoch: dice.of(&[8, 8, 20]), fenced_at: now, executed: String::new() }),
        }
    }
    if dice.once(4) {
        record.mode = dice.of(&[Mode::Sync, Mode::Solo]);
        record.standby_boot = (record.mode == Mode::Sync).then(|| "boot1/k1".to_owned());
    }
    if let Some(split) = &mut world.settings.split {
        split.until = dice.of(&[SplitUntil::Prepared, SplitUntil::Flipped, SplitUntil::Dissolved, SplitUntil::Purged]);
        if dice.once(15) {
            split.guard = Err("no such table".into());
        }
    }
    world.settings.durability = dice.of(&[Durability::Preferred, Durability::Preferred, Durability::Required]);
    world.settings.paused = dice.once(30);
    if dice.once(15) {
        world.settings.split = None;
    }
}

fn arbitrary_guards(dice: &mut Dice, world: &mut World) {
    for body in world.bodies.values_mut() {
        if dice.once(3) {
            let owned = [0, 1].into_iter().filter(|_| dice.once(2)).collect();
            let guard = GuardSeen { hash: dice.of(&["g", "g", "old"]).into(), owned, ddl_revoked: !dice.once(4), unsharded_refused: dice.once(2), old_sessions: dice.of(&[Some(0), Some(0), Some(2), None]) };
            body.facts.guard = (!dice.once(5)).then_some(guard);
        }
    }
}

#[test]
fn no_records_and_observations_of_two_pairs_make_a_decision_break_a_law() {
    let (begun, cases) = (number("SEED", 1), number("CASES", 10_000));
    let templates = [World::prepared(), World::flipped()];
    let mut acting = 0;
    for seed in begun..begun + cases {
        let mut dice = Dice(seed.wrapping_mul(0x9E37));
        let mut world = templates[dice.roll(2) as usize].clone();
        arbitrary_guards(&mut dice, &mut world);
        for _ in 0..2 {
            arbitrary_split(&mut dice, &mut world);
            for name in world.seen.members.keys().cloned().collect::<Vec<_>>() {
                if dice.once(3) {
                    arbitrary_facts(&mut dice, &mut world, &name);
                }
            }
            arbitrary_seen(&mut dice, &mut world);
            world.swap();
        }
        world.look_over();
        for _ in 0..2 {
            let decision = decide(&world.record, &world.settings, &world.seen, world.now);
            acting += usize::from(!decision.steps.is_empty());
            let broken = Case { record: &world.record, settings: &world.settings, seen: &world.seen, now: world.now }.broken(&decision);
            assert!(broken.is_empty(), "SEED={seed} CASES=1 {}\n{}\n{decision:#?}\n{:#?}\n{:#?}", world.name, broken.join("\n"), world.record, world.seen);
            world.swap();
        }
    }
    assert!(acting as u64 > cases / 4, "only {acting} of {cases} cases did anything: what is arbitrary has become dull");
}

/// The plan's next word: forward, or back while that is possible.
fn plan(dice: &mut Dice, world: &mut World, until: &mut SplitUntil) -> String {
    *until = match *until {
        SplitUntil::Prepared => SplitUntil::Flipped,
        SplitUntil::Flipped => dice.of(&[SplitUntil::Prepared, SplitUntil::Prepared, SplitUntil::Dissolved]),
        dissolved => dissolved,
    };
    world.until(*until);
    format!("until {until:?}")
}

fn heal(world: &mut World) {
    (world.switchover_fails_at, world.fence_held) = (None, false);
    for name in world.bodies.keys().cloned().collect::<Vec<_>>() {
        for line in ["heals", "applier-repaired", "returns"] {
            world.tell(&format!("{name}: {line}"));
        }
        world.tell(&format!("uncordon n{}", &name[1..]));
    }
    for _ in 0..2 {
        world.seen.requests = Default::default();
        for name in world.seen.members.keys().cloned().collect::<Vec<_>>() {
            if world.seen.members[&name].pod.as_ref().is_some_and(|p| p.terminating) {
                world.die(&name, true);
                world.settle();
            }
        }
        world.swap();
    }
}

/// One life; everything that happened is kept in `told`, whatever becomes of it.
fn live(seed: u64, told: &Mutex<Vec<String>>) {
    let say = |line: String| told.lock().expect("never poisoned").push(line);
    let mut dice = Dice(seed.wrapping_mul(0x5851_F42D));
    let mut world = if dice.once(3) { World::flipped() } else { World::prepared() };
    let mut until = if world.record.ceded.is_some() { SplitUntil::Flipped } else { SplitUntil::Prepared };
    for _ in 0..14 {
        for _ in 0..dice.roll(3) {
            let line = match dice.roll(8) {
                0 | 1 => plan(&mut dice, &mut world, &mut until),
                2 => {
                    world.fence_held = dice.once(2);
                    format!("fence held: {}", world.fence_held)
                }
                _ => happens(&mut dice, &mut world),
            };
            say(line);
        }
        world.write(dice.roll(4));
        let time_ms = dice.of(&[10, 70, 300, 1_600, 4_000, 35_000]);
        world.wait(time_ms);
        say(format!("wait {time_ms}ms\n{}", world.both()));
        let fuel = dice.once(4).then(|| dice.roll(5) as u32);
        for _ in 0..dice.roll(10) {
            if dice.once(2) {
                world.swap();
            }
            let name = world.name.clone();
            let (_, text) = world.pass(None, fuel);
            say(format!("{name} {}", text.trim_end()));
            assert!(!text.contains("!!!"));
        }
        if fuel.is_some() {
            world.new_operator();
        }
    }
    heal(&mut world);
    for word in [until.max(SplitUntil::Flipped), SplitUntil::Dissolved] {
        world.until(word);
        for _ in 0..4 {
            let text = world.run();
            say(format!("until {word:?}\n{}", text.trim_end()));
            assert!(!text.contains("!!!"));
            world.wait(61_000);
        }
    }
    let text = told.lock().expect("never poisoned").last().cloned().unwrap_or_default();
    // What a person wrote or gave up, a person decides.
    if !text.contains("ErrantTransactions: ") {
        world.parent_first();
        let parted = |r: &shardpair::pair::record::Record| r.mode == Mode::Sync && r.severed.as_ref().is_some_and(|s| s.proven);
        assert!(parted(&world.record) && world.parked.as_ref().is_some_and(|p| parted(&p.record)), "they don't come to an end");
    }
}

#[test]
fn no_life_of_a_split_loses_an_acknowledged_write_and_every_one_comes_to_its_end() {
    let (begun, lives) = (number("SEED", 1), number("LIVES", 150));
    for seed in begun..begun + lives {
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        if catch_unwind(AssertUnwindSafe(|| live(seed, &told))).is_err() {
            panic!("SEED={seed} LIVES=1\n{}", told.lock().unwrap_or_else(|e| e.into_inner()).join("\n"));
        }
    }
}
