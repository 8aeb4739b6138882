//! The guard's triggers as text. Pure.
//!
//! A writer's statement looks up the row of its key's class FOR SHARE, and holds that lock until it commits: so a fence,
//! which updates the row, waits for exactly those writers that passed before it, and is seen by all that come after.
//! One lookup a row is all that a permitted write costs; who the session is, is asked only when the class isn't owned.
//! A trigger's name holds the fingerprint of its body: a trigger of that name is that trigger.

use super::super::session::{identifier, quote};
use crate::routing::guard::GuardedTable;
use crate::routing::key::fingerprint;
use crate::routing::refusal::Kind;

/// All names begin so.
pub(super) const PREFIX: &str = "shardpair_guard_";
/// The row that lets the application write Reference and Local tables.
pub(super) const UNSHARDED: u32 = u32::MAX;

/// One trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trigger {
    pub(super) database: String,
    pub(super) name: String,
    pub(super) table: String,
    event: &'static str,
    body: String,
}

impl Trigger {
    fn new(database: &str, table: &str, event: &'static str, body: String) -> Self {
        let name = format!("{PREFIX}{:016x}_{}", fingerprint(&format!("{database}.{table} {event} {body}")), event[..1].to_lowercase());
        Self { database: database.to_owned(), name, table: table.to_owned(), event, body }
    }

    pub(super) fn create(&self) -> String {
        let (database, name, table) = (identifier(&self.database), identifier(&self.name), identifier(&self.table));
        format!("CREATE TRIGGER {database}.{name} BEFORE {} ON {database}.{table} FOR EACH ROW\n{}", self.event, self.body)
    }
}

/// Is the session not the operator's? The part of USER() before the last @, byte by byte.
fn foreign_session(operator: &str) -> String {
    let user = "LEFT(USER(), CHAR_LENGTH(USER()) - CHAR_LENGTH(SUBSTRING_INDEX(USER(), '@', -1)) - 1)";
    format!("CONVERT({user} USING utf8mb4) COLLATE utf8mb4_bin <> {}", quote(operator))
}

/// Refuses, in the form that `routing::refusal` reads.
fn signal(kind: Kind, class: &str, table: &str) -> String {
    let (word, code) = (kind.word(), kind.code());
    format!(
        "BEGIN
      DECLARE said VARCHAR(512) CHARACTER SET utf8mb4;
      SET said = LEFT(CONCAT('shardpair {word} epoch=', COALESCE((SELECT g.epoch FROM shardpair.guard g WHERE g.class = {class} FOR SHARE),
        (SELECT s.epoch FROM shardpair.guard_state s WHERE s.id = 1), 0), ' class=', COALESCE({class}, 'none'), ' table=', {}), 128);
      SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {code}, MESSAGE_TEXT = said;
    END;",
        quote(table)
    )
}

fn owned(class: &str) -> String {
    format!("EXISTS (SELECT 1 FROM shardpair.guard g WHERE g.class = {class} AND g.owned = 1 FOR SHARE)")
}

/// The three triggers of a sharded table. `class` makes the class expression of a column.
pub(super) fn sharded(table: &GuardedTable, class: impl Fn(&str) -> Option<String>, operator: &str) -> Option<Vec<Trigger>> {
    let column = |row: &str| class(&format!("{row}.{}", identifier(&table.key)));
    let (old, new) = (column("OLD")?, column("NEW")?);
    let (name, foreign) = (format!("{}.{}", table.database, table.table), foreign_session(operator));
    let check = |class: &str| {
        format!("  IF NOT {} AND {foreign} THEN\n    {}\n  END IF;\n", owned(class), signal(Kind::Moved, class, &name))
    };
    // Also for the operator: nobody moves a row between classes in place.
    let crossing = format!("  IF NOT (({new}) <=> ({old})) THEN\n    {}\n  END IF;\n", signal(Kind::Crossing, &old, &name));
    let trigger = |event, checks: String| Trigger::new(&table.database, &table.table, event, format!("BEGIN\n{checks}END"));
    Some(vec![trigger("INSERT", check(&new)), trigger("UPDATE", crossing + &check(&old)), trigger("DELETE", check(&old))])
}

/// The three triggers of a Reference or Local table.
pub(super) fn unsharded(database: &str, table: &str, operator: &str) -> Vec<Trigger> {
    let class = UNSHARDED.to_string();
    let (foreign, signal) = (foreign_session(operator), signal(Kind::NotYet, &class, &format!("{database}.{table}")));
    let body = format!("BEGIN\n  IF NOT {} AND {foreign} THEN\n    {signal}\n  END IF;\nEND", owned(&class));
    ["INSERT", "UPDATE", "DELETE"].map(|event| Trigger::new(database, table, event, body.clone())).to_vec()
}
