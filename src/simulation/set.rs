//! Sets of transactions of a small world: a bit each, and the log that says which server wrote them.

use std::fmt;

use crate::mysql::gtid::{GtidSet, Uuid};

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

    fn number(&self, id: u8) -> u64 {
        let own = self.0[id as usize];
        let before = self.0[1..=id as usize].iter().filter(|v| **v == own).count() as u64;
        if own == 0 { BASE + before } else { before }
    }

    /// As MySQL would say it.
    pub fn gtids(&self, set: Set) -> GtidSet {
        let mut gtids = GtidSet::default();
        for id in set.iter() {
            let uuid: Uuid = uuid(self.0[id as usize]).parse().expect("a uuid");
            let last = self.number(id);
            gtids.add(uuid, "", if id == 0 { 1 } else { last }, last);
        }
        gtids
    }

    /// Back from MySQL's form.
    pub fn set(&self, gtids: &GtidSet) -> Set {
        (0..self.len()).map(Set::one).filter(|one| gtids.contains(&self.gtids(*one))).fold(Set::EMPTY, Set::union)
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
