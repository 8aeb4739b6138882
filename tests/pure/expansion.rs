//! Stories of plans, in golden text: commands above the line, what is decided and told below it.
//!
//! `UPDATE=1 cargo test --test pure expansion` writes what is decided now into the stories. Each is told a second time with the
//! operator killed after every single step: it must end in the same state.

#[path = "expansion/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use proptest::prelude::*;
use shardpair::api::expansion::{Phase, Severity, Standbys};
use shardpair::expansion::facts::{Clients, Level};
use shardpair::expansion::step::{Reason, Step};
use world::World;

/// A chapter that takes more passes than this never ends.
const PASSES: usize = 400;

fn stories() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pure/expansion/stories");
    let mut all: Vec<_> = fs::read_dir(folder).expect("stories").map(|e| e.expect("an entry").path()).collect();
    all.sort();
    all
}

fn clients(known: u64, behind: &[&str]) -> Clients {
    Clients { known, behind: behind.len() as u64, names: behind.iter().map(|b| (*b).to_owned()).collect(), error: None }
}

fn phase(word: &str) -> Phase {
    serde_json::from_value(word.into()).unwrap_or_else(|e| panic!("{word}: {e}"))
}

/// Carries out one command; None: it is `run`.
fn command(world: &mut World, line: &str) -> Option<usize> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let shard = |at: usize| words[at].parse::<u32>().expect("a shard");
    match words[0] {
        "cluster" => *world = World::new(shard(1)),
        "to" => world.plan.to_shards = shard(1),
        "until" => world.plan.until = phase(words[1]),
        "window" => world.plan.reverse_window_ms = words[1].parse::<i64>().expect("seconds") * 1000,
        "wait" => world.now += SignedDuration::from_secs(words[1].parse().expect("seconds")),
        "delete" => world.plan.deleting = true,
        "pause" => world.plan.paused = true,
        "unpause" => world.plan.paused = false,
        "after" => world.plan.standbys = Standbys::After,
        "required" => world.seen.cluster.as_mut().expect("a cluster").required = true,
        "range" => world.seen.cluster.as_mut().expect("a cluster").by_range = true,
        "split-at" => world.plan.split_at = words[1..].iter().map(|w| w.parse().expect("a bound")).collect(),
        "no-cluster" => world.seen.cluster = None,
        "cluster-deleted" => world.seen.cluster.as_mut().expect("a cluster").deleting = true,
        "cluster-invalid" => world.seen.cluster.as_mut().expect("a cluster").invalid = Some(words[1..].join(" ")),
        "cluster-paused" => world.seen.cluster.as_mut().expect("a cluster").paused = true,
        "before" => world.seen.before = Some(words[1].to_owned()),
        "first" => world.seen.before = None,
        "foreign-pair" => drop(world.seen.pairs.insert(shard(1), Default::default())),
        "clients" => world.seen.clients = Some(clients(words[1].parse().expect("a number"), &words[2..])),
        "clients-unknown" => world.seen.clients = Some(Clients { error: Some(words[1..].join(" ")), ..Clients::default() }),
        "unwell" => world.seen.pairs.get_mut(&shard(1)).expect("a pair").unwell = Some(words[2..].join(" ")),
        "alone" => {
            let pair = world.seen.pairs.get_mut(&shard(1)).expect("a pair");
            (pair.alone, pair.unwell) = (true, Some("it runs without a standby".to_owned()));
        }
        "together" => {
            let pair = world.seen.pairs.get_mut(&shard(1)).expect("a pair");
            (pair.alone, pair.unwell) = (false, None);
        }
        // What was asked last of it was never written.
        "still-flipped" => world.seen.pairs.get_mut(&shard(1)).and_then(|p| p.asked.as_mut()).expect("asked before").until = Level::Flipped,
        "well" => world.seen.pairs.get_mut(&shard(1)).expect("a pair").unwell = None,
        "says" => world.seen.pairs.get_mut(&shard(1)).expect("a pair").says = Some(words[2..].join(" ")),
        "stuck" => world.seen.pairs.get_mut(&shard(1)).expect("a pair").stuck = true,
        "hold" => drop(world.held.insert(shard(1))),
        "unhold" => drop(world.held.remove(&shard(1))),
        "finding" => world.find(if words[1] == "Refused" { Severity::Refused } else { Severity::Warning }, words[2], words[3], &words[4..].join(" ")),
        "repaired" => world.findings.clear(),
        "blind" => world.blind = true,
        "sighted" => world.blind = false,
        "look-again" => world.seen.preflight = None,
        "misroute" => world.misroute(shard(1), i64::from(shard(2))),
        "ddl" => world.seen.audits.entry(shard(1)).or_default().ddl.push(words[2..].join(" ")),
        "lost-logs" => world.seen.audits.entry(shard(1)).or_default().blind = Some(words[2..].join(" ")),
        "run" => return Some(words.get(1).map_or(PASSES, |w| w.parse().expect("passes"))),
        other => panic!("no command {other}"),
    }
    None
}

fn step_in_words(step: &Step) -> String {
    format!("{step:?}")
}

/// Runs until nothing changes but the time, or `passes` passes.
fn run(world: &mut World, passes: usize, at_most: usize, mut tell: impl FnMut(&mut World, &str)) {
    let mut last = String::new();
    let mut idle = 0;
    for _ in 0..passes {
        let decision = world.decide();
        let mut text = format!("{}: {}\n", decision.note.reason.as_str(), decision.note.message);
        for step in &decision.steps {
            let _ = writeln!(text, "     {}", step_in_words(step));
        }
        for work in &decision.work {
            let _ = writeln!(text, "     beside: {work:?}");
        }
        if let Some(beside) = &decision.beside {
            let _ = writeln!(text, "     and {}: {}", beside.reason.as_str(), beside.message);
        }
        let before = (world.seen.clone(), world.plan.clone());
        world.pass(&decision, at_most);
        if text != last {
            tell(world, &text);
        }
        last = text;
        // Only the audits' time goes on: at rest. A window or a grace that runs is waited for.
        let mut seen = world.seen.clone();
        seen.audits.clone_from(&before.0.audits);
        let waits = matches!(decision.note.reason, Reason::ReverseWindow | Reason::Grace);
        idle = if seen == before.0 && world.plan == before.1 && !waits { idle + 1 } else { 0 };
        if world.released || idle > 2 {
            return;
        }
    }
}

fn retell(golden: &str) -> String {
    let (mut world, mut text, mut number) = (World::new(2), String::new(), 0);
    let mut shadow = World::new(2);
    for line in golden.lines() {
        let told = line.starts_with(['=', ' ', '!', '*']) || line.starts_with(|c: char| c.is_ascii_digit()) || line == "---";
        if told {
            continue;
        }
        let _ = writeln!(text, "{line}");
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let passes = command(&mut world, line);
        command(&mut shadow, line);
        let Some(passes) = passes else { continue };
        text.push_str("---\n");
        run(&mut world, passes, usize::MAX, |world, said| {
            number += 1;
            let _ = write!(text, "{number}. {said}");
            for event in world.events.drain(..) {
                let _ = writeln!(text, "     * {event}");
            }
        });
        text.push_str(&world.state());
        // Killed after every step: more passes, the same end.
        run(&mut shadow, if passes == PASSES { PASSES } else { passes * 3 }, 1, |_, _| {});
        if passes == PASSES && shadow.state().replace("flipped", "") != world.state().replace("flipped", "") {
            let _ = writeln!(text, "!!! killed after every step, it ends so:\n{}", shadow.state());
        }
        if passes != PASSES {
            shadow = world.clone();
        }
        for wrong in world.wrong.drain(..).chain(shadow.wrong.drain(..)) {
            let _ = writeln!(text, "!!! {wrong}");
        }
    }
    text
}

#[test]
fn every_story_ends_as_it_is_told() {
    let mut bad = String::new();
    for path in stories() {
        let golden = fs::read_to_string(&path).expect("a story");
        let told = retell(&golden);
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if told.contains("!!!") {
            let _ = writeln!(bad, "{name}: {}", told.lines().filter(|l| l.contains("!!!")).collect::<Vec<_>>().join("\n"));
        }
        if told != golden {
            match std::env::var_os("UPDATE") {
                Some(_) => fs::write(&path, &told).expect("written"),
                None => drop(writeln!(bad, "{name} is told differently now:\n{told}")),
            }
        }
    }
    assert!(bad.is_empty(), "\n{bad}\nUPDATE=1 writes what is decided now into the stories");
}

#[test]
fn every_reason_has_a_story() {
    let told: String = stories().iter().map(|p| fs::read_to_string(p).expect("a story")).collect();
    let missing: BTreeSet<&str> = Reason::ALL.iter().map(|r| r.as_str()).filter(|r| !told.contains(&format!("{r}: "))).collect();
    assert!(missing.is_empty(), "no story shows {missing:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever people change their minds to, and whoever is slow or ill: the world never has an objection, and when all is
    /// well and the plan is let run, it is complete.
    #[test]
    fn no_order_of_wishes_and_faults_is_ever_answered_wrongly(wishes in prop::collection::vec((0_u8..12, 0_u32..4, 1_usize..12, 1_usize..3), 1..40)) {
        let mut world = World::new(2);
        world.plan.reverse_window_ms = 5_000;
        for (wish, shard, passes, at_most) in wishes {
            match wish {
                0 => world.plan.until = Phase::Preflight,
                1 => world.plan.until = Phase::Prepared,
                2 => world.plan.until = Phase::Flipped,
                3 => world.plan.until = Phase::Dissolved,
                4 => world.plan.until = Phase::Complete,
                5 => drop(world.held.insert(shard)),
                6 => drop(world.held.remove(&shard)),
                7 => { if let Some(p) = world.seen.pairs.get_mut(&shard) { p.unwell = Some("ill".to_owned()); } }
                8 => { if let Some(p) = world.seen.pairs.get_mut(&shard) { p.unwell = None; } }
                9 => world.seen.preflight = None,
                10 => world.plan.paused = !world.plan.paused,
                _ => {}
            }
            for _ in 0..passes {
                let decision = world.decide();
                world.pass(&decision, at_most);
            }
            prop_assert!(world.wrong.is_empty(), "{:?}", world.wrong);
        }
        world.held.clear();
        world.seen.pairs.values_mut().for_each(|p| p.unwell = None);
        (world.plan.paused, world.plan.until) = (false, Phase::Complete);
        for _ in 0..300 {
            let decision = world.decide();
            world.pass(&decision, usize::MAX);
        }
        prop_assert!(world.wrong.is_empty(), "{:?}", world.wrong);
        prop_assert_eq!(world.plan.phase, Some(Phase::Complete));
        prop_assert_eq!(world.map.0, 4);
        prop_assert!(world.seen.pairs.values().all(|p| p.asked.is_none() && p.clean));
    }

    /// Deleted at any moment: either nothing is left, or it goes on to its end.
    #[test]
    fn a_plan_deleted_at_any_moment_leaves_nothing_half_done(passes in 0_usize..80, at_most in 1_usize..3) {
        let mut world = World::new(2);
        world.plan.reverse_window_ms = 5_000;
        for _ in 0..passes {
            let decision = world.decide();
            world.pass(&decision, at_most);
        }
        world.plan.deleting = true;
        for _ in 0..300 {
            if world.released && !world.plan.held {
                break;
            }
            let decision = world.decide();
            world.pass(&decision, at_most);
        }
        prop_assert!(world.wrong.is_empty(), "{:?}", world.wrong);
        prop_assert!(!world.plan.held);
        prop_assert!(world.seen.pairs.values().all(|p| p.asked.is_none()));
        prop_assert!(world.map.0 as usize == world.seen.pairs.len());
    }
}
