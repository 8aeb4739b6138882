//! A rollout over the pairs of a cluster, each with its own small world: pair by pair, the lowest shard first, and to its end.
//!
//! `SEED=n` begins elsewhere, `CASES=n` goes on for longer.

use shardpair::pair::decide::{View, holds, serving};
use shardpair::pair::facts::Lower;
use shardpair::pair::record::{Follows, Mode};
use shardpair::simulation::dice::Dice;

use crate::decisions::world::World;
use crate::invariants::number;

struct Pair {
    world: World,
    told: bool,
    excused: bool,
}

impl Pair {
    fn lower(&self) -> Lower {
        let World { record, seen, .. } = &self.world;
        Lower { record: record.clone(), members: seen.members.clone(), told: self.told, excused: self.excused }
    }

    /// The new image reaches its StatefulSets.
    fn hear(&mut self) {
        self.told = true;
        for name in ["m0", "m1"] {
            self.world.tell(&format!("{name}: outdated"));
        }
    }

    fn view(&self) -> View<'_> {
        View { record: &self.world.record, settings: &self.world.settings, seen: &self.world.seen, now: self.world.now }
    }

    fn outdated(&self) -> bool {
        let view = self.view();
        ["m0", "m1"].iter().any(|name| view.outdated(name))
    }

    fn well(&self) -> bool {
        let view = self.view();
        self.world.record.mode == Mode::Sync && view.standby_answer().is_some_and(|s| serving(&view, s))
    }

    fn pass(&mut self, turn_of: Option<String>) -> String {
        self.world.seen.turn_of = turn_of;
        let (_, text) = self.world.pass(None, None);
        assert!(!text.contains("!!!"), "{text}");
        self.world.wait(500);
        text
    }
}

fn turn_of(pairs: &[Pair], own: usize) -> Option<String> {
    pairs[own].outdated().then(|| pairs[..own].iter().position(|p| holds(&p.lower())))?.map(|shard| format!("shop-{shard}"))
}

#[test]
fn a_rollout_goes_pair_by_pair_and_comes_to_its_end() {
    let (begun, cases) = (number("SEED", 1), number("CASES", 60));
    for seed in begun..begun + cases {
        let mut dice = Dice(seed);
        let count = 2 + dice.roll(4) as usize;
        let mut pairs: Vec<Pair> = (0..count).map(|_| Pair { world: World::in_sync(), told: false, excused: false }).collect();
        let (mut order, mut told) = (Vec::new(), Vec::new());
        for round in 0..60 + 30 * count * count {
            let at = dice.roll(count as u64) as usize;
            // The cluster's controller writes in no order that anybody may count on.
            if !pairs[at].told && (dice.once(3) || round > 20) {
                pairs[at].hear();
            }
            let turn = turn_of(&pairs, at);
            let was_well = pairs[at].well();
            let text = pairs[at].pass(turn);
            told.push(format!("{at}: {}", text.trim_end()));
            if was_well && text.contains("Solo") && !order.contains(&at) {
                order.push(at);
            }
            let under_way = pairs.iter().filter(|p| !p.well()).count();
            assert!(under_way <= 1, "SEED={seed} CASES=1: {under_way} at a time\n{}", told.join("\n"));
        }
        assert!(pairs.iter().all(|p| p.told && p.well() && !p.outdated()), "SEED={seed} CASES=1: it doesn't end\n{}", told.join("\n"));
        assert!(order.is_sorted() && order.len() == count, "SEED={seed} CASES=1: {order:?}\n{}", told.join("\n"));
    }
}

/// Two pairs that are outdated; the first has its turn, and something befalls it.
fn second_waits(befalls: impl FnOnce(&mut Pair)) -> bool {
    let mut pairs: Vec<Pair> = (0..2).map(|_| Pair { world: World::in_sync(), told: true, excused: false }).collect();
    pairs.iter_mut().for_each(Pair::hear);
    befalls(&mut pairs[0]);
    turn_of(&pairs, 1).is_some()
}

#[test]
fn a_pair_that_fails_holds_the_others_and_one_that_is_set_aside_does_not() {
    let renew = |p: &mut Pair| (0..40).for_each(|_| drop(p.pass(None)));
    assert!(second_waits(|_| {}), "outdated");
    assert!(!second_waits(renew), "renewed");
    assert!(second_waits(|p| { renew(p); p.told = false; }), "not told of the newest yet");
    // The new image doesn't start.
    let broken = |p: &mut Pair| {
        while p.world.seen.members["m1"].pod.as_ref().is_some_and(|pod| pod.outdated) {
            p.pass(None);
        }
        p.world.tell("m1: dies, waiting ImagePullBackOff");
        (0..40).for_each(|_| drop(p.pass(None)));
    };
    assert!(second_waits(broken), "its new standby doesn't start");
    assert!(second_waits(|p| { renew(p); p.world.tell("m0: dies"); }), "not in Sync after its own renewal");
    assert!(!second_waits(|p| { broken(p); p.excused = true; }), "a person set it aside");
    assert!(!second_waits(|p| p.world.record.epoch = 0), "it was never provisioned");
    assert!(!second_waits(|p| p.world.record.follows = Some(Follows { pair: "shop-9".into(), given_back: None })), "it has no keys of its own");
}
