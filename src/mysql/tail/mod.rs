//! Saves a deposed member's tail: reads it from its binlogs and renders it ([`text`]).
//!
//! Invariant 8. The binlogs are read over the replication protocol, from the newest file whose beginning lies before the
//! tail, to their end (not waiting for more), by file and position: a GTID-based dump can't name tagged transactions in
//! this client. Every transaction outside the tail is passed over. Bounded in bytes and in time.

pub mod text;

use std::time::Duration;

use futures::StreamExt;
use mysql_async::binlog::EventType;
use mysql_async::binlog::events::{Event, EventData, GtidEvent, RowsEventData};
use mysql_async::binlog::row::BinlogRow;
use mysql_async::binlog::value::BinlogValue;
use mysql_async::{BinlogStream, BinlogStreamRequest, Value};

use super::error::Error;
use super::facts::gtids;
use super::gtid::{GtidSet, Uuid};
use super::session::{Session, quote};
use text::{Change, Column, Transaction};

/// A saved tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The file's contents.
    pub text: String,
    /// What of the tail is in it.
    pub found: GtidSet,
    /// What of the tail is in no binlog any more; not empty: say so.
    pub missing: GtidSet,
    /// Rows inserted, updated, deleted.
    pub rows: u64,
    /// Statements and unreadable events: not zero means that the tail can't be undone from row images.
    pub statements: u64,
}

/// Ids of binlog readers: far from any member's `server_id`, and different for each, or the server ends the older one.
pub(super) const READER_IDS: std::ops::Range<u32> = 0xF000_0000..0xFFFF_0000;
/// More binlog files than this are not looked through.
const FILES_LIMIT: usize = 10_000;

/// Reads the transactions of `tail` from this member's binlogs. Uses up the session. `TooLarge` if the text would be
/// longer than `max_bytes`.
pub async fn save(mut session: Session, tail: &GtidSet, max_bytes: u64, deadline: Duration) -> Result<Saved, Error> {
    let member = session.member().to_owned();
    let reading = async {
        let file = first_file(&mut session, tail).await?;
        let mut writer = Writer::new(&member, tail, max_bytes);
        if let Some(file) = file {
            let mut stream = open(session, &file).await?;
            while let Some(event) = stream.next().await {
                let event = event.map_err(|error| failed(&member, error))?;
                writer.take(&stream, &event)?;
            }
            let _ = stream.close().await;
        }
        Ok(writer.finish(tail))
    };
    match tokio::time::timeout(deadline, reading).await {
        Ok(result) => result,
        Err(_) => Err(Error::NoAnswer { member: member.clone(), doing: "reading its binlogs".to_owned(), deadline, session: 0 }),
    }
}

/// The newest file whose beginning has nothing of the tail; the oldest one if there is none such.
pub(crate) async fn first_file(session: &mut Session, tail: &GtidSet) -> Result<Option<String>, Error> {
    let short = Duration::from_secs(10);
    let files = session.rows("SHOW BINARY LOGS", short).await?;
    let names = files.iter().filter_map(|row| row.at(0)).map(str::to_owned).collect::<Vec<_>>();
    for name in names.iter().rev().take(FILES_LIMIT) {
        let events = session.rows(&format!("SHOW BINLOG EVENTS IN {} LIMIT 2", quote(name)), short).await?;
        let previous = events.iter().find(|e| e.get("Event_type") == Some("Previous_gtids"));
        let before = gtids(session.member(), "Previous_gtids", previous.and_then(|e| e.get("Info")).unwrap_or_default())?;
        if !before.intersects(tail) {
            return Ok(Some(name.clone()));
        }
    }
    Ok(names.into_iter().next())
}

/// From the beginning of the file to the end of all.
pub(super) async fn open(session: Session, file: &str) -> Result<BinlogStream, Error> {
    start(session, file, |request| request.with_non_blocking()).await
}

/// The same, and then what comes.
pub(crate) async fn follow(session: Session, file: &str) -> Result<BinlogStream, Error> {
    start(session, file, |request| request).await
}

async fn start<'a>(session: Session, file: &'a str, how: impl FnOnce(BinlogStreamRequest<'a>) -> BinlogStreamRequest<'a>) -> Result<BinlogStream, Error> {
    let member = session.member().to_owned();
    let Some(conn) = session.into_conn() else {
        let (doing, cause) = ("reading its binlogs".to_owned(), "the session was closed before".to_owned());
        return Err(Error::Broken { member, doing, cause });
    };
    let request = BinlogStreamRequest::new(rand::random_range(READER_IDS)).with_filename(file.as_bytes()).with_pos(4);
    conn.get_binlog_stream(how(request)).await.map_err(|error| failed(&member, error))
}

pub(super) fn failed(member: &str, error: mysql_async::Error) -> Error {
    let (member, doing) = (member.to_owned(), "reading its binlogs".to_owned());
    match error {
        mysql_async::Error::Server(e) => Error::Server { member, doing, code: e.code, message: e.message },
        other => Error::Broken { member, doing, cause: other.to_string() },
    }
}

/// The source of a transaction.
pub(crate) fn uuid(sid: &[u8; 16]) -> Option<Uuid> {
    let hex = sid.iter().map(|b| format!("{b:02x}")).collect::<String>();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-").parse().ok()
}

/// Collects transactions and renders each when it ends.
struct Writer {
    member: String,
    tail: GtidSet,
    max_bytes: u64,
    open: Option<Transaction>,
    open_bytes: u64,
    saved: Saved,
}

impl Writer {
    fn new(member: &str, tail: &GtidSet, max_bytes: u64) -> Self {
        let text = text::heading(member, &format!("{tail:#}"));
        let saved = Saved { text, found: GtidSet::default(), missing: GtidSet::default(), rows: 0, statements: 0 };
        Self { member: member.to_owned(), tail: tail.clone(), max_bytes, open: None, open_bytes: 0, saved }
    }

    fn take(&mut self, stream: &BinlogStream, event: &Event) -> Result<(), Error> {
        let gtid = matches!(event.header().event_type(), Ok(EventType::GTID_EVENT | EventType::GTID_TAGGED_LOG_EVENT));
        // Of what lies outside the tail, only the GTID is looked at.
        if gtid {
            self.close()?;
        } else if self.open.is_none() {
            return Ok(());
        }
        let data = match event.read_data() {
            Ok(Some(data)) => data,
            Ok(None) => return Ok(()),
            Err(error) if gtid => return Err(self.malformed(&format!("an unreadable GTID event: {error}"))),
            Err(error) => return self.add(Change::Unreadable(error.to_string())),
        };
        match data {
            EventData::GtidEvent(gtid) => self.begin(&gtid, event.header().timestamp()),
            EventData::QueryEvent(query) if matches!(&*query.query(), "BEGIN" | "COMMIT") => Ok(()),
            EventData::QueryEvent(query) => {
                self.add(Change::Statement { schema: query.schema().into_owned(), sql: query.query().into_owned() })
            }
            EventData::RowsEvent(rows) => self.rows(stream, &rows),
            EventData::XaPrepareLogEvent(_) => self.add(Change::Unreadable("XA PREPARE".to_owned())),
            EventData::TransactionPayloadEvent(_) => Ok(()), // its parts follow by themselves
            EventData::IncidentEvent(_) => self.add(Change::Unreadable("incident event".to_owned())),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, gtid: &GtidEvent, timestamp_seconds: u32) -> Result<(), Error> {
        let uuid = uuid(&gtid.sid()).ok_or_else(|| self.malformed("an unreadable GTID event"))?;
        let tag = gtid.tag().map(ToString::to_string).unwrap_or_default();
        if self.tail.has(uuid, &tag, gtid.gno()) {
            self.saved.found.add(uuid, &tag, gtid.gno(), gtid.gno());
            let mut one = GtidSet::default();
            one.add(uuid, &tag, gtid.gno(), gtid.gno());
            self.open = Some(Transaction { gtid: one.to_string(), timestamp_seconds, changes: Vec::new() });
        }
        Ok(())
    }

    fn rows(&mut self, stream: &BinlogStream, rows: &RowsEventData<'_>) -> Result<(), Error> {
        let Some(table) = stream.get_tme(rows.table_id()) else {
            return self.add(Change::Unreadable("rows of an unknown table".to_owned()));
        };
        let name = format!("{}.{}", table.database_name(), table.table_name());
        for row in rows.rows(table) {
            match row {
                Ok((before, after)) => {
                    let (before, after) = (before.map(|r| image(&r)), after.map(|r| image(&r)));
                    self.add(Change::Row { table: name.clone(), before, after })?;
                }
                Err(error) => return self.add(Change::Unreadable(format!("a row of {name}: {error}"))),
            }
        }
        Ok(())
    }

    fn add(&mut self, change: Change) -> Result<(), Error> {
        match &change {
            Change::Row { before, after, .. } => {
                self.saved.rows += 1;
                let columns = before.iter().chain(after).flatten();
                self.open_bytes += columns.map(|(name, value)| (name.len() + value.len()) as u64).sum::<u64>();
            }
            Change::Statement { sql, .. } => {
                self.saved.statements += 1;
                self.open_bytes += sql.len() as u64;
            }
            Change::Unreadable(_) => self.saved.statements += 1,
        }
        self.check(self.open_bytes)?;
        if let Some(open) = &mut self.open {
            open.changes.push(change);
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        if let Some(open) = self.open.take() {
            self.saved.text.push_str(&text::transaction(&open));
        }
        self.open_bytes = 0;
        self.check(0)
    }

    fn check(&self, more: u64) -> Result<(), Error> {
        let needed = self.saved.text.len() as u64 + more;
        if needed <= self.max_bytes {
            return Ok(());
        }
        let (member, what) = (self.member.clone(), "the tail's text".to_owned());
        Err(Error::TooLarge { member, what, limit: self.max_bytes, needed })
    }

    fn malformed(&self, why: &str) -> Error {
        Error::Malformed { member: self.member.clone(), doing: "reading its binlogs".to_owned(), why: why.to_owned() }
    }

    fn finish(mut self, tail: &GtidSet) -> Saved {
        // The last transaction was measured while it was collected.
        if let Some(open) = self.open.take() {
            self.saved.text.push_str(&text::transaction(&open));
        }
        self.saved.missing = tail.subtract(&self.saved.found);
        if !self.saved.missing.is_empty() {
            self.saved.text.push_str(&format!("\n-- In no binlog any more: {:#}\n", self.saved.missing));
        }
        self.saved
    }
}

/// Column names are there because `binlog_row_metadata=FULL` is among our settings; `@1` and so on otherwise.
fn image(row: &BinlogRow) -> Vec<Column> {
    let columns = row.columns_ref().iter().enumerate();
    columns.filter_map(|(at, column)| row.as_ref(at).map(|value| (column.name_str().into_owned(), show(value)))).collect()
}

fn show(value: &BinlogValue<'_>) -> String {
    match value {
        BinlogValue::Value(Value::Bytes(bytes)) => text::literal(bytes),
        BinlogValue::Value(value) => value.as_sql(true),
        BinlogValue::Jsonb(json) => match serde_json::Value::try_from(json.clone()) {
            Ok(json) => text::literal(json.to_string().as_bytes()),
            Err(error) => format!("/* unreadable JSON: {error} */"),
        },
        BinlogValue::JsonDiff(_) => "/* a part of a JSON document */".to_owned(),
    }
}
