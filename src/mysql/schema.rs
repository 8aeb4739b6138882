//! What a primary's dictionary says of the application's tables, for the preflight; and the median of a key.
//!
//! Reads only. `information_schema` is behind the account cache's lock, so nothing here runs while commits wait for long.

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::Error;
use super::session::{Row, Session, identifier, quote};
use crate::expansion::preflight::{Column, ForeignKey, Schema, TableSeen, UniqueKey};
use crate::routing::Routes;
use crate::routing::map::ROUTES_COLUMNS;

fn text(row: &Row, name: &str) -> String {
    row.get(name).unwrap_or_default().to_owned()
}

fn number(row: &Row, name: &str) -> u64 {
    row.get(name).and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// Reads everything that the preflight looks at.
pub async fn read(session: &mut Session, databases: &[String], deadline: Duration) -> Result<Schema, Error> {
    // Rows and sizes of now, not of yesterday.
    session.exec("SET SESSION information_schema_stats_expiry=0", deadline).await?;
    let list = databases.iter().map(|d| quote(d)).chain([quote("")]).collect::<Vec<_>>().join(",");
    let mut tables = tables(session, &list, deadline).await?;
    columns(session, &list, &mut tables, deadline).await?;
    keys(session, &list, &mut tables, deadline).await?;
    foreign_keys(session, &list, &mut tables, deadline).await?;
    triggers(session, &list, &mut tables, deadline).await?;
    let events = format!("SELECT concat(event_schema, '.', event_name) FROM information_schema.events WHERE event_schema IN ({list}) AND status='ENABLED' ORDER BY 1");
    let events = session.rows(&events, deadline).await?;
    let bytes = session.scalar("SELECT sum(file_size) FROM information_schema.innodb_tablespaces", deadline).await?;
    Ok(Schema {
        tables: tables.into_values().collect(),
        events: events.iter().filter_map(|row| row.at(0)).map(str::to_owned).collect(),
        xa_prepared: session.rows("XA RECOVER", deadline).await?.len() as u32,
        ddl: running_ddl(session, deadline).await?,
        data_bytes: bytes.and_then(|b| b.parse().ok()).unwrap_or(0),
        version: session.scalar("SELECT @@version", deadline).await?.unwrap_or_default(),
    })
}

type Tables = BTreeMap<String, TableSeen>;

async fn tables(session: &mut Session, list: &str, deadline: Duration) -> Result<Tables, Error> {
    let sql = format!(
        "SELECT concat(table_schema, '.', table_name) AS name, engine AS engine, table_rows AS estimate
         FROM information_schema.tables WHERE table_type='BASE TABLE' AND table_schema IN ({list})"
    );
    let rows = session.rows(&sql, deadline).await?;
    let seen = |row: &Row| TableSeen { name: text(row, "name"), engine: text(row, "engine"), rows: number(row, "estimate"), ..TableSeen::default() };
    Ok(rows.iter().map(|row| (text(row, "name"), seen(row))).collect())
}

async fn columns(session: &mut Session, list: &str, tables: &mut Tables, deadline: Duration) -> Result<(), Error> {
    let sql = format!(
        "SELECT concat(table_schema, '.', table_name) AS name, column_name AS column_name, data_type AS data_type, column_type AS column_type,
           is_nullable AS is_nullable, extra AS extra, collation_name AS collation_name
         FROM information_schema.columns WHERE table_schema IN ({list}) ORDER BY table_schema, table_name, ordinal_position"
    );
    for row in session.rows(&sql, deadline).await? {
        let extra = text(&row, "extra").to_lowercase();
        let column = Column {
            name: text(&row, "column_name"),
            data_type: text(&row, "data_type"),
            column_type: text(&row, "column_type"),
            nullable: row.get("is_nullable") == Some("YES"),
            auto_increment: extra.contains("auto_increment"),
            generated: extra.contains("virtual generated") || extra.contains("stored generated"),
            collation: text(&row, "collation_name"),
        };
        // A view's columns have no table here.
        if let Some(table) = tables.get_mut(&text(&row, "name")) {
            table.columns.push(column);
        }
    }
    Ok(())
}

async fn keys(session: &mut Session, list: &str, tables: &mut Tables, deadline: Duration) -> Result<(), Error> {
    let sql = format!(
        "SELECT concat(table_schema, '.', table_name) AS name, index_name AS index_name, column_name AS column_name
         FROM information_schema.statistics WHERE non_unique=0 AND table_schema IN ({list}) ORDER BY table_schema, table_name, index_name, seq_in_index"
    );
    for row in session.rows(&sql, deadline).await? {
        let Some(table) = tables.get_mut(&text(&row, "name")) else { continue };
        let (index, column) = (text(&row, "index_name"), text(&row, "column_name"));
        match table.keys.last_mut() {
            Some(key) if key.name == index => key.columns.push(column),
            _ => table.keys.push(UniqueKey { name: index, columns: vec![column] }),
        }
    }
    Ok(())
}

async fn foreign_keys(session: &mut Session, list: &str, tables: &mut Tables, deadline: Duration) -> Result<(), Error> {
    let sql = format!(
        "SELECT concat(k.table_schema, '.', k.table_name) AS name, k.constraint_name AS fk, k.column_name AS here, k.referenced_column_name AS there,
           concat(k.referenced_table_schema, '.', k.referenced_table_name) AS target,
           r.delete_rule IN ('CASCADE', 'SET NULL', 'SET DEFAULT') OR r.update_rule IN ('CASCADE', 'SET NULL', 'SET DEFAULT') AS cascades
         FROM information_schema.key_column_usage k
         JOIN information_schema.referential_constraints r ON r.constraint_schema=k.constraint_schema AND r.constraint_name=k.constraint_name AND r.table_name=k.table_name
         WHERE k.referenced_table_name IS NOT NULL AND (k.table_schema IN ({list}) OR k.referenced_table_schema IN ({list}))
         ORDER BY k.table_schema, k.table_name, k.constraint_name, k.ordinal_position"
    );
    for row in session.rows(&sql, deadline).await? {
        let Some(table) = tables.get_mut(&text(&row, "name")) else { continue };
        let (name, here, there) = (text(&row, "fk"), text(&row, "here"), text(&row, "there"));
        match table.foreign_keys.last_mut() {
            Some(key) if key.name == name => {
                key.columns.push(here);
                key.to_columns.push(there);
            }
            _ => table.foreign_keys.push(ForeignKey { name, columns: vec![here], to: text(&row, "target"), to_columns: vec![there], cascades: number(&row, "cascades") == 1 }),
        }
    }
    Ok(())
}

async fn triggers(session: &mut Session, list: &str, tables: &mut Tables, deadline: Duration) -> Result<(), Error> {
    let sql = format!(
        "SELECT concat(event_object_schema, '.', event_object_table) AS name, trigger_name AS trigger_name FROM information_schema.triggers
         WHERE event_object_schema IN ({list}) AND trigger_name NOT LIKE 'shardpair\\_guard\\_%' ORDER BY 1, 2"
    );
    for row in session.rows(&sql, deadline).await? {
        if let Some(table) = tables.get_mut(&text(&row, "name")) {
            table.triggers.push(text(&row, "trigger_name"));
        }
    }
    Ok(())
}

/// Statements that rebuild or rename tables, by their first word: what `SHOW PROCESSLIST` has of them.
async fn running_ddl(session: &mut Session, deadline: Duration) -> Result<Vec<String>, Error> {
    let rows = session.rows("SHOW FULL PROCESSLIST", deadline).await?;
    let is_ddl = |statement: &str| {
        let words = statement.split_whitespace().take(2).map(str::to_uppercase).collect::<Vec<_>>();
        matches!(words.first().map(String::as_str), Some("ALTER" | "OPTIMIZE" | "RENAME" | "TRUNCATE"))
            || matches!(words.iter().map(String::as_str).collect::<Vec<_>>()[..], ["CREATE" | "DROP", "INDEX" | "UNIQUE" | "FULLTEXT" | "SPATIAL" | "TABLE"])
    };
    let ours = session.id().to_string();
    let ddl = rows.iter().filter(|row| row.get("Id") != Some(&ours) && row.get("Info").is_some_and(is_ddl));
    Ok(ddl.map(|row| format!("session {} runs {}", text(row, "Id"), text(row, "Info").chars().take(120).collect::<String>())).collect())
}

/// The key at the middle of `from <= key < to`: half of the rows are below it. Exact, by counting along the index (two passes
/// over it, about a second for some million rows): ask the standby. The optimizer's estimates end at half of a table and
/// were 40 % off on skewed keys (seen), so they are no help. None: no rows.
pub async fn median(session: &mut Session, table: &str, key: &str, from: Option<i64>, to: Option<i64>, deadline: Duration) -> Result<Option<i64>, Error> {
    let (database, name) = table.split_once('.').unwrap_or(("", table));
    let (table, column) = (format!("{}.{}", identifier(database), identifier(name)), identifier(key));
    let bound = |op: &str, at: Option<i64>| at.map(|at| format!(" AND {column} {op} {at}")).unwrap_or_default();
    let whole = format!("TRUE{}{}", bound(">=", from), bound("<", to));
    let half = session.scalar(&format!("SELECT count(*) DIV 2 FROM {table} WHERE {whole}"), deadline).await?.unwrap_or_default();
    let sql = format!("SELECT {column} FROM {table} WHERE {whole} ORDER BY {column} LIMIT 1 OFFSET {half}");
    Ok(session.scalar(&sql, deadline).await?.and_then(|v| v.parse().ok()))
}

/// More routes than this are not read.
const ROUTES_LIMIT: u32 = 1_000_000;

/// Strategy Table: the routes of a MySQL table; the row with the empty key is the default.
pub async fn routes(session: &mut Session, table: &str, deadline: Duration) -> Result<Routes, Error> {
    let (database, name) = table.split_once('.').unwrap_or(("", table));
    let [key, route] = ROUTES_COLUMNS;
    let sql = format!("SELECT {key} AS k, {route} AS r FROM {}.{} LIMIT {}", identifier(database), identifier(name), ROUTES_LIMIT + 1);
    let rows = session.rows(&sql, deadline).await?;
    let refuse = |why: String| Error::Malformed { member: session.member().to_owned(), doing: format!("reading the routes of {table}"), why };
    if rows.len() > ROUTES_LIMIT as usize {
        return Err(refuse(format!("it has more than {ROUTES_LIMIT} rows")));
    }
    let mut routes = Routes::default();
    for row in rows {
        let (key, route) = (text(&row, "k"), row.get("r").and_then(|r| r.parse().ok()));
        let route = route.ok_or_else(|| refuse(format!("the route of {key:?} is no shard's number")))?;
        if key.is_empty() {
            routes.default = Some(route);
        } else {
            routes.entries.insert(key, route);
        }
    }
    Ok(routes)
}
