//! Mistakes that would lose writes in a split, each made by a [`Watcher`]: in what a decision is told, what it says, how it is
//! carried out, how a record is written, or in a member. Each must be caught by the simulation's own laws (those of
//! `decisions::law`, which see a decision before it is carried out, aren't asked) within so many seeds.

use shardpair::pair::facts::Observation;
use shardpair::pair::record::{Ceded, Record};
use shardpair::pair::step::{Decision, Reason, Step};
use shardpair::simulation::script::Command;
use shardpair::simulation::split::life::live_split;
use shardpair::simulation::verb::Verb;
use shardpair::simulation::watch::Watcher;

use super::TURNS;

/// Seeds that a mistake may survive.
const SEEDS: u64 = 3_000;

/// See [`Mistake::words`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    FlipWithoutFence,
    FlipWithoutDrain,
    OpensBeforeCeded,
    OpensAgain,
    GuardForgottenAtPromotion,
    RowsNotPutBack,
    FlipOnAnotherObject,
    BackWithoutClosing,
    BackWithoutDrain,
    TakesBackByItself,
    TailFollows,
    OpensWithoutAcks,
    LinkNotCut,
}

impl Mistake {
    const ALL: [Mistake; 13] = [
        Mistake::FlipWithoutFence,
        Mistake::FlipWithoutDrain,
        Mistake::OpensBeforeCeded,
        Mistake::OpensAgain,
        Mistake::GuardForgottenAtPromotion,
        Mistake::RowsNotPutBack,
        Mistake::FlipOnAnotherObject,
        Mistake::BackWithoutClosing,
        Mistake::BackWithoutDrain,
        Mistake::TakesBackByItself,
        Mistake::TailFollows,
        Mistake::OpensWithoutAcks,
        Mistake::LinkNotCut,
    ];

    fn words(self) -> &'static str {
        match self {
            Mistake::FlipWithoutFence => "keys are ceded and nobody is fenced",
            Mistake::FlipWithoutDrain => "keys are ceded before the child has everything",
            Mistake::OpensBeforeCeded => "the child opens when the flip has begun, before the record says so",
            Mistake::OpensAgain => "a child that gave its keys back takes the old cession for a new one",
            Mistake::GuardForgottenAtPromotion => "a new primary opens with the guard that it happens to have",
            Mistake::RowsNotPutBack => "the guard isn't opened again after a flip that was given up",
            Mistake::FlipOnAnotherObject => "flip and failover decide on different objects: neither write makes the other fail",
            Mistake::BackWithoutClosing => "keys are given back and the child isn't closed",
            Mistake::BackWithoutDrain => "keys are given back before the parent has everything",
            Mistake::TakesBackByItself => "the parent takes its keys again when the child's primary is closed",
            Mistake::TailFollows => "the child keeps what only a deposed primary of the parent had",
            Mistake::OpensWithoutAcks => "the child opens and its commits wait for nobody",
            Mistake::LinkNotCut => "a link goes on that brought a deposed primary's tail",
        }
    }
}

impl Watcher for Mistake {
    fn tells(&self, record: &mut Record, seen: &mut Observation) {
        match self {
            Mistake::OpensBeforeCeded => {
                if let Some(other) = &mut seen.other
                    && let Some(begun) = other.record.flip.as_ref().and_then(|f| f.begun_at.clone()).filter(|_| other.record.ceded.is_none() && record.follows.is_some())
                {
                    other.record.ceded = Some(Ceded { pair: "child".into(), epoch: other.record.epoch + 1, fenced_at: begun, executed: String::new() });
                }
            }
            Mistake::OpensAgain => record.follows.iter_mut().for_each(|f| f.given_back = None),
            Mistake::TakesBackByItself => {
                if let (Some(ceded), Some(other)) = (record.ceded.clone(), &mut seen.other) {
                    let closed = other.members.get(&other.record.primary).and_then(|m| m.answer()).is_some_and(|f| f.super_read_only);
                    if closed && other.record.follows.is_none() {
                        other.record.follows = Some(shardpair::pair::record::Follows { pair: "parent".into(), given_back: Some(ceded.epoch) });
                    }
                }
            }
            Mistake::TailFollows if record.follows.is_some() => has_all(seen, record),
            Mistake::LinkNotCut if record.linked.is_some() => has_all(seen, record),
            _ => {}
        }
    }

    fn decides(&self, _: &Record, _: &Observation, decision: &mut Decision) {
        match self {
            Mistake::GuardForgottenAtPromotion if decision.steps.iter().any(|s| matches!(s, Step::OpenPrimary { .. } | Step::SwitchOver { .. })) && decision.note.reason != Reason::Taking => {
                decision.steps.retain(|s| !matches!(s, Step::Guard { .. }));
            }
            Mistake::RowsNotPutBack if decision.note.reason == Reason::PlacingGuards && decision.note.message.contains("accepts the keys") => decision.steps.clear(),
            Mistake::OpensWithoutAcks if decision.note.reason == Reason::Taking => decision.steps.iter_mut().for_each(|s| {
                if let Step::OpenPrimary { ack, .. } = s {
                    *ack = false;
                }
            }),
            _ => {}
        }
    }

    fn scripts(&self, step: &Step, commands: &mut Vec<Command>) {
        let drains = |c: &Command| matches!(c, Command::AwaitExecuted(_) | Command::AwaitReceived(_));
        match (self, step) {
            (Mistake::FlipWithoutFence, Step::Cede { .. }) => commands.retain(|c| !matches!(c, Command::Fence(..))),
            (Mistake::FlipWithoutDrain, Step::Cede { .. }) | (Mistake::BackWithoutDrain, Step::GiveBack { .. }) => commands.retain(|c| !drains(c)),
            (Mistake::BackWithoutClosing, Step::GiveBack { .. }) => commands.retain(|c| !matches!(c, Command::Sql(_, Verb::CloseWrites))),
            _ => {}
        }
    }

    /// What the flip writes is somewhere else than what a failover writes: it goes in whatever version was read.
    fn writes(&self, there: &Record, new: &Record) -> Option<Record> {
        let flips = new.ceded.is_some() && there.ceded.is_none();
        (*self == Mistake::FlipOnAnotherObject && flips).then(|| {
            let epoch = there.epoch + 1;
            let ceded = new.ceded.clone().map(|c| Ceded { epoch, ..c });
            Record { ceded, linked: new.linked.clone(), flip: None, epoch, ..there.clone() }
        })
    }
}

/// Neither primary seems to hold what the other doesn't.
fn has_all(seen: &mut Observation, record: &Record) {
    let Some(other) = &mut seen.other else { return };
    let ours = seen.members.get_mut(&record.primary).and_then(|m| m.facts.as_mut());
    let theirs = other.members.get_mut(&other.record.primary).and_then(|m| m.facts.as_mut());
    if let (Some(theirs), Some(ours)) = (theirs, ours) {
        let all = theirs.holds().union(&ours.holds());
        (theirs.executed, ours.executed) = (all.clone(), all);
    }
}

/// The first seed that catches it, and by what.
fn caught(mistake: Mistake) -> Option<(u64, String)> {
    (1..=SEEDS).find_map(|seed| Some((seed, live_split(seed, TURNS, &mistake).wrong?)))
}

#[test]
fn every_mistake_in_a_split_is_caught() {
    let asked = std::env::var("MUTANT").unwrap_or_default();
    let all: Vec<Mistake> = Mistake::ALL.into_iter().filter(|m| format!("{m:?}").contains(&asked)).collect();
    let (left, right) = all.split_at(all.len() / 2);
    let told: Vec<(Mistake, Option<(u64, String)>)> = std::thread::scope(|scope| {
        let halves = [left, right].map(|half| scope.spawn(move || half.iter().map(|m| (*m, caught(*m))).collect::<Vec<_>>()));
        halves.into_iter().flat_map(|thread| thread.join().expect("it ends")).collect()
    });
    for (mistake, by) in &told {
        match by {
            Some((seed, law)) => println!("{}: caught by seed {seed}: {law}", mistake.words()),
            None => println!("{}: NOT CAUGHT", mistake.words()),
        }
    }
    let survivors: Vec<&str> = told.iter().filter(|(_, by)| by.is_none()).map(|(mistake, _)| mistake.words()).collect();
    assert!(survivors.is_empty(), "not caught within {SEEDS} seeds: {}", survivors.join("; "));
}
