//! Walks a table in primary-key order, some rows at a time, whatever the key's columns are.
//!
//! A place is the key's values as SQL literals, which mean the same when they come back: texts and bytes in hexadecimal,
//! with their character set named, so that the column's own collation decides the order.

use std::time::Duration;

use super::error::Error;
use super::session::{Session, identifier, quote};
use crate::routing::guard::GuardedTable;
use crate::routing::{Guard, KeyKind};

/// A place in a table: the primary key's values as literals.
pub(super) type Place = Vec<String>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Number,
    Time,
    Text,
    Bytes,
}

/// A table that is walked.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    /// `database.table`, plain.
    pub(super) name: String,
    /// The same, quoted.
    pub(super) table: String,
    /// The class of a row, in SQL.
    pub(super) class: String,
    /// All columns, quoted.
    pub(super) columns: Vec<String>,
    key: Vec<(String, Form)>,
}

/// A row that was passed.
pub(super) struct Passed {
    pub(super) place: Place,
    pub(super) class: Option<u32>,
}

impl Walk {
    /// By this server's dictionary.
    pub(super) async fn of(s: &mut Session, guard: &Guard, table: &GuardedTable, deadline: Duration) -> Result<Self, Error> {
        let name = format!("{}.{}", table.database, table.table);
        let sql = format!(
            "SELECT c.column_name AS name, c.data_type AS data_type, c.column_type AS column_type, k.seq_in_index AS place
             FROM information_schema.columns c LEFT JOIN information_schema.statistics k
               ON k.table_schema=c.table_schema AND k.table_name=c.table_name AND k.column_name=c.column_name AND k.index_name='PRIMARY'
             WHERE c.table_schema={} AND c.table_name={} ORDER BY k.seq_in_index, c.ordinal_position",
            quote(&table.database), quote(&table.table)
        );
        let refuse = |member: &str, why: String| Error::Malformed { member: member.to_owned(), doing: format!("walking {name}"), why };
        let (mut key, mut columns, mut class) = (Vec::new(), Vec::new(), None);
        for row in s.rows(&sql, deadline).await? {
            let part = |name: &str| row.get(name).unwrap_or_default();
            let (column, data_type) = (part("name"), part("data_type"));
            columns.push(identifier(column));
            if row.get("place").is_some() {
                let form = form(data_type).ok_or_else(|| refuse(s.member(), format!("its primary key holds a {data_type}, which has no exact order")))?;
                key.push((identifier(column), form));
            }
            if column.eq_ignore_ascii_case(&table.key) {
                class = KeyKind::of_column(data_type, part("column_type")).and_then(|kind| guard.class_sql(&identifier(column), kind));
            }
        }
        if key.is_empty() {
            return Err(refuse(s.member(), "it isn't there, or has no primary key".to_owned()));
        }
        let class = class.ok_or_else(|| refuse(s.member(), format!("its column {} can't be a shard key", table.key)))?;
        Ok(Self { table: format!("{}.{}", identifier(&table.database), identifier(&table.table)), name, class, columns, key })
    }

    /// The next rows after a place, without any lock; fewer than `limit`: the end.
    pub(super) async fn next(&self, s: &mut Session, after: Option<&Place>, limit: u32, deadline: Duration) -> Result<Vec<Passed>, Error> {
        let shown = self.key.iter().map(|(column, form)| match form {
            Form::Number | Form::Time => column.clone(),
            Form::Text => format!("HEX(CONVERT({column} USING utf8mb4))"),
            Form::Bytes => format!("HEX({column})"),
        });
        let shown = shown.collect::<Vec<_>>().join(", ");
        let order = self.key.iter().map(|(column, _)| column.as_str()).collect::<Vec<_>>().join(", ");
        let sql = format!(
            "SELECT {} AS class, {shown} FROM {} FORCE INDEX (PRIMARY) WHERE {} ORDER BY {order} LIMIT {limit}",
            self.class, self.table, after.map_or("TRUE".to_owned(), |place| self.beyond(place, ">"))
        );
        let rows = s.rows(&sql, deadline).await?;
        let passed = |row: &super::session::Row| Passed {
            class: row.at(0).and_then(|class| class.parse().ok()),
            place: self.key.iter().enumerate().map(|(at, (_, form))| literal(*form, row.at(at + 1).unwrap_or_default())).collect(),
        };
        Ok(rows.iter().map(passed).collect())
    }

    /// `(a, b) > (x, y)` in the form that MySQL finds in the index; `op` is `>` or `<`, and a place isn't beyond itself.
    fn beyond(&self, place: &Place, op: &str) -> String {
        let mut parts = Vec::new();
        for at in 0..self.key.len().min(place.len()) {
            let same = (0..at).map(|n| format!("{} = {} AND ", self.key[n].0, place[n])).collect::<String>();
            parts.push(format!("({same}{} {op} {})", self.key[at].0, place[at]));
        }
        format!("({})", parts.join(" OR "))
    }

    /// Rows after one place and up to another one, included.
    pub(super) fn between(&self, after: Option<&Place>, last: &Place) -> String {
        let low = after.map_or("TRUE".to_owned(), |place| self.beyond(place, ">"));
        format!("{low} AND ({} OR ({}))", self.beyond(last, "<"), self.is(last))
    }

    /// Rows after a place.
    pub(super) fn after(&self, after: Option<&Place>) -> String {
        after.map_or("TRUE".to_owned(), |place| self.beyond(place, ">"))
    }

    fn is(&self, place: &Place) -> String {
        self.key.iter().zip(place).map(|((column, _), value)| format!("{column} = {value}")).collect::<Vec<_>>().join(" AND ")
    }

    /// Rows at these places.
    pub(super) fn at<'a>(&self, places: impl Iterator<Item = &'a Place>) -> String {
        let columns = self.key.iter().map(|(column, _)| column.as_str()).collect::<Vec<_>>().join(", ");
        let values = places.map(|place| if place.len() == 1 { place[0].clone() } else { format!("({})", place.join(", ")) });
        let columns = if self.key.len() == 1 { columns } else { format!("({columns})") };
        format!("{columns} IN ({})", values.collect::<Vec<_>>().join(", "))
    }
}

fn form(data_type: &str) -> Option<Form> {
    match data_type.to_ascii_lowercase().as_str() {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" => Some(Form::Number),
        "date" | "time" | "datetime" | "timestamp" | "year" => Some(Form::Time),
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => Some(Form::Text),
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Some(Form::Bytes),
        _ => None,
    }
}

fn literal(form: Form, shown: &str) -> String {
    match form {
        Form::Number => shown.to_owned(),
        Form::Time => quote(shown),
        Form::Text if shown.is_empty() => "''".to_owned(),
        Form::Text => format!("_utf8mb4 0x{shown}"),
        Form::Bytes if shown.is_empty() => "''".to_owned(),
        Form::Bytes => format!("0x{shown}"),
    }
}
