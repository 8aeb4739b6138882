//! A tail as a text that a person can read, and act on by hand.
//!
//! Pure. What a returning member has beyond the primary is evidence (invariant 8): this is the form in which it is kept.
//! One block a transaction: its GTID, its statements, its rows by table and column name, before and after.

use std::fmt::Write;

/// One transaction of a tail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// As MySQL writes it, with its tag.
    pub gtid: String,
    /// Seconds since 1970, by the member's clock, when it was written to the binlog.
    pub timestamp_seconds: u32,
    /// What it did, in order.
    pub changes: Vec<Change>,
}

/// A column's name and value; the value as an SQL literal.
pub type Column = (String, String);

/// One thing that a transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A statement that was logged as such: DDL, account statements. It can't be undone from row images.
    Statement {
        /// Default database.
        schema: String,
        /// Text.
        sql: String,
    },
    /// A row. No before: inserted. No after: deleted.
    Row {
        /// `database.table`
        table: String,
        /// Image before.
        before: Option<Vec<Column>>,
        /// Image after.
        after: Option<Vec<Column>>,
    },
    /// Something that can't be shown, with the reason. It can't be undone from row images.
    Unreadable(String),
}

/// The head of the file.
pub fn heading(member: &str, tail: &str) -> String {
    format!(
        "-- shardpair: transactions that were committed on {member} only, and never acknowledged to a client.\n\
         -- They are undone on {member}. Nothing here was applied anywhere else. Values are SQL literals.\n\
         -- GTIDs: {tail}\n"
    )
}

/// One transaction.
pub fn transaction(transaction: &Transaction) -> String {
    let Transaction { gtid, timestamp_seconds, changes } = transaction;
    let mut text = format!("\n-- GTID {gtid}, written {}\n", time(*timestamp_seconds));
    for change in changes {
        match change {
            Change::Statement { schema, sql } => {
                if !schema.is_empty() {
                    let _ = writeln!(text, "USE {schema};");
                }
                let _ = writeln!(text, "{};", sql.trim_end().trim_end_matches(';'));
            }
            Change::Row { table, before: None, after: Some(after) } => {
                let _ = writeln!(text, "INSERT {table}\n    after:  {}", columns(after));
            }
            Change::Row { table, before: Some(before), after: None } => {
                let _ = writeln!(text, "DELETE {table}\n    before: {}", columns(before));
            }
            Change::Row { table, before, after } => {
                let [before, after] = [before, after].map(|image| columns(image.as_deref().unwrap_or_default()));
                let _ = writeln!(text, "UPDATE {table}\n    before: {before}\n    after:  {after}");
            }
            Change::Unreadable(what) => {
                let _ = writeln!(text, "-- can't be shown: {what}");
            }
        }
    }
    text
}

fn columns(image: &[Column]) -> String {
    image.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
}

fn time(seconds: u32) -> String {
    jiff::Timestamp::from_second(i64::from(seconds)).map(|t| t.to_string()).unwrap_or_default()
}

/// Bytes as an SQL literal: text where they are printable UTF-8, hexadecimal otherwise.
pub fn literal(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) => {
            super::super::session::quote(text).replace('\n', "\\n").replace('\r', "\\r")
        }
        _ => format!("0x{}", bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(columns: &[(&str, &str)]) -> Option<Vec<Column>> {
        Some(columns.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect())
    }

    #[test]
    fn a_transaction_reads_as_what_it_did() {
        let row = |before, after| Change::Row { table: "d.t".to_owned(), before, after };
        let changes = vec![
            row(None, image(&[("id", "1"), ("v", "'a'")])),
            row(image(&[("id", "1"), ("v", "'a'")]), image(&[("id", "1"), ("v", "NULL")])),
            row(image(&[("id", "1"), ("v", "NULL")]), None),
            Change::Statement { schema: "d".to_owned(), sql: "ALTER TABLE t ADD x INT;".to_owned() },
        ];
        let text = transaction(&Transaction { gtid: "u:7".to_owned(), timestamp_seconds: 0, changes });
        let expected = "\n-- GTID u:7, written 1970-01-01T00:00:00Z\n\
            INSERT d.t\n    after:  id=1, v='a'\n\
            UPDATE d.t\n    before: id=1, v='a'\n    after:  id=1, v=NULL\n\
            DELETE d.t\n    before: id=1, v=NULL\n\
            USE d;\nALTER TABLE t ADD x INT;\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn bytes_are_text_or_hexadecimal_and_stay_on_one_line() {
        assert_eq!(literal("it's\nso".as_bytes()), "'it''s\\nso'");
        assert_eq!(literal(&[0xff, 0x00]), "0xff00");
        assert_eq!(literal(b"a\0"), "0x6100");
    }
}
