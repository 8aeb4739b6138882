//! Thousands of seeded lives (`shardpair::simulation`), each decision held against the laws as well: a fixed set, and fresh ones.
//!
//! `SEED=n` begins the fresh ones there, `LIVES=n` lives so many; a failure names the command that tells the life again.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use shardpair::simulation::life::{Told, live};

use crate::decisions::law::Case;
use crate::invariants::asked;

/// The same each time, …
const FIXED: u64 = 400;
/// … those that once found something (docs/verification.md), …
const FOUND: [u64; 2] = [2_555, 1_795_419_332_173];
/// … and new ones each time.
const FRESH: u64 = 400;
/// Turns of each.
const TURNS: u32 = 12;

fn one(seed: u64) -> Told {
    live(seed, TURNS, &|record, settings, seen, now, decision| Case { record, settings, seen, now }.broken(decision))
}

#[test]
fn no_simulated_life_loses_an_acknowledged_write_and_every_one_comes_back_to_sync() {
    let fresh = asked("SEED").unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() * 1_000);
    let count = asked("LIVES").unwrap_or(FRESH);
    let fixed = if asked("SEED").is_some() { 0 } else { FIXED };
    let seeds: Vec<u64> = FOUND.into_iter().chain(1..=fixed).chain(fresh..fresh + count).collect();
    println!("fresh seeds from {fresh}");
    let (left, right) = seeds.split_at(seeds.len() / 2);
    let lives: Vec<(u64, Told)> = std::thread::scope(|scope| {
        let all = [left, right].map(|half| scope.spawn(move || half.iter().map(|seed| (*seed, one(*seed))).collect::<Vec<_>>()));
        all.into_iter().flat_map(|thread| thread.join().expect("it lives to its end")).collect()
    });
    let mut met: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in lives.iter().flat_map(|(_, told)| &told.reasons) {
        *met.entry(reason).or_default() += 1;
    }
    let persons = lives.iter().filter(|(_, told)| told.person).count();
    println!("{} lives, {persons} with a person's decision; lives that met: {met:?}", lives.len());
    let wrong: Vec<&(u64, Told)> = lives.iter().filter(|(_, told)| told.wrong.is_some()).collect();
    if let Some((seed, told)) = wrong.iter().min_by_key(|(_, told)| told.story.len()) {
        let others: Vec<String> = wrong.iter().take(20).map(|(seed, told)| format!("{seed}: {}", told.wrong.as_deref().unwrap_or(""))).collect();
        panic!("cargo run -- simulate --seed {seed} --steps {TURNS}\n{}\n{} of {}:\n{}", told.story.join("\n"), wrong.len(), lives.len(), others.join("\n"));
    }
    if count >= FRESH {
        for reason in ["Promoted", "SwitchingOver", "StandbyLost", "ProvingSync", "Rewinding", "Rebuilding", "Replacing", "StandbyRebooted", "EndingDeposed", "WriteStuck", "VolumeLost"] {
            assert!(met.get(reason).is_some_and(|n| *n >= 5), "{reason} is hardly ever met: what befalls the pair has become dull; {met:?}");
        }
    }
}

#[test]
fn a_life_is_the_same_each_time() {
    assert_eq!(one(7).story, one(7).story);
}
