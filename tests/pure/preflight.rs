//! What the preflight refuses, and what it warns of: each with the object and the remedy.

use shardpair::api::expansion::{Finding, Severity};
use shardpair::expansion::preflight::{Column, ForeignKey, Schema, ShardSeen, TableSeen, UniqueKey, Wanted, check};
use shardpair::routing::{Function, Strategy, Table, TableClass};

fn listed(name: &str, key: Option<&str>, class: TableClass) -> Table {
    Table { name: name.into(), key: key.map(Into::into), class }
}

fn wanted() -> Wanted {
    let sharded = |name| listed(name, Some("user_id"), TableClass::Sharded);
    let tables = vec![sharded("shop.orders"), sharded("shop.items"), listed("shop.country", None, TableClass::Reference)];
    Wanted { tables, interleave: true, volume_bytes: 10 << 30, ..Wanted::default() }
}

fn column(name: &str, column_type: &str) -> Column {
    let data_type = column_type.split([' ', '(']).next().unwrap_or_default();
    Column { name: name.into(), data_type: data_type.into(), column_type: column_type.into(), ..Column::default() }
}

fn unique(name: &str, columns: &[&str]) -> UniqueKey {
    UniqueKey { name: name.into(), columns: columns.iter().map(|&c| c.into()).collect() }
}

fn table(name: &str) -> TableSeen {
    let id = Column { auto_increment: true, ..column("id", "bigint") };
    let columns = vec![id, column("user_id", "bigint"), column("note", "varchar(20)")];
    TableSeen { name: name.into(), engine: "InnoDB".into(), columns, keys: vec![unique("PRIMARY", &["id"])], ..TableSeen::default() }
}

fn shard() -> ShardSeen {
    let versions = vec![("shop-m0".into(), "9.7.0".into()), ("shop-m1".into(), "9.7.0".into())];
    let tables = vec![table("shop.orders"), table("shop.items"), table("shop.country")];
    ShardSeen { pair: "shop-0".into(), versions, schema: Schema { tables, data_bytes: 1 << 30, ..Schema::default() }, ..ShardSeen::default() }
}

/// What is found after a change of the second table, or of anything.
fn after(change: impl FnOnce(&mut Wanted, &mut ShardSeen)) -> Vec<Finding> {
    let (mut wanted, mut shard) = (wanted(), shard());
    change(&mut wanted, &mut shard);
    // Two shards that are alike: each finding about a table comes once.
    let mut other = shard.clone();
    other.pair = "shop-1".into();
    check(&wanted, &[shard, other])
}

fn orders(change: impl FnOnce(&mut TableSeen)) -> Vec<Finding> {
    after(|_, shard| change(&mut shard.schema.tables[0]))
}

fn refused(found: &[Finding], reason: &str, object: &str) {
    let matches = found.iter().filter(|f| f.reason == reason && f.object == object && f.severity == Severity::Refused).count();
    assert_eq!(matches, 1, "{reason} of {object} in {found:#?}");
    assert!(found.iter().all(|f| !f.message.is_empty() && f.message.len() < 400), "{found:#?}");
}

fn warned(found: &[Finding], reason: &str, object: &str) {
    let matches = found.iter().filter(|f| f.reason == reason && f.object == object && f.severity == Severity::Warning).count();
    assert_eq!((matches, found.len()), (1, 1), "{found:#?}");
}

#[test]
fn a_healthy_cluster_has_no_findings() {
    assert_eq!(after(|_, _| {}), []);
}

#[test]
fn tables_that_cannot_be_split_are_refused_by_name() {
    refused(&orders(|t| t.keys.clear()), "NoPrimaryKey", "shop.orders");
    refused(&orders(|t| t.columns[1].nullable = true), "KeyNullable", "shop.orders");
    refused(&orders(|t| t.columns[1].auto_increment = true), "KeyMadeByServer", "shop.orders");
    refused(&orders(|t| t.columns[1].generated = true), "KeyMadeByServer", "shop.orders");
    refused(&orders(|t| drop(t.columns.remove(1))), "NoKeyColumn", "shop.orders");
    refused(&orders(|t| t.columns[1] = column("user_id", "varchar(20)")), "KeyType", "shop.orders");
    refused(&orders(|t| t.columns[1] = column("USER_ID", "decimal(10,0)")), "KeyType", "shop.orders");
    refused(&orders(|t| t.columns[0] = column("id", "double")), "PrimaryKeyType", "shop.orders");
    refused(&orders(|t| t.engine = "MyISAM".into()), "Engine", "shop.orders");
    refused(&orders(|t| t.triggers.push("audit".into())), "Trigger", "shop.orders");
    refused(&orders(|t| t.triggers.push("pt_osc_shop_orders_ins".into())), "OnlineDdl", "shop.orders");
    refused(&after(|_, s| s.schema.tables.push(table("shop.new"))), "TableUnlisted", "shop.new");
    refused(&after(|_, s| s.schema.tables.push(table("shop._orders_gho"))), "OnlineDdl", "shop._orders_gho");
    refused(&after(|_, s| s.schema.tables.truncate(2)), "TableMissing", "shop.country");
}

#[test]
fn kinds_of_keys_depend_on_the_strategy() {
    let text = |strategy, function, collation: &str| {
        after(|wanted, shard| {
            (wanted.strategy, wanted.function) = (strategy, function);
            let collation = collation.to_owned();
            shard.schema.tables[0].columns[1] = Column { collation, ..column("user_id", "varchar(20)") };
        })
    };
    assert_eq!(text(Strategy::Hash, Function::Crc32, "utf8mb4_bin"), []);
    assert_eq!(text(Strategy::Table, Function::Mod, "utf8mb4_bin"), []);
    refused(&text(Strategy::Range, Function::Crc32, "utf8mb4_bin"), "KeyType", "shop.orders");
    warned(&text(Strategy::Hash, Function::Crc32, "utf8mb4_0900_ai_ci"), "KeyCollation", "shop.orders");
    for (kind, found) in [("varbinary(16)", 0), ("bigint unsigned", 0), ("enum('a')", 1), ("double", 1), ("json", 1), ("date", 1)] {
        let findings = after(|wanted, shard| {
            wanted.function = Function::Crc32;
            shard.schema.tables[0].columns[1] = column("user_id", kind);
        });
        assert_eq!(findings.len(), found, "{kind}: {findings:#?}");
    }
}

#[test]
fn uniqueness_without_the_key_is_warned_of() {
    warned(&orders(|t| t.keys.push(unique("by_note", &["note"]))), "UniqueWithoutKey", "shop.orders");
    assert_eq!(orders(|t| t.keys.push(unique("by_note", &["note", "user_id"]))), []);
    let apart = after(|wanted, _| wanted.interleave = false);
    assert_eq!(apart.iter().map(|f| (f.reason.as_str(), f.severity)).collect::<Vec<_>>(), [("UniqueWithoutKey", Severity::Warning); 2], "the server's ids collide then");
}

#[test]
fn foreign_keys_stay_within_one_key_or_lead_to_what_is_everywhere() {
    let key = |columns: &[&str], to: &str, to_columns: &[&str], cascades| ForeignKey {
        name: "fk".into(),
        columns: columns.iter().map(|&c| c.into()).collect(),
        to: to.into(),
        to_columns: to_columns.iter().map(|&c| c.into()).collect(),
        cascades,
    };
    let of = |table: usize, key: ForeignKey| after(|_, s| s.schema.tables[table].foreign_keys.push(key));
    assert_eq!(of(0, key(&["user_id", "note"], "shop.items", &["user_id", "id"], true)), []);
    assert_eq!(of(0, key(&["note"], "shop.country", &["id"], false)), []);
    refused(&of(0, key(&["note"], "shop.items", &["id"], false)), "ForeignKeyCrosses", "shop.orders (fk)");
    refused(&of(0, key(&["user_id"], "shop.items", &["id"], false)), "ForeignKeyCrosses", "shop.orders (fk)");
    refused(&of(0, key(&["note"], "shop.country", &["id"], true)), "ForeignKeyCascades", "shop.orders (fk)");
    refused(&of(2, key(&["id"], "shop.items", &["id"], false)), "ForeignKeyCrosses", "shop.country (fk)");
}

#[test]
fn pairs_and_servers_that_are_not_fit_are_refused() {
    refused(&after(|_, s| s.unwell = Some("it is Solo".into())), "PairNotInSync", "shop-0");
    refused(&after(|_, s| s.versions[1].1 = "8.4.9".into()), "VersionsDiffer", "shop-1");
    refused(&after(|_, s| s.schema.data_bytes = 9 << 30), "DiskTooSmall", "shop-0");
    refused(&after(|_, s| s.schema.xa_prepared = 1), "XaPrepared", "shop-1");
    refused(&after(|_, s| s.schema.ddl.push("session 9 runs ALTER TABLE x".into())), "DdlRunning", "shop-0");
    refused(&after(|w, _| (w.required, w.standbys_after) = (true, true)), "StandbysAfterRequired", "spec.standbys");
    warned(&after(|_, s| s.schema.events.push("shop.cleanup".into())), "Event", "shop.cleanup");
    let both = after(|_, s| {
        s.schema.events.push("shop.cleanup".into());
        s.schema.tables[1].keys.clear();
    });
    assert_eq!(both.iter().map(|f| f.severity).collect::<Vec<_>>(), [Severity::Refused, Severity::Warning], "refusals first");
}
