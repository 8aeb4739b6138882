//! Sets of transactions of a small world: a bit each, and the log that says which server wrote them.

use std::collections::BTreeMap;
use std::fmt;

use crate::mysql::gtid::{GtidSet, Interval, Uuid};

/// So many transactions a world can hold.
pub const MOST: u8 = 128;
/// The first transaction stands for this many: what the pair held before its story begins.
const BASE: u64 = 100;

/// A set of transactions.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Set(pub u128);

impl Set {
    /// None.
    pub const EMPTY: Set = Set(0);

    /// Just this one.
    pub fn one(id: u8) -> Self {
        Set(1 << id)
    }

    /// All that is in either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Set(self.0 | other.0)
    }

    /// What is here and not there.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Set(self.0 & !other.0)
    }

    /// What is in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Set(self.0 & other.0)
    }

    /// Is all of `other` here?
    pub fn contains(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Is nothing here?
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many.
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Each of them, oldest first.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..MOST).filter(move |id| self.0 >> id & 1 == 1)
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<String> = self.iter().map(|id| id.to_string()).collect();
        write!(f, "{{{}}}", ids.join(" "))
    }
}

/// Which volume's server wrote each transaction. The first is the base, written by the first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Log(Vec<u8>);

impl Default for Log {
    fn default() -> Self {
        Log(vec![0])
    }
}

impl Log {
    /// Transactions so far.
    pub fn len(&self) -> u8 {
        self.0.len() as u8
    }

    /// Never: the base is always there.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A new transaction of the server on this volume; None: the world is full.
    pub fn write(&mut self, volume: u8) -> Option<u8> {
        let id = self.len();
        if id >= MOST {
            return None;
        }
        self.0.push(volume);
        Some(id)
    }

    /// All that the server on this volume wrote.
    pub fn of(&self, volume: u8) -> Set {
        (0u8..).zip(&self.0).filter(|(_, of)| **of == volume).map(|(id, _)| Set::one(id)).fold(Set::EMPTY, Set::union)
    }

    /// Each transaction's number at its server: first and last of what it stands for.
    fn numbers(&self) -> Vec<(u64, u64)> {
        let mut last: BTreeMap<u8, u64> = BTreeMap::from([(0, BASE)]);
        let number = |(id, volume): (usize, &u8)| {
            if id == 0 {
                return (1, BASE);
            }
            let last = last.entry(*volume).or_default();
            *last += 1;
            (*last, *last)
        };
        self.0.iter().enumerate().map(number).collect()
    }

    /// As MySQL would say it.
    pub fn gtids(&self, set: Set) -> GtidSet {
        let mut runs: BTreeMap<u8, Vec<(u64, u64)>> = BTreeMap::new();
        let numbers = if set.is_empty() { Vec::new() } else { self.numbers() };
        for (id, (first, last)) in (0u8..).zip(numbers).filter(|(id, _)| set.0 >> id & 1 == 1) {
            let own = runs.entry(self.0[id as usize]).or_default();
            match own.last_mut() {
                Some(run) if run.1 + 1 == first => run.1 = last,
                _ => own.push((first, last)),
            }
        }
        let mut gtids = GtidSet::default();
        for (volume, runs) in runs {
            let uuid: Uuid = uuid(volume).parse().expect("a uuid");
            runs.into_iter().for_each(|(first, last)| gtids.add(uuid, "", first, last));
        }
        gtids
    }

    /// Back from MySQL's form.
    pub fn set(&self, gtids: &GtidSet) -> Set {
        let of: Vec<(Uuid, Vec<Interval>)> = gtids.iter().map(|(uuid, _, intervals)| (uuid, intervals.to_vec())).collect();
        let mut own: BTreeMap<u8, Vec<Interval>> = BTreeMap::new();
        for volume in &self.0 {
            let uuid = || uuid(*volume).parse::<Uuid>().expect("a uuid");
            own.entry(*volume).or_insert_with(|| of.iter().filter(|(u, _)| *u == uuid()).flat_map(|(_, i)| i.clone()).collect());
        }
        let holds = |id: u8, (first, last): (u64, u64)| own[&self.0[id as usize]].iter().any(|i| i.first <= first && last <= i.last);
        (0u8..).zip(self.numbers()).filter(|(id, numbers)| holds(*id, *numbers)).map(|(id, _)| Set::one(id)).fold(Set::EMPTY, Set::union)
    }

    /// In letters: `A:1-103 B:2`.
    pub fn words(&self, set: Set) -> String {
        let mut text = format!("{:#}", self.gtids(set)).replace('\n', "");
        for volume in 0..26 {
            text = text.replace(&uuid(volume), &char::from(b'A' + volume).to_string());
        }
        if text.is_empty() { "nothing".to_owned() } else { text }
    }
}

/// The `server_uuid` of the server on this volume: a new volume is a new server.
pub fn uuid(volume: u8) -> String {
    format!("000000{volume:02x}-0000-0000-0000-000000000000")
}
