//! The laws of `decisions::law`, held against what no story tells: arbitrary records and observations, and long random
//! lives of a pair in the scripted world, with faults, people and an operator that is killed anywhere.
//!
//! `SEED=n` begins elsewhere, `CASES=n` goes on for longer; a failure names the seed that shows it again.

use shardpair::pair::decide::decide;
use shardpair::pair::facts::{Channel, Contact, ReceiverState, SourceSide};
use shardpair::pair::record::{Abandoned, Deposed, Mode, MoveKind, Rebuild, RebuildPhase, Rewind, RewindPhase, Transition};
use shardpair::pair::settings::{Ack, Durability};
use shardpair::simulation::dice::Dice;

use crate::decisions::law::Case;
use crate::decisions::world::{World, gtids};

pub fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|n| n.parse().ok())
}

pub fn number(name: &str, otherwise: u64) -> u64 {
    asked(name).unwrap_or(otherwise)
}

const SETS: [&str; 8] = ["nothing", "A:1-100", "A:1-110", "A:1-120", "A:1-100,B:1-3", "A:1-120,B:1-3", "B:1-9", "A:1-90"];
const TIMES_MS: [u64; 7] = [0, 70, 200, 1_600, 3_100, 5_000, 40_000];

fn arbitrary_channel(dice: &mut Dice) -> Option<Channel> {
    (!dice.once(5)).then(|| Channel {
        receiver: dice.of(&[ReceiverState::On, ReceiverState::On, ReceiverState::Connecting, ReceiverState::Off]),
        source_host: dice.of(&["svc-m0", "svc-m1", "elsewhere"]).into(),
        source_uuid: crate::decisions::world::uuid_of(dice.of(&['a', 'b', 'd'])),
        received: gtids(dice.of(&SETS)),
        silent_ms: Some(dice.of(&TIMES_MS)),
        receiver_error: dice.of(&["", "", "13114: gone"]).into(),
        applier_running: !dice.once(3),
        applier_error: dice.of(&["", "", "", "1062: Duplicate"]).into(),
    })
}

pub fn arbitrary_facts(dice: &mut Dice, world: &mut World, name: &str) {
    let facts = &mut world.body(name).facts;
    let swing = |dice: &mut Dice, value: bool| if dice.once(6) { !value } else { value };
    facts.super_read_only = swing(dice, facts.super_read_only);
    facts.offline_mode = swing(dice, facts.offline_mode);
    facts.replica_enabled = swing(dice, facts.replica_enabled);
    facts.rebuild_marker = dice.once(6);
    facts.rewound = dice.of(&[None, None, Some(7), Some(6)]);
    if dice.once(2) {
        facts.executed = gtids(dice.of(&SETS));
    }
    if dice.once(6) {
        facts.purged = gtids(dice.of(&["A:1-80", "A:1-105"]));
    }
    if dice.once(2) {
        facts.channel = arbitrary_channel(dice);
    }
    let enabled = swing(dice, facts.source.enabled);
    facts.source = SourceSide { enabled, on: swing(dice, enabled), clients: dice.roll(3) as u32, waiting: dice.roll(2) as u32, wait_count: dice.of(&[1, 1, 1, 2]), altered: dice.once(10) };
    (facts.filters, facts.foreign_channels) = (dice.of(&[0, 0, 0, 0, 1]), dice.of(&[0, 0, 0, 0, 1]));
    facts.epoch = dice.of(&[Some(7), Some(7), Some(7), Some(6), None, Some(30)]);
    facts.lag_seconds = dice.of(&[None, Some(0), Some(1), Some(60)]);
    facts.events_disabled = dice.of(&[0, 0, 3]);
    facts.process = dice.of(&[facts.process.clone(), facts.process.clone(), format!("k2-{name}.9")]);
    if dice.once(12) {
        facts.server_uuid = crate::decisions::world::uuid_of('d');
    }
}

pub fn arbitrary_seen(dice: &mut Dice, world: &mut World) {
    let names: Vec<String> = world.seen.members.keys().cloned().collect();
    for name in &names {
        let time_ms = dice.of(&TIMES_MS);
        let member = world.seen.members.get_mut(name).expect("a member");
        member.facts = (!dice.once(15)).then(|| world.bodies[name.as_str()].facts.clone());
        member.facts_age_ms = if dice.once(10) { 5_000 } else { 0 };
        member.not_serving_ms = dice.of(&TIMES_MS);
        member.contact = match dice.roll(8) {
            0 => Contact::Never,
            1 => Contact::Broken { for_ms: time_ms, refused: dice.once(2) },
            2 => Contact::Silent { for_ms: time_ms },
            3 if dice.once(4) => Contact::Refused("1045".into()),
            _ => Contact::Answering,
        };
        member.beat.pending_ms = dice.of(&[None, None, Some(1), Some(6_000)]);
        member.beat.held_by_lock = dice.once(8);
        member.beat.failing = dice.once(10).then(|| ("1114: full".to_owned(), 6_000));
        if dice.once(15) {
            member.volume = Some("v-other".into());
        }
        let pod = member.pod.as_mut().expect("a pod");
        (pod.terminating, pod.outdated, pod.node_cordoned, pod.node_ready) = (dice.once(10), dice.once(5), dice.once(10), !dice.once(5));
        pod.waiting = dice.of(&["", "", "", "ImagePullBackOff"]).into();
        if dice.once(10) {
            member.pod = None;
        }
    }
    let who = |dice: &mut Dice| dice.once(12).then(|| dice.of(&["m0", "m1", "m7"]).to_owned());
    let requests = &mut world.seen.requests;
    (requests.switchover_to, requests.promote_with_data_loss, requests.replace) = (who(dice), who(dice), who(dice));
    (requests.rebuild, requests.discard_tail) = (who(dice), who(dice));
    world.seen.vip.points_to = dice.of(&[Some("10.0.0.1".to_owned()), Some("10.0.1.1".to_owned()), None]);
    world.seen.unprovisioned = dice.once(8);
    world.seen.turn_of = dice.once(2).then(|| "shop-0".to_owned());
}

fn arbitrary_record(dice: &mut Dice, world: &mut World) {
    let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(world.now);
    let record = &mut world.record;
    if dice.once(2) {
        (record.primary, record.standby) = ("m1".into(), Some("m0".into()));
    }
    let standby = record.standby.clone().unwrap_or_default();
    if dice.once(25) {
        record.standby = None;
    }
    if dice.once(2) {
        (record.mode, record.standby_boot) = (Mode::Solo, None);
        record.deposed = dice.once(3).then(|| Deposed { member: standby.clone(), process: dice.of(&[None, Some("k1-m1.1".into()), Some("k1-m0.1".into())]), epoch: 6 });
        record.abandoned = if dice.once(4) { vec![Abandoned { member: standby.clone(), epoch: 6 }] } else { Vec::new() };
        if record.deposed.is_none() && dice.once(3) {
            record.rebuild = Some(Rebuild { member: standby.clone(), phase: dice.of(&[RebuildPhase::Marking, RebuildPhase::Cloning]), reason: "Requested".into() });
        }
    }
    if record.mode == Mode::Solo && record.deposed.is_none() && record.rebuild.is_none() && dice.once(3) {
        let keep = dice.of(&["A:1-100", "A:1-100,B:1-3", "B:1-9", "A:1-90"]);
        let phase = dice.of(&[RewindPhase::Undoing, RewindPhase::Undoing, RewindPhase::Comparing]);
        let tail = if dice.once(30) { "by hand".to_owned() } else { gtids(dice.of(&["A:101-110", "A:91-120", "B:4"])).to_string() };
        record.rewind = Some(Rewind { member: standby.clone(), phase, tail, keep: gtids(keep).to_string(), mark: dice.of(&[6, 7]) });
    }
    let kind = match record.mode {
        Mode::Sync => dice.of(&[MoveKind::Failover, MoveKind::Switchover]),
        Mode::Solo => MoveKind::PromoteWithDataLoss,
    };
    if dice.once(4) && record.rebuild.is_none() && record.standby.is_some() {
        if kind == MoveKind::Failover {
            record.deposed = Some(Deposed { member: record.primary.clone(), process: Some(format!("k1-{}.1", record.primary)), epoch: 7 });
        }
        record.transition = Some(Transition { kind, to: standby, started_at: now.clone(), reason: "ProcessGone".into() });
    }
    if dice.once(20) {
        record.recent_failovers = vec![now; 10];
    }
    world.settings.durability = dice.of(&[Durability::Preferred, Durability::Preferred, Durability::Required]);
    world.settings.ack = dice.of(&[Ack::Received, Ack::Flushed]);
    world.settings.paused = dice.once(30);
    world.settings.replace_after_ms = dice.of(&[None, Some(30_000)]);
}

#[test]
fn no_record_and_no_observation_make_a_decision_break_a_law() {
    let (begun, cases) = (number("SEED", 1), number("CASES", 60_000));
    let template = World::in_sync();
    let mut acting = 0;
    for seed in begun..begun + cases {
        let (mut dice, mut world) = (Dice(seed), template.clone());
        arbitrary_record(&mut dice, &mut world);
        ["m0", "m1"].into_iter().for_each(|name| arbitrary_facts(&mut dice, &mut world, name));
        arbitrary_seen(&mut dice, &mut world);
        let decision = decide(&world.record, &world.settings, &world.seen, world.now);
        acting += usize::from(!decision.steps.is_empty());
        let broken = Case { record: &world.record, settings: &world.settings, seen: &world.seen, now: world.now }.broken(&decision);
        assert!(broken.is_empty(), "SEED={seed} CASES=1\n{}\n{decision:#?}\n{:#?}\n{:#?}", broken.join("\n"), world.record, world.seen);
    }
    assert!(acting as u64 > cases / 5, "only {acting} of {cases} cases did anything: what is arbitrary has become dull");
}

/// Something happens to the pair.
pub fn happens(dice: &mut Dice, world: &mut World) -> String {
    let members: Vec<String> = world.bodies.keys().cloned().collect();
    let name = dice.of(&members);
    let line = match dice.roll(27) {
        0 => format!("{name}: dies"),
        1 => format!("{name}: is killed"),
        2 | 3 => format!("{name}: returns"),
        4 => format!("{name}: hangs"),
        5 => format!("{name}: unseen"),
        6 => format!("{name}: cut off"),
        7 => format!("{name}: unlinked"),
        8..=11 => format!("{name}: heals"),
        12 => format!("{name}: reboots"),
        13 => format!("{name}: deaf"),
        14 => format!("{name}: applier-breaks 1062: Duplicate"),
        15 | 16 => format!("{name}: applier-repaired"),
        17 => format!("{name}: {}", dice.of(&["applier off", "receiver off"])),
        18 => format!("cordon n{}", dice.roll(2)),
        19 => format!("uncordon n{}", dice.roll(2)),
        20 => format!("request {} {name}", dice.of(&["switchover-to", "rebuild", "replace", "discard-tail"])),
        21 => format!("{name}: outdated"),
        22 => "new-operator".into(),
        23 => format!("{name}: {}", dice.of(&["uninvertible", "differs"])),
        24 => format!("{name}: unlinked"),
        25 => dice.of(&["turn of shop-0", "turn ours"]).into(),
        _ => format!("switchover-fails-at {}", dice.roll(9)),
    };
    // A channel there must be, to be stopped.
    let channel = world.bodies[&name].facts.channel.is_some();
    if (line.ends_with("applier off") || line.ends_with("receiver off")) && !channel {
        return String::new();
    }
    world.tell(&line);
    line
}

/// Everything is well again: does the pair come back by itself?
fn heal(world: &mut World) {
    world.switchover_fails_at = None;
    world.seen.turn_of = None;
    world.seen.requests = Default::default();
    for name in world.bodies.keys().cloned().collect::<Vec<_>>() {
        for line in ["heals", "applier-repaired", "returns"] {
            world.tell(&format!("{name}: {line}"));
        }
        let node = format!("n{}", &name[1..]);
        world.tell(&format!("uncordon {node}"));
        let pod = world.seen.members.get(&name).and_then(|m| m.pod.as_ref());
        if pod.is_some_and(|p| p.terminating) {
            world.die(&name, true);
            world.settle();
        }
    }
}

#[test]
fn no_life_of_a_pair_loses_an_acknowledged_write_and_every_one_comes_back_to_sync() {
    let (begun, lives) = (number("SEED", 1), number("LIVES", 1_500));
    for seed in begun..begun + lives {
        let (mut dice, mut world) = (Dice(seed.wrapping_mul(0x5851_F42D)), World::in_sync());
        if dice.once(4) {
            world.settings.ack = Ack::Flushed;
        }
        if dice.once(4) {
            world.settings.durability = Durability::Required;
        }
        let mut told: Vec<String> = Vec::new();
        for _ in 0..12 {
            for _ in 0..dice.roll(3) {
                told.push(happens(&mut dice, &mut world));
            }
            world.write(dice.roll(4));
            told.push(format!("({})", crate::decisions::summary(&world)));
            let time_ms = dice.of(&[10, 70, 300, 1_600, 4_000, 35_000]);
            world.wait(time_ms);
            told.push(format!("wait {time_ms}ms"));
            let passes = dice.roll(6);
            let fuel = dice.once(4).then(|| dice.roll(4) as u32);
            for _ in 0..passes {
                let (_, text) = world.pass(None, fuel);
                told.push(text.trim_end().to_owned());
                assert!(!text.contains("!!!"), "SEED={seed} LIVES=1\n{}", told.join("\n"));
            }
        }
        heal(&mut world);
        let mut text = String::new();
        for _ in 0..4 {
            text = world.run();
            told.push(text.trim_end().to_owned());
            world.wait(31_000);
            assert!(!text.contains("!!!"), "SEED={seed} LIVES=1\n{}", told.join("\n"));
        }
        // What a person wrote or gave up, a person decides.
        let person = text.contains("ErrantTransactions: ");
        assert!(text.contains("InSync: ") || person, "SEED={seed} LIVES=1: it doesn't come back\n{}", told.join("\n"));
    }
}
