//! Searches, and what they found, told so that a person can follow it.

use std::fmt::Write;
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model};

use super::next::Event;
use super::scenes::{Scene, Stranger};
use super::state::{Budget, State};
use super::{HEALS, Mutant, Pair};

/// Threads of a search.
const THREADS: usize = 2;
/// No search takes longer: one that does has failed.
const LIMIT: Duration = Duration::from_secs(1_800);

impl Pair {
    pub fn new(scene: Scene, mutant: Option<Mutant>) -> Self {
        Self { scene, mutant, tables: Default::default(), healed: Default::default() }
    }

    /// A path, line by line.
    pub fn tell(&self, path: Vec<(State, Option<Event>)>) -> String {
        let mut text = format!("    {}\n", path[0].0.words());
        for (number, pair) in (1..).zip(path.windows(2)) {
            let ((before, event), (after, _)) = (&pair[0], &pair[1]);
            let event = event.expect("all but the last state have one");
            let what = match event {
                Event::Pass(patience) => format!("{}: {}", event.words(), self.decision_words(before, patience)),
                Event::Do | Event::Lose => format!("{}: {}", event.words(), before.lead().plan.map(|p| self.plan_words(p)).unwrap_or_default()),
                Event::Late(o) => format!("{}: {}", event.words(), before.operators[o as usize].late.map(|l| self.plan_words(l.plan)).unwrap_or_default()),
                _ => event.words(),
            };
            let _ = writeln!(text, "{number:>3}. {what}");
            if before.words() != after.words() {
                let _ = writeln!(text, "       {}", after.words());
            }
        }
        let end = &path[path.len() - 1].0;
        if let Err(why) = self.heals(end) {
            let _ = writeln!(text, "     healed: {why}");
        }
        text
    }
}

/// Searches a scene to its end; tells counts, and panics with the story of what is wrong.
fn search(scene: Scene) {
    let begun = Instant::now();
    let model = Pair::new(scene, None);
    let told = model.clone();
    let checker = model.checker().threads(THREADS).timeout(LIMIT).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let (decisions, records) = told.tables.counts();
    println!(
        "{}: {} states ({} met), {} deep, {decisions} decisions, {records} records, {} states healed, {:.1} s",
        scene.name,
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        told.healed_count(),
        begun.elapsed().as_secs_f64()
    );
    for property in Pair::new(scene, None).properties() {
        let found = checker.discovery(property.name);
        if property.expectation.discovery_is_failure() {
            assert!(found.is_none(), "{}: it doesn't hold: {}\n{}", scene.name, property.name, told.tell(found.expect("found").into_vec()));
        } else {
            assert!(found.is_some(), "{}: never seen: {}", scene.name, property.name);
        }
    }
    assert!(checker.is_done(), "{}: not searched to its end in {LIMIT:?}", scene.name);
}

/// One of each, and so many together on a path.
const fn each(faults: u8) -> Budget {
    Budget { writes: 2, kills: 1, hangs: 1, cuts: 1, blinds: 1, powers: 1, empties: 1, takeovers: 1, losses: 1, peeks: 1, asks: 1, faults }
}

const NOTHING: Budget = Budget { writes: 2, kills: 0, hangs: 0, cuts: 0, blinds: 0, powers: 0, empties: 0, takeovers: 0, losses: 0, peeks: 0, asks: 0, faults: 9 };

const fn solo(scene: Scene) -> Scene {
    Scene { solo: true, ..scene }
}

/// Searched each time.
const SCENES: [Scene; 7] = [
    Scene::new("each fault alone", each(1)),
    solo(Scene::new("each fault alone, on the way to Sync", each(1))),
    Scene::new("two deaths", Budget { writes: 2, kills: 2, faults: 2, ..NOTHING }),
    Scene { invertible: false, ..Scene::new("each fault alone, and tails that only a clone undoes", each(1)) },
    Scene::new("a death and a stale operator", Budget { writes: 1, kills: 1, takeovers: 1, losses: 1, faults: 2, ..NOTHING }),
    Scene::new("a partition: the members and the operator apart", Budget { writes: 1, cuts: 1, blinds: 1, faults: 2, ..NOTHING }),
    Scene { stranger: Stranger::Follows, ..Scene::new("a third member follows, and a death", Budget { writes: 1, kills: 1, faults: 1, ..NOTHING }) },
];

/// Searched with `MODEL=deep`.
const DEEP: [Scene; 2] = [Scene::new("any two faults", each(2)), solo(Scene::new("any two faults, on the way to Sync", each(2)))];

fn chosen() -> String {
    std::env::var("MODEL").unwrap_or_default()
}

#[test]
fn every_interleaving_keeps_every_acknowledged_write_and_comes_back_to_sync() {
    let scenes = if chosen() == "deep" { DEEP.to_vec() } else { SCENES.to_vec() };
    scenes.into_iter().filter(|s| ["", "deep"].contains(&chosen().as_str()) || s.name.contains(&chosen())).for_each(search);
}

/// Where a mistake shows soonest.
fn scene_of(mutant: Mutant) -> Scene {
    let scene = |budget: Budget| Scene::new("mutant", budget);
    match mutant {
        Mutant::RelaxBeforeSolo => scene(NOTHING),
        Mutant::PromoteWithoutStopping | Mutant::ConnectingIsStopped => scene(Budget { hangs: 1, ..NOTHING }),
        Mutant::RelayLogDropped | Mutant::SwitchedOffToUnblock | Mutant::BootRemembers | Mutant::FollowsDeposed => scene(Budget { kills: 1, ..NOTHING }),
        Mutant::LateCommand => scene(Budget { takeovers: 1, ..NOTHING }),
        Mutant::TailFromDeposed => scene(Budget { hangs: 1, ..NOTHING }),
        Mutant::EmptyVolume => scene(Budget { empties: 1, ..NOTHING }),
        Mutant::TwoAckersCountOne => Scene { stranger: Stranger::Acknowledges, ..scene(NOTHING) },
        Mutant::CountLoweredTooEarly => Scene { stranger: Stranger::AcknowledgesWithCountTwo, ..scene(NOTHING) },
    }
}

/// A mistake must show within so many states.
const MOST: usize = 300_000;

/// A property's name, and the way to where it fails.
type Found = (&'static str, Vec<(State, Option<Event>)>);

/// The first state, breadth first, in which a property fails: the shortest story there is.
fn shortest(model: &Pair, holds: impl Fn(&str) -> bool) -> Option<Found> {
    let properties: Vec<_> = model.properties().into_iter().filter(|p| p.expectation.discovery_is_failure() && holds(p.name)).collect();
    let mut nodes: Vec<(State, Option<(usize, Event)>)> = model.init_states().into_iter().map(|s| (s, None)).collect();
    let mut known: std::collections::HashSet<u64> = nodes.iter().map(|(s, _)| super::heal::print(s)).collect();
    let mut at = 0;
    while at < nodes.len() && nodes.len() < MOST {
        if let Some(property) = properties.iter().find(|p| !(p.condition)(model, &nodes[at].0)) {
            let mut path = vec![(nodes[at].0.clone(), None)];
            while let Some((before, event)) = nodes[at].1 {
                path.push((nodes[before].0.clone(), Some(event)));
                at = before;
            }
            path.reverse();
            return Some((property.name, path));
        }
        for (event, next) in model.next_steps(&nodes[at].0) {
            if known.insert(super::heal::print(&next)) {
                nodes.push((next, Some((at, event))));
            }
        }
        at += 1;
    }
    None
}

#[test]
fn every_mistake_that_lost_writes_elsewhere_is_caught() {
    let mut survived = Vec::new();
    for mutant in Mutant::ALL.into_iter().filter(|m| format!("{m:?}").contains(&chosen()) || chosen() == "deep") {
        let model = Pair::new(scene_of(mutant), Some(mutant));
        // What is lost counts more than what doesn't come back by itself.
        match shortest(&model, |p| p != HEALS).or_else(|| shortest(&model, |p| p == HEALS)) {
            Some((name, path)) => println!("{mutant:?}: {}\n  caught, it no longer holds: {name}\n{}", mutant.words(), model.tell(path)),
            None => survived.push(mutant.words()),
        }
    }
    assert!(survived.is_empty(), "not caught: {}", survived.join("; "));
}

/// The same searches with the real decision find nothing: what catches the mistakes isn't their scene.
#[test]
fn without_the_mistake_the_same_worlds_are_well() {
    let mut searched = Vec::new();
    for scene in Mutant::ALL.map(scene_of) {
        if scene.stranger != Stranger::Acknowledges && !searched.contains(&scene) {
            searched.push(scene);
            search(scene);
        }
    }
}
