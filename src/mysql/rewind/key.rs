//! How a row is found again by its primary key, whatever its columns' types and charsets.

use mysql_async::Value;

use super::read::Trouble;
use super::refusal::Refusal;
use crate::mysql::session::{Session, quote};

/// A column of a primary key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyColumn {
    pub name: String,
    /// Its place in a row image, from 0.
    pub place: usize,
    /// `data_type` of `information_schema.columns`.
    pub kind: String,
    /// Of texts.
    pub charset: Option<String>,
    /// Bytes at most, of texts and binaries.
    pub octets: usize,
}

/// The primary key of a table. Asked on a member without a role, where no commit waits.
pub(super) async fn columns(session: &mut Session, schema: &str, table: &str) -> Result<Vec<KeyColumn>, Trouble> {
    let sql = format!(
        "SELECT c.column_name AS name, c.ordinal_position AS place, c.data_type AS kind, c.character_set_name AS charset,
           c.character_octet_length AS octets
         FROM information_schema.key_column_usage k JOIN information_schema.columns c
           ON c.table_schema=k.table_schema AND c.table_name=k.table_name AND c.column_name=k.column_name
         WHERE k.constraint_name='PRIMARY' AND k.table_schema={} AND k.table_name={} ORDER BY k.ordinal_position",
        quote(schema),
        quote(table)
    );
    let rows = session.rows(&sql, super::SHORT).await?;
    if rows.is_empty() {
        return Err(Refusal::NoPrimaryKey { table: format!("{schema}.{table}") }.into());
    }
    let number = |text: Option<&str>| text.and_then(|n| n.parse::<usize>().ok()).unwrap_or(0);
    let column = |row: &crate::mysql::session::Row| KeyColumn {
        name: row.get("name").unwrap_or_default().to_owned(),
        place: number(row.get("place")).wrapping_sub(1),
        kind: row.get("kind").unwrap_or_default().to_owned(),
        charset: row.get("charset").map(str::to_owned),
        octets: number(row.get("octets")),
    };
    Ok(rows.iter().map(column).collect())
}

/// A value of a row image as a literal that finds it by the index. None: a type that can't be looked up for sure.
pub(super) fn literal(column: &KeyColumn, value: &Value) -> Option<String> {
    let kind = column.kind.as_str();
    Some(match (kind, value) {
        ("tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "enum", Value::Int(n)) => n.to_string(),
        ("tinyint" | "smallint" | "mediumint" | "int" | "bigint", Value::UInt(n)) => n.to_string(),
        ("decimal" | "year", Value::Bytes(digits)) => number(digits)?,
        ("timestamp", Value::Bytes(seconds)) => format!("FROM_UNIXTIME({})", number(seconds)?),
        ("date" | "datetime" | "time", Value::Date(..) | Value::Time(..)) => value.as_sql(true),
        ("char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext", Value::Bytes(bytes)) => {
            format!("_{} X'{}'", column.charset.as_deref().filter(|c| c.bytes().all(|b| b.is_ascii_alphanumeric()))?, hex(bytes))
        }
        // Zeros at its end are not in the image.
        ("binary", Value::Bytes(bytes)) => format!("X'{:0<1$}'", hex(bytes), column.octets * 2),
        ("varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob", Value::Bytes(bytes)) => format!("X'{}'", hex(bytes)),
        ("bit", Value::Bytes(bytes)) => bytes.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)).to_string(),
        _ => return None,
    })
}

fn number(digits: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(digits).ok()?;
    text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-')).then(|| text.to_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
