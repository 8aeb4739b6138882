//! Findings about tables. Pure.

use super::{Findings, ForeignKey, Schema, TableSeen, Wanted};
use crate::routing::{Function, KeyKind, Strategy, Table, TableClass};

/// What gh-ost and pt-online-schema-change leave beside a table while they run.
fn is_online_ddl(table: &str) -> bool {
    let name = table.split_once('.').map_or(table, |(_, name)| name);
    name.starts_with('_') && ["_gho", "_ghc", "_del", "_new", "_old"].iter().any(|end| name.ends_with(end))
}

pub(super) fn check(wanted: &Wanted, schema: &Schema, found: &mut Findings) {
    let listed = |name: &str| wanted.tables.iter().find(|t| t.name == name);
    for table in &wanted.tables {
        if !schema.tables.iter().any(|seen| seen.name == table.name) {
            found.refuse("TableMissing", &table.name, "it is in spec.sharding.tables but not on every shard: create it there, or take it out of the list");
        }
    }
    for seen in &schema.tables {
        if seen.engine != "InnoDB" {
            found.refuse("Engine", &seen.name, format!("its engine is {}: CLONE copies InnoDB only, ALTER TABLE … ENGINE=InnoDB", seen.engine));
        }
        for trigger in &seen.triggers {
            let online = trigger.contains("pt_osc_");
            let (reason, what) = if online { ("OnlineDdl", "pt-online-schema-change is running: wait for its end") } else { ("Trigger", "a trigger can write rows behind the guard: drop it for the time of the plan") };
            found.refuse(reason, &seen.name, format!("trigger {trigger}: {what}"));
        }
        match listed(&seen.name) {
            None if is_online_ddl(&seen.name) => {
                found.refuse("OnlineDdl", &seen.name, "gh-ost or pt-online-schema-change is running, or was broken off: wait for its end, or drop the table");
            }
            None => found.refuse("TableUnlisted", &seen.name, "it is not in spec.sharding.tables: list it as Sharded with its key, Reference or Local"),
            Some(table) if table.class == TableClass::Sharded => sharded(wanted, table, seen, found),
            Some(_) => {}
        }
        for key in &seen.foreign_keys {
            foreign_key(wanted, seen, key, found);
        }
    }
}

fn sharded(wanted: &Wanted, table: &Table, seen: &TableSeen, found: &mut Findings) {
    let name = &seen.name;
    if seen.primary_key().is_empty() {
        found.refuse("NoPrimaryKey", name, "it has no primary key: rows that leave are deleted in its order, so add one");
    }
    for column in seen.primary_key().iter().filter_map(|name| seen.column(name)) {
        if matches!(column.data_type.as_str(), "float" | "double" | "enum" | "set" | "bit" | "json" | "geometry") {
            found.refuse("PrimaryKeyType", name, format!("its primary key holds {}, a {}: rows can't be walked in its order exactly; use integers, decimals, times, texts or bytes", column.name, column.data_type));
        }
    }
    let key = table.key.as_deref().unwrap_or_default();
    let Some(column) = seen.column(key) else {
        return found.refuse("NoKeyColumn", name, format!("it has no column {key}: correct its key in spec.sharding.tables"));
    };
    if column.nullable {
        found.refuse("KeyNullable", name, format!("its key {key} may be NULL, and a row without a key has no shard: make it NOT NULL"));
    }
    if column.auto_increment || column.generated {
        let how = if column.auto_increment { "is AUTO_INCREMENT" } else { "is a generated column" };
        found.refuse("KeyMadeByServer", name, format!("its key {key} {how}: the server makes the value after the guard has looked; let the application choose the key"));
    }
    let integers_only = wanted.strategy == Strategy::Range || (wanted.strategy == Strategy::Hash && wanted.function == Function::Mod);
    match KeyKind::of_column(&column.data_type, &column.column_type) {
        Some(kind) if kind.is_integer() || !integers_only => {
            if kind == KeyKind::Text && !column.collation.ends_with("_bin") {
                let message = format!("its key {key} has the collation {}, under which different texts are equal, but the hash is of the bytes: keys that differ only by case, accents or trailing spaces are on different shards", column.collation);
                found.warn("KeyCollation", name, message);
            }
        }
        _ => {
            let types = if integers_only { "integers" } else { "integers, texts and bytes" };
            found.refuse("KeyType", name, format!("its key {key} is {}, and keys of this cluster are {types}: use a column of such a type", column.column_type));
        }
    }
    for unique in seen.keys.iter().filter(|u| !u.columns.iter().any(|c| c.eq_ignore_ascii_case(key))) {
        let made = matches!(&unique.columns[..], [one] if seen.column(one).is_some_and(|c| c.auto_increment));
        if !(made && wanted.interleave) {
            let message = format!("unique key {} lacks the shard key {key}: it is unique on each shard only, two shards may hold the same value", unique.name);
            found.warn("UniqueWithoutKey", name, message);
        }
    }
}

/// A foreign key may stay within the rows of one key, or lead from a row to what is on every shard.
fn foreign_key(wanted: &Wanted, seen: &TableSeen, key: &ForeignKey, found: &mut Findings) {
    let class = |name: &str| wanted.tables.iter().find(|t| t.name == name);
    let (Some(from), Some(to)) = (class(&seen.name), class(&key.to)) else {
        return; // told as unlisted
    };
    let object = format!("{} ({})", seen.name, key.name);
    let same = |column: &String, wanted: &Option<String>| wanted.as_deref().is_some_and(|k| k.eq_ignore_ascii_case(column));
    match (from.class, to.class) {
        (TableClass::Sharded, TableClass::Sharded) => {
            let carried = key.columns.iter().zip(&key.to_columns).any(|(here, there)| same(here, &from.key) && same(there, &to.key));
            if !carried {
                found.refuse("ForeignKeyCrosses", &object, format!("it leads to {} without carrying the shard key, so to rows of other shards after the split: drop it, or put the shard key into it", key.to));
            }
        }
        (TableClass::Sharded, _) if !key.cascades => {}
        (_, TableClass::Sharded) => {
            found.refuse("ForeignKeyCrosses", &object, format!("it leads from a table that is not sharded to {}, whose rows move: drop it", key.to));
        }
        (TableClass::Sharded, _) => {
            found.refuse("ForeignKeyCascades", &object, format!("a change of {} cascades into {} and fires no guard: make it RESTRICT", key.to, seen.name));
        }
        _ => {}
    }
}
