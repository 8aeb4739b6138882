//! The guard: the rule inside a primary's database that refuses keys which are not its own (invariant 12).
//!
//! Pure. Says which tables are guarded, the key class of a row as an SQL expression, and which classes each side owns.
//! A class is a residue of the doubled modulus, or a side of a range's bound (0 below, 1 from it on). SQL and Rust agree
//! on it, which golden vectors prove: modulo is normalised for negative keys, and text is hashed as UTF-8 whatever
//! the column's character set. A key outside both halves (a row that was never this shard's) has a class nobody owns.

use std::collections::BTreeSet;

use super::key::{Key, fingerprint};
use super::keys::Keys;
use super::{Function, RouteError, SplitError, Table, TableClass};

/// How a column holds keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// TINYINT to BIGINT.
    Signed,
    /// The same, unsigned.
    Unsigned,
    /// CHAR, VARCHAR, TEXT.
    Text,
    /// BINARY, VARBINARY, BLOB.
    Bytes,
}

impl KeyKind {
    /// By `information_schema.columns`' data_type and column_type; None: no type for a shard key.
    pub fn of_column(data_type: &str, column_type: &str) -> Option<Self> {
        match data_type.to_ascii_lowercase().as_str() {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => {
                Some(if column_type.to_ascii_lowercase().contains("unsigned") { Self::Unsigned } else { Self::Signed })
            }
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => Some(Self::Text),
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Some(Self::Bytes),
            _ => None,
        }
    }

    /// An integer's?
    pub fn is_integer(self) -> bool {
        matches!(self, Self::Signed | Self::Unsigned)
    }
}

/// What decides a key's class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// `function(key) mod modulus`
    Residue {
        /// How a key becomes a number.
        function: Function,
        /// Twice the parent's.
        modulus: u32,
    },
    /// The side of a bound.
    Side {
        /// Where the parent's keys begin.
        from: Option<i64>,
        /// The first key that moves.
        at: i64,
        /// Where they end (exclusive).
        to: Option<i64>,
    },
}

/// A table whose rows belong to shards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GuardedTable {
    /// Database.
    pub database: String,
    /// Table.
    pub table: String,
    /// The column of the shard key.
    pub key: String,
}

/// The guard of one split: the same value on both sides, which differ in what they own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Sharded tables.
    pub tables: Vec<GuardedTable>,
    /// Reference and Local tables, `(database, table)`: refused on the child until Dissolved.
    pub unsharded: Vec<(String, String)>,
    /// What decides a class.
    pub rule: Rule,
    /// The class that the parent keeps.
    pub stays: u32,
    /// The class that moves to the child.
    pub moves: u32,
}

impl Guard {
    /// The guard for a shard with `parent` keys (before the split). `at` is for Range.
    pub fn of(tables: &[Table], function: Function, parent: &Keys, at: Option<i64>) -> Result<Self, SplitError> {
        let (stays, moves) = parent.split(at)?;
        let (rule, stays, moves) = match (parent, stays, moves) {
            (_, Keys::Residue { modulus, residue }, Keys::Residue { residue: moved, .. }) => (Rule::Residue { function, modulus }, residue, moved),
            (_, Keys::Route { modulus, residue, .. }, Keys::Route { residue: moved, .. }) => {
                (Rule::Residue { function: Function::Crc32, modulus }, residue, moved)
            }
            (Keys::Range { from, to }, _, _) => (Rule::Side { from: *from, at: at.ok_or(SplitError::NoBound)?, to: *to }, 0, 1),
            // Halves are of their whole's kind.
            _ => return Err(SplitError::NoBound),
        };
        let name = |table: &Table| {
            let (database, table) = table.name.split_once('.').unwrap_or(("", &table.name));
            (database.to_owned(), table.to_owned())
        };
        let (sharded, others): (Vec<_>, Vec<_>) = tables.iter().partition(|t| t.class == TableClass::Sharded);
        let mut guard = Self { tables: Vec::new(), unsharded: others.into_iter().map(name).collect(), rule, stays, moves };
        for listed in sharded {
            let (database, table) = name(listed);
            guard.tables.push(GuardedTable { database, table, key: listed.key.clone().unwrap_or_default() });
        }
        guard.tables.sort();
        guard.unsharded.sort();
        Ok(guard)
    }

    /// Both classes: what the parent owns before the flip.
    pub fn both(&self) -> BTreeSet<u32> {
        BTreeSet::from([self.stays, self.moves])
    }

    /// What the parent owns after it.
    pub fn parents(&self) -> BTreeSet<u32> {
        BTreeSet::from([self.stays])
    }

    /// What the child owns after it.
    pub fn childs(&self) -> BTreeSet<u32> {
        BTreeSet::from([self.moves])
    }

    /// Names the guard: another hash, another guard.
    pub fn hash(&self) -> String {
        format!("{:016x}", fingerprint(&format!("{self:?}")))
    }

    /// A key's class; None: neither side's.
    pub fn class(&self, key: &Key<'_>) -> Result<Option<u32>, RouteError> {
        let class = match self.rule {
            Rule::Residue { function, modulus } => key.residue(function, modulus)?,
            Rule::Side { from, at, to } => {
                let outside = !Keys::Range { from, to }.hold(Function::Mod, key, None)?;
                if outside { return Ok(None) } else { u32::from(key.integer("strategy Range")? >= i128::from(at)) }
            }
        };
        Ok(Some(class).filter(|class| *class == self.stays || *class == self.moves))
    }

    /// The class of `column` (quoted already, such as ``NEW.`user_id` ``) in SQL: an integer, or NULL for keys outside a
    /// range. None: a column of this kind can't be a key under this rule.
    pub fn class_sql(&self, column: &str, kind: KeyKind) -> Option<String> {
        match self.rule {
            Rule::Residue { function: Function::Mod, modulus } => kind.is_integer().then(|| match kind {
                KeyKind::Unsigned => format!("MOD({column}, {modulus})"),
                // MySQL's remainder has the sign of the key.
                _ => format!("MOD(MOD({column}, {modulus}) + {modulus}, {modulus})"),
            }),
            Rule::Residue { function: Function::Crc32, modulus } => Some(format!("MOD(CRC32({}), {modulus})", text_sql(column, kind))),
            Rule::Side { from, at, to } => kind.is_integer().then(|| {
                let below = from.map(|from| format!("WHEN {column} < {from} THEN NULL ")).unwrap_or_default();
                let above = to.map(|to| format!("WHEN {column} >= {to} THEN NULL ")).unwrap_or_default();
                format!("CASE {below}{above}WHEN {column} < {at} THEN 0 ELSE 1 END")
            }),
        }
    }
}

/// The bytes that CRC-32 is taken of, as [`Key::bytes`] has them. An integer is cast twice: ZEROFILL would show.
fn text_sql(column: &str, kind: KeyKind) -> String {
    match kind {
        KeyKind::Signed => format!("CAST(CAST({column} AS SIGNED) AS CHAR CHARACTER SET utf8mb4)"),
        KeyKind::Unsigned => format!("CAST(CAST({column} AS UNSIGNED) AS CHAR CHARACTER SET utf8mb4)"),
        KeyKind::Text => format!("CONVERT({column} USING utf8mb4)"),
        KeyKind::Bytes => column.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables() -> Vec<Table> {
        let table = |name: &str, key: Option<&str>, class| Table { name: name.to_owned(), key: key.map(str::to_owned), class };
        vec![table("shop.orders", Some("user_id"), TableClass::Sharded), table("shop.country", None, TableClass::Reference)]
    }

    #[test]
    fn halves_own_what_the_whole_owned() {
        let guard = Guard::of(&tables(), Function::Mod, &Keys::Residue { modulus: 2, residue: 1 }, None).expect("a guard");
        assert_eq!((guard.stays, guard.moves), (1, 3));
        assert_eq!(guard.class(&Key::Int(-1)), Ok(Some(3)));
        assert_eq!(guard.class(&Key::Int(4)), Ok(None), "never this shard's");
        assert_eq!(guard.tables.len(), 1);
        assert_eq!(guard.unsharded, [("shop".to_owned(), "country".to_owned())]);
        let range = Guard::of(&tables(), Function::Mod, &Keys::Range { from: Some(-5), to: Some(10) }, Some(3)).expect("a guard");
        let classes = [-6, -5, 2, 3, 9, 10].map(|key| range.class(&Key::Int(key)).expect("an integer"));
        assert_eq!(classes, [None, Some(0), Some(0), Some(1), Some(1), None]);
        assert_ne!(guard.hash(), range.hash());
        assert_eq!(range.class_sql("k", KeyKind::Text), None);
    }
}
