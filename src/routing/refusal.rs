//! What a guard answers, as clients read it: an error number and a text in a fixed form, both part of the contract.
//!
//! `<word> epoch=<n> class=<n|none> table=<database.table>`, after `shardpair `; at most 128 characters (the table's name
//! may be cut). SQLSTATE is 45000. The statement did nothing; the transaction is still open and should be rolled back.

/// The row's key is not this pair's (any more): get the map of at least that epoch, and try there.
pub const MOVED: u16 = 31_001;
/// The statement would move a row to a key of another class: delete and insert it instead, each where it belongs.
pub const CROSSING: u16 = 31_002;
/// A Reference or Local table on a new shard, before the plan has dissolved the link: write it on the old shard, or later.
pub const NOT_YET: u16 = 31_003;

/// A guard's refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub kind: Kind,
    /// The epoch of the map that has the shards of this split: a map of this epoch or a newer one says where the key is.
    pub epoch: i64,
    /// The key's class under the rule of the split; None: no class that this pair knows.
    pub class: Option<u32>,
    /// `database.table`, possibly cut.
    pub table: String,
}

/// Why a guard refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`MOVED`]
    Moved,
    /// [`CROSSING`]
    Crossing,
    /// [`NOT_YET`]
    NotYet,
}

impl Kind {
    /// MySQL's error number.
    pub fn code(self) -> u16 {
        match self {
            Self::Moved => MOVED,
            Self::Crossing => CROSSING,
            Self::NotYet => NOT_YET,
        }
    }

    /// The text's first word after `shardpair`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Crossing => "crossing",
            Self::NotYet => "not-yet",
        }
    }
}

impl Refusal {
    /// Reads an error of MySQL; None: it is no guard's.
    pub fn parse(code: u16, message: &str) -> Option<Self> {
        let kind = [Kind::Moved, Kind::Crossing, Kind::NotYet].into_iter().find(|kind| kind.code() == code)?;
        let mut words = message.split(' ');
        if words.next() != Some("shardpair") || words.next() != Some(kind.word()) {
            return None;
        }
        let mut value = |name: &str| words.next().and_then(|word| word.strip_prefix(name)).and_then(|word| word.strip_prefix('='));
        let (epoch, class) = (value("epoch")?.parse().ok()?, value("class")?.parse().ok());
        let table = message.split_once(" table=")?.1.to_owned();
        Some(Self { kind, epoch, class, table })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_and_nothing_else() {
        let moved = Refusal { kind: Kind::Moved, epoch: 12, class: Some(3), table: "shop.my orders".to_owned() };
        assert_eq!(Refusal::parse(MOVED, "shardpair moved epoch=12 class=3 table=shop.my orders"), Some(moved));
        let none = Refusal::parse(MOVED, "shardpair moved epoch=12 class=none table=shop.t").expect("read");
        assert_eq!(none.class, None);
        assert_eq!(Refusal::parse(MOVED, "another's error"), None);
        assert_eq!(Refusal::parse(1062, "shardpair moved epoch=12 class=3 table=shop.t"), None);
        assert_eq!(Refusal::parse(MOVED, "shardpair moved epoch=x class=3 table=shop.t"), None);
    }
}
