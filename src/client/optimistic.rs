//! Optimistic locks: a row is written only if it still has the version that was read.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Params, Value};

/// A table whose rows carry a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// `database.table`
    pub table: String,
    /// The columns of its primary (or another unique) key.
    pub keys: Vec<String>,
    /// An integer column, counted up with each write.
    pub version: String,
}

/// A name of a column or a table as an SQL identifier.
fn quoted(name: &str) -> String {
    name.split('.').map(|part| format!("`{}`", part.replace('`', "``"))).collect::<Vec<_>>().join(".")
}

impl Versioned {
    /// By one key column, and a column `version`.
    pub fn new(table: &str, key: &str) -> Self {
        Self { table: table.to_owned(), keys: vec![key.to_owned()], version: "version".to_owned() }
    }

    fn sql(&self, set: &[(&str, Value)]) -> String {
        let column = |name: &str| format!("`{}`", name.replace('`', "``"));
        let version = column(&self.version);
        let set = set.iter().map(|(name, _)| format!("{} = ?, ", column(name))).collect::<String>();
        let keys = self.keys.iter().map(|key| format!("{} = ? AND ", column(key))).collect::<String>();
        format!("UPDATE {} SET {set}{version} = {version} + 1 WHERE {keys}{version} = ?", quoted(&self.table))
    }

    /// Writes `set` to the row if it still has version `read`. False: somebody was faster (or deleted it): read again.
    pub async fn update(&self, conn: &mut Conn, key: &[Value], read: u64, set: &[(&str, Value)]) -> Result<bool, Error> {
        if key.len() != self.keys.len() {
            return Err(Error::Other(format!("{} has {} key columns, {} values were given", self.table, self.keys.len(), key.len()).into()));
        }
        let values = set.iter().map(|(_, value)| value.clone()).chain(key.iter().cloned()).chain([Value::UInt(read)]);
        conn.exec_drop(self.sql(set), Params::Positional(values.collect())).await?;
        Ok(conn.affected_rows() == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_asked_for_and_counted_up_in_one_statement() {
        let rows = Versioned::new("shop.carts", "user_id");
        assert_eq!(rows.sql(&[("items", Value::Int(3))]), "UPDATE `shop`.`carts` SET `items` = ?, `version` = `version` + 1 WHERE `user_id` = ? AND `version` = ?");
    }
}
