//! Reads a tail from the member's binlogs as what undoes it, newest first, and as the keys of the rows that it touched.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use mysql_async::binlog::EventType;
use mysql_async::binlog::events::{Event, EventData, RowsEventData};
use mysql_async::binlog::row::BinlogRow;
use mysql_async::binlog::value::BinlogValue;

use super::event::{self, Kind, TableMap};
use super::key::{self, KeyColumn};
use super::refusal::Refusal;
use crate::mysql::error::Error;
use crate::mysql::gtid::GtidSet;
use crate::mysql::session::{Session, identifier};
use crate::mysql::tail::{failed, first_file, open, uuid};

/// Bytes of events that are undone at most; more of them are in memory only once.
const BYTES: usize = 64 << 20;
/// Rows that are undone at most.
const ROWS: u64 = 200_000;

/// What undoes a tail.
#[derive(Default)]
pub(super) struct Inverse {
    /// The format description event that goes first.
    pub format: Vec<u8>,
    /// Each a table map and its inverse rows, the newest first.
    pub events: Vec<Vec<u8>>,
    /// `table` and condition of every row that the tail touched, both quoted.
    pub touched: BTreeSet<(String, String)>,
    /// (database, table) of rows that were changed or deleted.
    pub changed: BTreeSet<(String, String)>,
}

/// Why it wasn't read.
pub(super) enum Trouble {
    Refused(Refusal),
    Failed(Error),
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Reads the tail through `stream`, which is used up, and what has to be known of its tables through `ask`.
pub(super) async fn read(mut stream: Session, ask: &mut Session, tail: &GtidSet) -> Result<Inverse, Trouble> {
    let member = stream.member().to_owned();
    let mut reader = Reader { tail, found: GtidSet::default(), state: State::Before, maps: BTreeMap::new(), rows: 0, bytes: 0, keys: BTreeMap::new(), inverse: Inverse::default() };
    let Some(file) = first_file(&mut stream, tail).await? else { return Err(Refusal::Missing(tail.to_string()).into()) };
    let mut events = open(stream, &file).await?;
    while let Some(event) = events.next().await {
        let event = event.map_err(|error| failed(&member, error))?;
        reader.take(ask, &event).await?;
    }
    let _ = events.close().await;
    let missing = tail.subtract(&reader.found);
    if !missing.is_empty() {
        return Err(Refusal::Missing(missing.to_string()).into());
    }
    reader.inverse.events.reverse();
    Ok(reader.inverse)
}

#[derive(PartialEq, Eq)]
enum State {
    /// Nothing of the tail was seen yet.
    Before,
    /// In a transaction of the tail.
    Inside,
}

struct Reader<'a> {
    tail: &'a GtidSet,
    found: GtidSet,
    state: State,
    /// Of the transaction, by the number that its rows events name: a statement may change several tables.
    maps: BTreeMap<u64, (TableMap, Event)>,
    rows: u64,
    bytes: usize,
    keys: BTreeMap<(String, String), Vec<KeyColumn>>,
    inverse: Inverse,
}

impl Reader<'_> {
    async fn take(&mut self, ask: &mut Session, event: &Event) -> Result<(), Trouble> {
        let unreadable = |what: &str| Refusal::Unreadable(what.to_owned());
        let kind = event.header().event_type().map_err(|_| unreadable(&format!("an event of type {}", event.header().event_type_raw())));
        match kind {
            Ok(EventType::FORMAT_DESCRIPTION_EVENT) => self.inverse.format = event::format_description(event.data()),
            Ok(EventType::GTID_EVENT | EventType::GTID_TAGGED_LOG_EVENT | EventType::ANONYMOUS_GTID_EVENT) => self.begin(event)?,
            // Of what lies before the tail, nothing else is looked at.
            _ if self.state == State::Before => {}
            Ok(EventType::TABLE_MAP_EVENT) => {
                let map = TableMap::parse(event.data())?;
                let id = event.data().iter().take(6).rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
                self.maps.insert(id, (map, event.clone()));
            }
            Ok(EventType::WRITE_ROWS_EVENT | EventType::UPDATE_ROWS_EVENT | EventType::DELETE_ROWS_EVENT) => self.undo(ask, event).await?,
            Ok(EventType::QUERY_EVENT) => match event.read_data() {
                Ok(Some(EventData::QueryEvent(query))) => harmless(&query.query())?,
                _ => return Err(unreadable("a statement").into()),
            },
            Ok(EventType::XA_PREPARE_LOG_EVENT) => return Err(Refusal::Xa.into()),
            Ok(
                EventType::XID_EVENT | EventType::ROWS_QUERY_EVENT | EventType::ROTATE_EVENT | EventType::STOP_EVENT
                | EventType::PREVIOUS_GTIDS_EVENT | EventType::HEARTBEAT_EVENT | EventType::TRANSACTION_PAYLOAD_EVENT | EventType::IGNORABLE_EVENT,
            ) => {}
            Ok(EventType::PARTIAL_UPDATE_ROWS_EVENT) => return Err(Refusal::PartialImages { table: self.last_table() }.into()),
            Ok(other) => return Err(unreadable(&format!("{other:?}")).into()),
            Err(refusal) => return Err(refusal.into()),
        }
        Ok(())
    }

    fn last_table(&self) -> String {
        self.maps.values().next_back().map_or_else(String::new, |(map, _)| map.name())
    }

    fn begin(&mut self, event: &Event) -> Result<(), Refusal> {
        let unreadable = || Refusal::Unreadable("a GTID event".to_owned());
        let Ok(Some(EventData::GtidEvent(gtid))) = event.read_data() else { return Err(unreadable()) };
        let uuid = uuid(&gtid.sid()).ok_or_else(unreadable)?;
        let tag = gtid.tag().map(ToString::to_string).unwrap_or_default();
        if self.tail.has(uuid, &tag, gtid.gno()) {
            self.found.add(uuid, &tag, gtid.gno(), gtid.gno());
            self.state = State::Inside;
            self.maps.clear();
        } else if self.state == State::Inside {
            return Err(Refusal::Interleaved(format!("{uuid}:{}", gtid.gno())));
        }
        Ok(())
    }

    async fn undo(&mut self, ask: &mut Session, event: &Event) -> Result<(), Trouble> {
        let kind = Kind::of(event.header().event_type_raw()).ok_or_else(|| Refusal::Unreadable("a rows event".to_owned()))?;
        let Ok(Some(EventData::RowsEvent(rows))) = event.read_data() else { return Err(Refusal::Unreadable("a rows event".to_owned()).into()) };
        let Some((map, described)) = self.maps.get(&rows.table_id()).cloned() else {
            return Err(Refusal::Unreadable("rows of an unknown table".to_owned()).into());
        };
        let inverse = event::invert(&map, kind, event.data())?;
        self.bytes += inverse.len();
        if self.bytes > BYTES {
            return Err(Refusal::TooLarge(format!("more than {} MiB", BYTES >> 20)).into());
        }
        self.inverse.events.push(inverse);
        let name = (map.schema.clone(), map.table.clone());
        if kind != Kind::Write {
            self.inverse.changed.insert(name.clone());
        }
        // Our own rows are written all the time: what replication brings puts them right.
        if name.0 != "shardpair" {
            if !self.keys.contains_key(&name) {
                self.keys.insert(name.clone(), key::columns(ask, &name.0, &name.1).await?);
            }
            self.touch(&name, &rows, &described)?;
        }
        Ok(())
    }

    /// The keys of an event's rows, before and after.
    fn touch(&mut self, name: &(String, String), rows: &RowsEventData<'_>, described: &Event) -> Result<(), Refusal> {
        let unreadable = |_| Refusal::Unreadable(format!("rows of {}.{}", name.0, name.1));
        let Ok(Some(EventData::TableMapEvent(map))) = described.read_data() else { return Err(Refusal::Unreadable("a table map".to_owned())) };
        let table = format!("{}.{}", identifier(&name.0), identifier(&name.1));
        let columns = &self.keys[name];
        for row in rows.rows(&map) {
            let (before, after) = row.map_err(unreadable)?;
            self.rows += 1;
            if self.rows > ROWS {
                return Err(Refusal::TooLarge(format!("more than {ROWS} rows")));
            }
            for image in before.iter().chain(&after) {
                self.inverse.touched.insert((table.clone(), condition(name, columns, image)?));
            }
        }
        Ok(())
    }
}

fn condition(name: &(String, String), columns: &[KeyColumn], image: &BinlogRow) -> Result<String, Refusal> {
    let table = || format!("{}.{}", name.0, name.1);
    let mut parts = Vec::with_capacity(columns.len());
    for column in columns {
        let literal = match image.as_ref(column.place) {
            Some(BinlogValue::Value(value)) => key::literal(column, value),
            _ => None,
        };
        let literal = literal.ok_or_else(|| Refusal::KeyType { table: table(), kind: column.kind.clone() })?;
        parts.push(format!("{}={literal}", identifier(&column.name)));
    }
    Ok(parts.join(" AND "))
}

/// The frame of a transaction, and savepoints, change nothing by themselves.
fn harmless(statement: &str) -> Result<(), Refusal> {
    let harmless = matches!(statement, "BEGIN" | "COMMIT") || statement.starts_with("SAVEPOINT ");
    // No more of it: it may hold a password.
    let beginning = statement.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    if harmless { Ok(()) } else { Err(Refusal::Statement(beginning.chars().take(60).collect())) }
}
