//! Binlog events to keys, transaction by transaction. No IO but the stream's own tables.

use std::collections::BTreeSet;

use mysql_async::binlog::EventType;
use mysql_async::binlog::events::{Event, EventData, RowsEventData};
use mysql_async::binlog::row::BinlogRow;
use mysql_async::binlog::value::BinlogValue;
use mysql_async::{BinlogStream, Value};

use super::template::{Cell, Templates};
use crate::mysql::gtid::{GtidSet, Uuid};
use crate::mysql::tail;

/// A batch with more keys than this forgets the whole cache instead.
const KEYS: usize = 100_000;

/// Transactions that ended, and what they touched.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub gtids: GtidSet,
    pub transactions: u64,
    pub keys: BTreeSet<String>,
    /// Rows changed that have no row events, or can't be read: forget the whole cache.
    pub everything: Option<String>,
}

impl Batch {
    fn add(&mut self, other: Self) {
        self.gtids = self.gtids.union(&other.gtids);
        self.transactions += other.transactions;
        self.keys.extend(other.keys);
        self.everything = self.everything.take().or(other.everything);
        if self.keys.len() > KEYS {
            self.everything.get_or_insert_with(|| format!("more than {KEYS} keys at once"));
        }
        if self.everything.is_some() {
            self.keys.clear();
        }
    }
}

struct Open {
    gtid: (Uuid, String, u64),
    begun: bool,
    touched: Batch,
}

pub(super) struct Reader<'a> {
    templates: &'a Templates,
    open: Option<Open>,
    /// Ended, not yet erased.
    pub batch: Batch,
    /// What templates can't be used for.
    pub problems: BTreeSet<String>,
}

impl<'a> Reader<'a> {
    pub fn new(templates: &'a Templates) -> Self {
        Self { templates, open: None, batch: Batch::default(), problems: BTreeSet::new() }
    }

    /// `handled`: transactions that were erased already. An error: the event can't be read at all.
    pub fn take(&mut self, stream: &BinlogStream, event: &Event, handled: &GtidSet) -> Result<(), String> {
        let gtid = matches!(event.header().event_type(), Ok(EventType::GTID_EVENT | EventType::GTID_TAGGED_LOG_EVENT));
        if gtid {
            self.close();
        } else if self.open.is_none() {
            return Ok(());
        }
        let data = match event.read_data() {
            Ok(Some(data)) => data,
            Ok(None) => return Ok(()),
            Err(error) if gtid => return Err(format!("an unreadable GTID event: {error}")),
            Err(error) => {
                self.everything(format!("an unreadable event: {error}"));
                return Ok(());
            }
        };
        match data {
            EventData::GtidEvent(gtid) => {
                let uuid = tail::uuid(&gtid.sid()).ok_or("an unreadable GTID")?;
                let tag = gtid.tag().map(ToString::to_string).unwrap_or_default();
                let known = handled.has(uuid, &tag, gtid.gno()) || self.batch.gtids.has(uuid, &tag, gtid.gno());
                self.open = (!known).then(|| Open { gtid: (uuid, tag, gtid.gno()), begun: false, touched: Batch::default() });
            }
            EventData::QueryEvent(query) => self.statement(&query.schema(), &query.query()),
            EventData::RowsEvent(rows) => self.rows(stream, &rows),
            EventData::XidEvent(_) | EventData::XaPrepareLogEvent(_) => self.close(),
            EventData::IncidentEvent(_) => self.everything("an incident event".to_owned()),
            _ => {}
        }
        Ok(())
    }

    /// The open transaction has ended.
    fn close(&mut self) {
        let Some(Open { gtid: (uuid, tag, number), mut touched, .. }) = self.open.take() else { return };
        touched.gtids.add(uuid, &tag, number, number);
        touched.transactions = 1;
        self.batch.add(touched);
    }

    fn everything(&mut self, why: String) {
        if let Some(open) = &mut self.open {
            open.touched.everything.get_or_insert(why);
        }
    }

    fn statement(&mut self, schema: &str, sql: &str) {
        let Some(open) = &mut self.open else { return };
        let begins = sql == "BEGIN" || sql.starts_with("XA START");
        if begins {
            open.begun = true;
            return;
        }
        let ends = !open.begun || matches!(sql, "COMMIT" | "ROLLBACK");
        if self.templates.touched_by(schema, sql) {
            let beginning = sql.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
            self.everything(format!("{beginning} …: its rows aren't in the binlog"));
        }
        if ends {
            self.close();
        }
    }

    fn rows(&mut self, stream: &BinlogStream, rows: &RowsEventData<'_>) {
        let Some(table) = stream.get_tme(rows.table_id()) else {
            self.everything("rows of an unknown table".to_owned());
            return;
        };
        let name = format!("{}.{}", table.database_name(), table.table_name());
        let templates = self.templates.of(&name);
        if templates.is_empty() {
            return;
        }
        for row in rows.rows(table) {
            let Ok((before, after)) = row else {
                self.everything(format!("a row of {name} can't be read"));
                return;
            };
            for image in [before, after].into_iter().flatten() {
                for template in templates {
                    match template.key(&name, |column| cell(&image, column)) {
                        Ok(Some(key)) => {
                            let Some(open) = &mut self.open else { return };
                            open.touched.keys.insert(key);
                        }
                        Ok(None) => {}
                        Err(error) => drop(self.problems.insert(error.to_string())),
                    }
                }
            }
        }
        if self.open.as_ref().is_some_and(|open| open.touched.keys.len() > KEYS) {
            self.everything(format!("a transaction with more than {KEYS} keys"));
        }
    }
}

fn cell(row: &BinlogRow, column: &str) -> Option<Cell> {
    let at = row.columns_ref().iter().position(|c| c.name_str().eq_ignore_ascii_case(column))?;
    Some(match row.as_ref(at) {
        Some(BinlogValue::Value(Value::Int(n))) => Cell::Text(n.to_string()),
        Some(BinlogValue::Value(Value::UInt(n))) => Cell::Text(n.to_string()),
        Some(BinlogValue::Value(Value::Bytes(bytes))) => std::str::from_utf8(bytes).map_or(Cell::Other, |text| Cell::Text(text.to_owned())),
        Some(BinlogValue::Value(Value::NULL)) => Cell::Null,
        _ => Cell::Other,
    })
}
