//! Routing: which shard a key belongs to, and what of a shard moves when it is split.
//!
//! Pure, and without any dependency on Kubernetes, MySQL or a runtime: the operator, the routing service and clients
//! share it. [`map`] is what clients read; [`keys`] is what belongs to one shard, and its split rule; [`key`] holds the
//! hash, a public contract with golden vectors (`docs/routing-vectors.json`) that Rust and MySQL both pass; [`guard`]
//! says the rule of a split in SQL; [`refusal`] reads what a guard answers.
//!
//! | strategy | a shard is | its halves: parent, child |
//! |---|---|---|
//! | Hash | `h mod m == r`, h = the key (Mod) or the CRC-32 of its text (Crc32) | `h mod 2m == r`, `h mod 2m == r+m` |
//! | Range | `from <= key < to` | below `split_at`, from it on |
//! | Table | the routed key's route, and `crc32(key) mod m == r` in it | `crc32(key) mod 2m == r`, `… == r+m` |
//!
//! With strategy Table the table of routes never changes by a split: it names *routes* (the shards that there were
//! when the cluster was made), and a route is divided among shards by the hash of the key. So no entry is rewritten
//! while clients read it, the halves are known in SQL without the table, and keys that have no entry split as well.

use serde::{Deserialize, Serialize};

pub mod guard;
pub mod key;
pub mod keys;
pub mod map;
pub mod refusal;

pub use guard::{Guard, KeyKind};
pub use key::Key;
pub use keys::Keys;
pub use map::{Map, Routes, Shard};
pub use refusal::Refusal;

/// Hash, range or table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "operator", derive(schemars::JsonSchema))]
pub enum Strategy {
    /// `function(key) mod modulus == residue`
    #[default]
    Hash,
    /// By bounds.
    Range,
    /// By a table of routes.
    Table,
}

/// How a key becomes a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "operator", derive(schemars::JsonSchema))]
pub enum Function {
    /// Integers: the key itself.
    #[default]
    Mod,
    /// CRC-32 (IEEE) of the key's UTF-8 bytes.
    Crc32,
}

/// What a table holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "operator", derive(schemars::JsonSchema))]
pub enum TableClass {
    /// Each row belongs to one shard, by its key.
    #[default]
    Sharded,
    /// The same rows on every shard.
    Reference,
    /// Each shard's own.
    Local,
}

/// One table of the application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Table {
    /// `database.table`
    pub name: String,
    /// Sharded: the column that decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What it holds.
    #[serde(default)]
    pub class: TableClass,
}

/// Why a key has no shard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The map doesn't list the table.
    #[error("table {0} is not in the map: list it in spec.sharding.tables")]
    UnknownTable(String),
    /// Its rows have no shard of their own.
    #[error("table {0} is not sharded ({1:?}): its rows are on every shard")]
    NotSharded(String, TableClass),
    /// NULL, or absent.
    #[error("the shard key is NULL or absent: a row without it has no shard")]
    NullKey,
    /// Text where an integer decides, or a kind that no rule takes.
    #[error("the shard key is {got}, but {rule} needs {wanted}")]
    WrongType {
        /// What decides.
        rule: &'static str,
        /// What it needs.
        wanted: &'static str,
        /// What was given.
        got: &'static str,
    },
    /// Strategy Table: no entry, and no default.
    #[error("the table of routes has no entry for key {0:?}, and no default")]
    NoRoute(String),
    /// Strategy Table: the map names a table of routes that wasn't given.
    #[error("the routes are not loaded: {0} holds them")]
    RoutesMissing(String),
    /// A valid map has a shard for each key, but a route may lead nowhere.
    #[error("no shard of the map holds this key{0}")]
    NoShard(String),
}

/// Why a shard can't be split so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// Range without a bound.
    #[error("a shard of strategy Range is split at a bound: give one")]
    NoBound,
    /// The bound leaves nothing on one side.
    #[error("{at} does not split the keys {from} to {to}: choose a bound inside them")]
    BoundOutside {
        /// The bound.
        at: i64,
        /// Where the shard begins.
        from: String,
        /// Where it ends (exclusive).
        to: String,
    },
    /// A bound where the hash decides.
    #[error("a bound is for strategy Range only: remove splitAt")]
    BoundGiven,
    /// The modulus would be too large.
    #[error("the shard's modulus is {0} already: it can't be doubled")]
    TooFine(u32),
    /// No such shard, or the new one's number is taken.
    #[error("shard {0} {1}")]
    Shard(u32, &'static str),
}
