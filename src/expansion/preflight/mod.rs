//! What could make a split go wrong, found before anything is touched: facts in, typed findings out.
//!
//! Pure. Each finding names the object and the remedy. `Refused` stops the plan; `Warning` is told and goes on. The facts
//! are read by `mysql::schema` on every shard's primary; the same finding of several shards is told once.

mod tables;

use crate::api::expansion::{Finding, Severity};
use crate::routing::{Function, Strategy, Table};

/// A column of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// `bigint`
    pub data_type: String,
    /// `bigint unsigned`
    pub column_type: String,
    /// It takes NULL.
    pub nullable: bool,
    /// The server makes its values.
    pub auto_increment: bool,
    /// Computed from other columns.
    pub generated: bool,
    /// Of texts.
    pub collation: String,
}

/// A unique key; the primary key is named `PRIMARY`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UniqueKey {
    /// Its name.
    pub name: String,
    /// Its columns in order.
    pub columns: Vec<String>,
}

/// A foreign key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignKey {
    /// Its name.
    pub name: String,
    /// Columns here.
    pub columns: Vec<String>,
    /// `database.table` that it refers to.
    pub to: String,
    /// Columns there, in the same order.
    pub to_columns: Vec<String>,
    /// CASCADE, SET NULL or SET DEFAULT, on update or delete.
    pub cascades: bool,
}

/// A base table of the cluster's databases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableSeen {
    /// `database.table`
    pub name: String,
    /// Storage engine.
    pub engine: String,
    /// Rows, as MySQL estimates.
    pub rows: u64,
    /// Columns.
    pub columns: Vec<Column>,
    /// Unique keys, the primary one too.
    pub keys: Vec<UniqueKey>,
    /// Foreign keys of this table.
    pub foreign_keys: Vec<ForeignKey>,
    /// Triggers but the guard's.
    pub triggers: Vec<String>,
}

impl TableSeen {
    /// The primary key's columns; empty: there is none.
    pub fn primary_key(&self) -> &[String] {
        self.keys.iter().find(|k| k.name == "PRIMARY").map_or(&[], |k| &k.columns)
    }

    /// A column, by name (MySQL's names of columns don't differ by case).
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name.eq_ignore_ascii_case(name))
    }
}

/// What one primary's dictionary says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// Tables of the cluster's databases.
    pub tables: Vec<TableSeen>,
    /// Events, `database.event`.
    pub events: Vec<String>,
    /// Prepared XA branches.
    pub xa_prepared: u32,
    /// Statements that change tables, running now.
    pub ddl: Vec<String>,
    /// Bytes of all tablespaces: what a clone copies.
    pub data_bytes: u64,
    /// MySQL's version.
    pub version: String,
}

/// One shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardSeen {
    /// The pair's name.
    pub pair: String,
    /// Why the pair isn't in Sync and at rest, a tail or an abandoned member among the reasons; None: it is.
    pub unwell: Option<String>,
    /// Versions of its members, by name.
    pub versions: Vec<(String, String)>,
    /// Of its primary.
    pub schema: Schema,
}

/// What the cluster and the plan ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The cluster's tables.
    pub tables: Vec<Table>,
    /// Its rule.
    pub strategy: Strategy,
    /// Hash: its function.
    pub function: Function,
    /// AUTO_INCREMENT values of the two sides are kept apart.
    pub interleave: bool,
    /// `durability: Required`
    pub required: bool,
    /// `standbys: After`
    pub standbys_after: bool,
    /// The size of a new member's volume.
    pub volume_bytes: u64,
}

/// A clone needs room for the data, and the member for its binlogs: this part of the volume at most.
const FILL_LIMIT_PERCENT: u128 = 80;

/// Everything that is found, refusals first.
pub fn check(wanted: &Wanted, shards: &[ShardSeen]) -> Vec<Finding> {
    let mut found = Findings::default();
    if wanted.standbys_after && wanted.required {
        found.refuse("StandbysAfterRequired", "spec.standbys", "with durability Required no pair may be without a standby: make the plan with standbys: Before");
    }
    for shard in shards {
        pair(wanted, shard, &mut found);
        server(shard, &mut found);
        tables::check(wanted, &shard.schema, &mut found);
    }
    let mut list = found.0;
    list.sort_by_key(|f| (f.severity == Severity::Warning, f.reason.clone(), f.object.clone()));
    list
}

/// Findings, each once.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn refuse(&mut self, reason: &str, object: &str, message: impl Into<String>) {
        self.add(Severity::Refused, reason, object, message.into());
    }

    fn warn(&mut self, reason: &str, object: &str, message: impl Into<String>) {
        self.add(Severity::Warning, reason, object, message.into());
    }

    fn add(&mut self, severity: Severity, reason: &str, object: &str, message: String) {
        if !self.0.iter().any(|f| f.reason == reason && f.object == object && f.severity == severity) {
            self.0.push(Finding { severity, reason: reason.to_owned(), object: object.to_owned(), message });
        }
    }
}

fn pair(wanted: &Wanted, shard: &ShardSeen, found: &mut Findings) {
    if let Some(why) = &shard.unwell {
        found.refuse("PairNotInSync", &shard.pair, format!("{why}: a split begins from pairs in Sync, without a tail or an abandoned member"));
    }
    let oldest = shard.versions.iter().map(|(_, version)| version).min();
    if let Some((member, version)) = shard.versions.iter().find(|(_, version)| Some(version) != oldest) {
        let other = oldest.cloned().unwrap_or_default();
        found.refuse("VersionsDiffer", &shard.pair, format!("{member} runs MySQL {version}, another member {other}: CLONE needs one version, finish the upgrade first"));
    }
    let bytes = shard.schema.data_bytes;
    if u128::from(bytes) * 100 > u128::from(wanted.volume_bytes) * FILL_LIMIT_PERCENT {
        let (data, volume) = (bytes >> 20, wanted.volume_bytes >> 20);
        let message = format!("its data takes {data} MiB, a new member's volume has {volume} MiB: raise spec.mysql.storage.size so that the data is at most {FILL_LIMIT_PERCENT} %");
        found.refuse("DiskTooSmall", &shard.pair, message);
    }
}

fn server(shard: &ShardSeen, found: &mut Findings) {
    let schema = &shard.schema;
    if schema.xa_prepared > 0 {
        let message = format!("{} XA branches are prepared (XA RECOVER): commit or roll them back, or a fence would wait for them for ever", schema.xa_prepared);
        found.refuse("XaPrepared", &shard.pair, message);
    }
    for statement in &schema.ddl {
        found.refuse("DdlRunning", &shard.pair, format!("{statement}: wait for its end, or stop it"));
    }
    for event in &schema.events {
        found.warn("Event", event, "an event runs on the primary of each shard: after the flip on the new ones too, and what it writes there is refused or doubled; disable it for the time of the plan unless that is right");
    }
}
