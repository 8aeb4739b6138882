//! Misrouted rows, found exactly: rows that one side of a split wrote though it doesn't own their keys.
//!
//! Both binlogs are read, over the replication protocol, from the flip on. A binlog holds the writes of both sides (the
//! link applies the other's): a transaction is a side's own by the server that its GTID names. The guard makes such rows
//! impossible; this is the proof that it did, and that nobody went around it (a cascade, a member without its guard, DDL).
//! Purges are tagged, and passed over.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use futures::StreamExt;
use mysql_async::binlog::EventType;
use mysql_async::binlog::events::{Event, EventData, RowsEventData};
use mysql_async::binlog::row::BinlogRow;
use mysql_async::binlog::value::BinlogValue;
use mysql_async::{BinlogStream, Value};

use super::error::Error;
use super::gtid::{GtidSet, Uuid};
use super::session::{Session, quote};
use super::{guard, purge, replication, tail};
use crate::routing::{Guard, Key, KeyKind};

const SHORT: Duration = Duration::from_secs(5);
/// Distinct keys in a character set that only MySQL converts; beyond it the table is told as unreadable.
const ASKED_LIMIT: usize = 100_000;
/// DDL statements that are told.
const DDL_LIMIT: usize = 10;

/// One side of the split, as it is since the flip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// `server_uuid` of the pair's members, also of former ones.
    pub servers: BTreeSet<String>,
    /// Classes that it owns.
    pub owned: BTreeSet<u32>,
}

/// Where a look begins: what had been executed at the fence, and its moment by the server's clock. (A transaction frees its
/// locks just before it shows in `gtid_executed`: such a one is told from later ones by its own moment.)
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Looked at already, or older.
    pub since: GtidSet,
    /// Microseconds since 1970.
    pub since_us: u64,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Rows of the guarded tables that were looked at.
    pub rows: u64,
    /// Rows that the side doesn't own.
    pub misrouted: u64,
    /// The first of them.
    pub example: Option<String>,
    /// Statements that change tables of the cluster.
    pub ddl: Vec<String>,
    /// Row events that can't be read: each may hide a misrouted row.
    pub unreadable: u64,
    /// Everything up to here is looked at: the next look's `since`.
    pub until: GtidSet,
    /// Of the side's own transactions, those whose binlogs are gone.
    pub missing: GtidSet,
}

/// Where the audit of this member begins: at its fence; if it was never fenced (a promoted standby), now, and from then on.
pub async fn start(s: &mut Session) -> Result<Start, Error> {
    guard::since(s).await
}

/// Looks at everything that this member has executed since `start`. `stream` is used up; `ask` is another session there.
pub async fn read(stream: Session, ask: &mut Session, guard: &Guard, side: &Side, start: &Start, deadline: Duration) -> Result<Found, Error> {
    let member = stream.member().to_owned();
    let looking = async {
        let until = replication::state(ask, SHORT).await?.executed;
        let tail = until.subtract(&start.since);
        let columns = columns(ask, guard).await?;
        let mut reader = Reader::new(&member, guard, side, start.since_us, &tail, columns);
        let mut stream_session = stream;
        if !tail.is_empty()
            && let Some(file) = tail::first_file(&mut stream_session, &tail).await?
        {
            let mut events = tail::open(stream_session, &file).await?;
            while let Some(event) = events.next().await {
                reader.take(&events, &event.map_err(|error| tail::failed(&member, error))?)?;
            }
            let _ = events.close().await;
        }
        reader.finish(ask, until).await
    };
    match tokio::time::timeout(deadline, looking).await {
        Ok(result) => result,
        Err(_) => Err(Error::NoAnswer { member: member.clone(), doing: "auditing its binlogs".to_owned(), deadline, session: 0 }),
    }
}

/// A guarded table's key.
struct Column {
    key: String,
    kind: KeyKind,
    charset: String,
    /// BINARY(n): its zero bytes at the end are not in the binlog.
    padded: usize,
}

async fn columns(s: &mut Session, guard: &Guard) -> Result<BTreeMap<(String, String), Column>, Error> {
    let mut columns = BTreeMap::new();
    for table in &guard.tables {
        let sql = format!(
            "SELECT data_type AS data_type, column_type AS column_type, character_set_name AS charset, character_octet_length AS octets
             FROM information_schema.columns WHERE table_schema={} AND table_name={} AND column_name={}",
            quote(&table.database), quote(&table.table), quote(&table.key)
        );
        let rows = s.rows(&sql, SHORT).await?;
        let part = |name: &str| rows.first().and_then(|row| row.get(name)).unwrap_or_default();
        let Some(kind) = KeyKind::of_column(part("data_type"), part("column_type")) else { continue };
        let padded = if part("data_type") == "binary" { part("octets").parse().unwrap_or(0) } else { 0 };
        let column = Column { key: table.key.clone(), kind, charset: part("charset").to_owned(), padded };
        columns.insert((table.database.clone(), table.table.clone()), column);
    }
    Ok(columns)
}

/// What a row says of its class.
enum Class {
    Known(Option<u32>),
    /// Text in a character set that MySQL has to convert.
    Ask(String, Vec<u8>),
    Unreadable,
}

struct Reader<'a> {
    member: String,
    guard: &'a Guard,
    side: &'a Side,
    since_us: u64,
    own: GtidSet,
    columns: BTreeMap<(String, String), Column>,
    databases: BTreeSet<String>,
    inside: Option<String>,
    seen: GtidSet,
    asked: HashMap<(String, Vec<u8>), (u64, String)>,
    found: Found,
}

impl<'a> Reader<'a> {
    fn new(member: &str, guard: &'a Guard, side: &'a Side, since_us: u64, tail: &GtidSet, columns: BTreeMap<(String, String), Column>) -> Self {
        let mut own = GtidSet::default();
        for (uuid, tag, intervals) in tail.iter().filter(|(uuid, tag, _)| *tag != purge::TAG && side.servers.contains(&uuid.to_string())) {
            intervals.iter().for_each(|i| own.add(uuid, tag, i.first, i.last));
        }
        let databases = guard.tables.iter().map(|t| t.database.clone()).chain(guard.unsharded.iter().map(|(d, _)| d.clone())).collect();
        Self {
            member: member.to_owned(), guard, side, since_us, own, columns, databases,
            inside: None, seen: GtidSet::default(), asked: HashMap::new(), found: Found::default(),
        }
    }

    fn take(&mut self, stream: &BinlogStream, event: &Event) -> Result<(), Error> {
        let gtid = matches!(event.header().event_type(), Ok(EventType::GTID_EVENT | EventType::GTID_TAGGED_LOG_EVENT));
        if !gtid && self.inside.is_none() {
            return Ok(());
        }
        let data = match event.read_data() {
            Ok(Some(data)) => data,
            Ok(None) => return Ok(()),
            Err(error) if gtid => return Err(self.malformed(error.to_string())),
            Err(_) => {
                self.found.unreadable += 1;
                return Ok(());
            }
        };
        match data {
            EventData::GtidEvent(gtid) => {
                let uuid: Uuid = tail::uuid(&gtid.sid()).ok_or_else(|| self.malformed("an unreadable GTID".to_owned()))?;
                let tag = gtid.tag().map(ToString::to_string).unwrap_or_default();
                let own = self.own.has(uuid, &tag, gtid.gno());
                if own {
                    self.seen.add(uuid, &tag, gtid.gno(), gtid.gno());
                }
                self.inside = (own && gtid.immediate_commit_timestamp() > self.since_us).then(|| format!("{uuid}:{}", gtid.gno()));
            }
            EventData::QueryEvent(query) => self.statement(&query.schema(), &query.query()),
            EventData::RowsEvent(rows) => self.rows(stream, &rows),
            _ => {}
        }
        Ok(())
    }

    /// Only what changes the form of the cluster's tables; account statements, which may hold a secret, are never told.
    fn statement(&mut self, schema: &str, sql: &str) {
        let words = sql.split_whitespace().take(2).map(str::to_uppercase).collect::<Vec<_>>();
        let [first, second] = [0, 1].map(|at| words.get(at).map_or("", String::as_str));
        let changes = matches!(first, "ALTER" | "CREATE" | "DROP" | "RENAME" | "TRUNCATE") && !matches!(second, "USER" | "ROLE" | "EVENT");
        let ours = self.databases.contains(schema) || self.databases.iter().any(|d| sql.contains(&format!("{d}.")) || sql.contains(&format!("`{d}`.")));
        if changes && ours && self.found.ddl.len() < DDL_LIMIT {
            self.found.ddl.push(sql.chars().take(200).collect());
        }
    }

    fn rows(&mut self, stream: &BinlogStream, rows: &RowsEventData<'_>) {
        let Some(table) = stream.get_tme(rows.table_id()) else {
            self.found.unreadable += 1;
            return;
        };
        let name = (table.database_name().into_owned(), table.table_name().into_owned());
        if !self.columns.contains_key(&name) {
            return;
        }
        for row in rows.rows(table) {
            let Ok((before, after)) = row else {
                self.found.unreadable += 1;
                return;
            };
            self.found.rows += 1;
            let classes = [before, after].into_iter().flatten().map(|image| self.class(&name, &image)).collect::<Vec<_>>();
            // A row counts once, whichever of its images is foreign.
            let mut foreign = false;
            for class in classes {
                match class {
                    Class::Known(class) => foreign |= !class.is_some_and(|class| self.side.owned.contains(&class)),
                    Class::Unreadable => self.found.unreadable += 1,
                    Class::Ask(charset, bytes) if self.asked.len() < ASKED_LIMIT => {
                        let example = self.example(&name);
                        self.asked.entry((charset, bytes)).or_insert((0, example)).0 += 1;
                    }
                    Class::Ask(..) => self.found.unreadable += 1,
                }
            }
            if foreign {
                self.found.misrouted += 1;
                let example = self.example(&name);
                self.found.example.get_or_insert(example);
            }
        }
    }

    fn example(&self, (database, table): &(String, String)) -> String {
        format!("{database}.{table}, written on {} by {}", self.member, self.inside.as_deref().unwrap_or_default())
    }

    fn class(&self, name: &(String, String), row: &BinlogRow) -> Class {
        let Some(column) = self.columns.get(name) else { return Class::Unreadable };
        let at = row.columns_ref().iter().position(|c| c.name_str().eq_ignore_ascii_case(&column.key));
        let Some(BinlogValue::Value(value)) = at.and_then(|at| row.as_ref(at)) else { return Class::Unreadable };
        let known = |key: Key<'_>| self.guard.class(&key).map_or(Class::Unreadable, Class::Known);
        match (value, column.kind) {
            (Value::Int(n), KeyKind::Signed) => known(Key::Int(*n)),
            (Value::UInt(n), KeyKind::Signed | KeyKind::Unsigned) => known(Key::Uint(*n)),
            (Value::Int(n), KeyKind::Unsigned) if *n >= 0 => known(Key::Int(*n)),
            (Value::Bytes(bytes), KeyKind::Bytes) => {
                let mut bytes = bytes.clone();
                bytes.resize(bytes.len().max(column.padded), 0);
                known(Key::Bytes(&bytes))
            }
            (Value::Bytes(bytes), KeyKind::Text) if matches!(column.charset.as_str(), "utf8mb4" | "utf8mb3" | "ascii") => known(Key::Bytes(bytes)),
            (Value::Bytes(bytes), KeyKind::Text) => Class::Ask(column.charset.clone(), bytes.clone()),
            _ => Class::Unreadable,
        }
    }

    async fn finish(mut self, ask: &mut Session, until: GtidSet) -> Result<Found, Error> {
        let asked = std::mem::take(&mut self.asked);
        for ((charset, bytes), (times, example)) in asked {
            let hex = bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
            let literal = if hex.is_empty() { "''".to_owned() } else { format!("_{charset} 0x{hex}") };
            let class = self.guard.class_sql(&literal, KeyKind::Text).ok_or_else(|| self.malformed("a text can't be a key here".to_owned()))?;
            let class: Option<u32> = ask.scalar(&format!("SELECT {class}"), SHORT).await?.and_then(|c| c.parse().ok());
            if !class.is_some_and(|class| self.side.owned.contains(&class)) {
                self.found.misrouted += times;
                self.found.example.get_or_insert(example);
            }
        }
        self.found.missing = self.own.subtract(&self.seen);
        self.found.until = until;
        Ok(self.found)
    }

    fn malformed(&self, why: String) -> Error {
        Error::Malformed { member: self.member.clone(), doing: "auditing its binlogs".to_owned(), why }
    }
}
