//! Thousands of seeded lives (`shardpair::simulation`) of one pair, and of two pairs of a split, each decision held against the
//! laws as well: a fixed set, and fresh ones. `mutants` shows that the split's laws can fail.
//!
//! `SEED=n` begins the fresh ones there, `LIVES=n` lives so many; a failure names the command that tells the life again.

mod mutants;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use shardpair::pair::facts::Observation;
use shardpair::pair::record::Record;
use shardpair::pair::settings::Settings;
use shardpair::pair::step::Decision;
use shardpair::simulation::life::{Told, live};
use shardpair::simulation::split::life::live_split;
use shardpair::simulation::watch::Watcher;

use crate::decisions::law::Case;
use crate::invariants::asked;

/// The same each time, …
const FIXED: u64 = 400;
/// … those that once found something (docs/verification.md), …
const FOUND: [u64; 2] = [2_555, 1_795_419_332_173];
/// … and new ones each time.
const FRESH: u64 = 400;
/// The same of splits.
const FIXED_SPLITS: u64 = 900;
const FOUND_SPLITS: [u64; 5] = [200_099, 201_364, 1_795_470_721_084, 1_795_475_970_052, 1_795_476_642_023];
const FRESH_SPLITS: u64 = 100;
/// Turns of each.
const TURNS: u32 = 12;

/// Holds each decision against `decisions::law`.
struct Laws;

impl Watcher for Laws {
    fn broken(&self, record: &Record, settings: &Settings, seen: &Observation, now: jiff::Timestamp, decision: &Decision) -> Vec<String> {
        Case { record, settings, seen, now }.broken(decision)
    }
}

type Live = fn(u64, u32, &dyn Watcher) -> Told;

/// What lives came to.
struct Lives {
    /// How to tell one again.
    command: &'static str,
    lives: Vec<(u64, Told)>,
}

impl Lives {
    fn of(command: &'static str, live: Live, found: &[u64], fixed: u64, fresh: u64) -> Self {
        let from = asked("SEED").unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() * 1_000);
        let count = asked("LIVES").unwrap_or(fresh);
        let fixed = if asked("SEED").is_some() { 0 } else { fixed };
        let seeds: Vec<u64> = found.iter().copied().chain(1..=fixed).chain(from..from + count).collect();
        println!("fresh seeds from {from}");
        let (left, right) = seeds.split_at(seeds.len() / 2);
        let lives: Vec<(u64, Told)> = std::thread::scope(|scope| {
            let all = [left, right].map(|half| scope.spawn(move || half.iter().map(|seed| (*seed, live(*seed, TURNS, &Laws))).collect::<Vec<_>>()));
            all.into_iter().flat_map(|thread| thread.join().expect("it lives to its end")).collect()
        });
        Self { command, lives }
    }

    /// Fails with the shortest story of one that went wrong; what the lives met otherwise.
    fn all_well(&self) -> BTreeMap<&'static str, usize> {
        let mut met: BTreeMap<&str, usize> = BTreeMap::new();
        for reason in self.lives.iter().flat_map(|(_, told)| &told.reasons) {
            *met.entry(reason).or_default() += 1;
        }
        let persons = self.lives.iter().filter(|(_, told)| told.person).count();
        println!("{} lives, {persons} with a person's decision; lives that met: {met:?}", self.lives.len());
        let wrong: Vec<&(u64, Told)> = self.lives.iter().filter(|(_, told)| told.wrong.is_some()).collect();
        if let Some((seed, told)) = wrong.iter().min_by_key(|(_, told)| told.story.len()) {
            let others: Vec<String> = wrong.iter().take(20).map(|(seed, told)| format!("{seed}: {}", told.wrong.as_deref().unwrap_or(""))).collect();
            panic!("cargo run -- {} --seed {seed} --steps {TURNS}\n{}\n{} of {}:\n{}", self.command, told.story.join("\n"), wrong.len(), self.lives.len(), others.join("\n"));
        }
        met
    }
}

fn often(met: &BTreeMap<&str, usize>, reasons: &[&str]) {
    for reason in reasons {
        assert!(met.get(reason).is_some_and(|n| *n >= 5), "{reason} is hardly ever met: what befalls the pair has become dull; {met:?}");
    }
}

#[test]
fn no_simulated_life_loses_an_acknowledged_write_and_every_one_comes_back_to_sync() {
    let lives = Lives::of("simulate", live, &FOUND, FIXED, FRESH);
    let met = lives.all_well();
    if lives.lives.len() >= FRESH as usize {
        often(&met, &["Promoted", "SwitchingOver", "StandbyLost", "ProvingSync", "Rewinding", "Rebuilding", "Replacing", "StandbyRebooted", "EndingDeposed", "WriteStuck", "VolumeLost"]);
    }
}

#[test]
fn no_simulated_split_loses_an_acknowledged_write_and_every_one_comes_to_what_its_plan_says() {
    let lives = Lives::of("simulate --split", live_split, &FOUND_SPLITS, FIXED_SPLITS, FRESH_SPLITS);
    let met = lives.all_well();
    if lives.lives.len() >= FRESH_SPLITS as usize {
        let of_a_split = ["Following", "Linking", "Flipping", "FlipGivenUp", "Taking", "GivingBack", "TakenBack", "Dissolving", "LinkBroken", "EndingOldSessions"];
        often(&met, &of_a_split);
        often(&met, &["Promoted", "SwitchingOver", "StandbyLost", "ProvingSync", "Rebuilding", "EndingDeposed", "VolumeLost"]);
    }
}

#[test]
fn a_life_is_the_same_each_time() {
    assert_eq!(live(7, TURNS, &Laws).story, live(7, TURNS, &Laws).story);
    assert_eq!(live_split(7, TURNS, &Laws).story, live_split(7, TURNS, &Laws).story);
}
