//! The rules that the API server itself enforces (CEL), beside the types they belong to.
//!
//! Pure. Each is one expression and one sentence that says what to do. Lists and strings have limits in the schema, or
//! the API server would not accept the rules: it estimates what they may cost.

use serde_json::{Value, json};

/// my.cnf entries that safety rests on, as the API server refuses them; `mysql::config` has the full list with the reasons.
pub(crate) const RESERVED: &[&str] = &[
    "admin_address", "admin_port", "auto_increment_increment", "auto_increment_offset", "binlog_format", "binlog_row_image",
    "bind_address", "clone_.*", "datadir", "default_storage_engine", "disabled_storage_engines", "enforce_gtid_consistency", "event_scheduler",
    "gtid_mode", "init_file", "initialize.*", "innodb_flush_log_at_trx_commit", "innodb_force_recovery", "innodb_doublewrite", "innodb_fast_shutdown",
    "log_bin", "log_bin_index", "log_replica_updates", "log_slave_updates", "mysqlx.*", "offline_mode", "pid_file", "plugin_dir", "plugin_load", "plugin_load_add",
    "port", "read_only", "relay_log", "relay_log_index", "relay_log_recovery", "replica_exec_mode", "replica_net_timeout", "replica_preserve_commit_order",
    "replicate_.*", "rpl_semi_sync_.*", "secure_file_priv", "server_id", "skip_grant_tables", "skip_log_bin", "skip_name_resolve", "skip_networking",
    "skip_replica_start", "skip_slave_start", "slave_exec_mode", "slave_net_timeout", "slave_preserve_commit_order", "socket", "super_read_only", "sync_binlog", "sync_relay_log", "tmpdir", "user",
    "binlog_do_db", "binlog_ignore_db", "binlog_checksum", "binlog_transaction_compression", "source_.*", "autocommit",
];

/// Why a my.cnf entry is refused; None: it is the user's to set.
pub(crate) fn refused(key: &str) -> Option<String> {
    let plain = key.to_ascii_lowercase().replace('-', "_");
    let plain = plain.strip_prefix("loose_").unwrap_or(&plain);
    let hit = |r: &&str| r.strip_suffix(".*").map_or(*r == plain, |start| plain.starts_with(start));
    RESERVED.iter().any(|r| hit(&r)).then(|| "safety rests on it and shardpair sets it itself".to_owned())
}

fn rules(list: &[(&str, &str)]) -> Value {
    list.iter().map(|(rule, message)| json!({"rule": rule, "message": message})).collect()
}

pub(crate) fn shards() -> Value {
    rules(&[(
        "self == oldSelf",
        "spec.shards is for creation only: make an ExpansionPlan to double the shards of a running cluster; fewer shards are not possible",
    )])
}

pub(crate) fn storage() -> Value {
    rules(&[
        (
            "quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0",
            "storage may grow, never shrink: set spec.mysql.storage.size to at least what it was",
        ),
        (
            "has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
            "spec.mysql.storage.storageClassName cannot change: volumes do not move between classes; make a new cluster and migrate",
        ),
    ])
}

pub(crate) fn storage_size() -> Value {
    rules(&[("isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))", "must be a quantity above 0, such as 10Gi")])
}

/// Names may be written with `-` or `_`, in any case, and with MySQL's `loose` prefix.
pub(crate) fn config() -> Value {
    let reserved = RESERVED.join("|").replace('_', "[-_]");
    let taken = format!("!self.exists(k, k.matches('^(?i)(loose[-_])?({reserved})$'))");
    json!([
        {"rule": "self.all(k, k.matches('^[A-Za-z][A-Za-z0-9_-]*$'))", "message": "names of my.cnf entries consist of letters, digits, '_' and '-'"},
        {
            "rule": taken,
            "message": "an entry is among those that safety rests on (replication, GTID, semi-sync, durability, paths, ports, roles): remove it; shardpair sets it itself",
        },
    ])
}

pub(crate) fn duration_at_least(least: &str) -> Value {
    let rule = format!("duration(self) >= duration('{least}') && duration(self) <= duration('24h')");
    rules(&[(&rule, &format!("must be a duration from {least} to 24h, such as 3s or 1500ms"))])
}

pub(crate) fn replace_after() -> Value {
    rules(&[(
        "self == 'never' || (duration(self) >= duration('10s') && duration(self) <= duration('720h'))",
        "must be 'never' or a duration from 10s to 720h, such as 15m",
    )])
}

pub(crate) fn sharding() -> Value {
    rules(&[
        (
            "self.strategy == oldSelf.strategy && (self.strategy != 'Hash' || self.__function__ == oldSelf.__function__)",
            "spec.sharding.strategy and function cannot change: every key would belong elsewhere; make a new cluster and migrate",
        ),
        (
            "self.strategy == 'Range' || !has(self.ranges) || self.ranges.size() == 0",
            "spec.sharding.ranges is for strategy Range only: remove it or set strategy: Range",
        ),
        (
            "(self.strategy == 'Table') == has(self.table)",
            "spec.sharding.table is needed with strategy Table, and is for it only",
        ),
        (
            "!has(self.ranges) || self.ranges.size() == 0 || (!has(self.ranges[self.ranges.size() - 1].to) \
             && self.ranges.filter(r, has(r.to)).size() == self.ranges.size() - 1 \
             && self.ranges.filter(r, has(r.to)).map(r, r.to).isSorted())",
            "spec.sharding.ranges must be in ascending order of 'to', which all but the last have",
        ),
    ])
}

pub(crate) fn sharding_table_source() -> Value {
    rules(&[("has(self.configMap) != has(self.mysqlTable)", "name either configMap or mysqlTable")])
}

pub(crate) fn table() -> Value {
    rules(&[(
        "self.class != 'Sharded' || (has(self.key) && self.key != '')",
        "a Sharded table needs 'key', the column that decides its shard; tables without one are Reference or Local",
    )])
}

pub(crate) fn cluster_spec() -> Value {
    rules(&[
        (
            "self.sharding.strategy != 'Range' || (has(self.sharding.ranges) && self.sharding.ranges.size() == self.shards)",
            "strategy Range needs spec.sharding.ranges with one entry per shard",
        ),
        (
            "self.sharding.tables.all(t, self.databases.exists(d, t.name.startsWith(d + '.')))",
            "spec.sharding.tables names a table whose database is not in spec.databases: add the database or correct the name (db.table)",
        ),
    ])
}

pub(crate) fn databases() -> Value {
    rules(&[
        (
            "self.all(d, !(d.lowerAscii() in ['mysql', 'sys', 'performance_schema', 'information_schema', 'shardpair']))",
            "mysql, sys, performance_schema, information_schema and shardpair are not databases of yours: remove them from spec.databases",
        ),
        ("oldSelf.all(d, d in self)", "spec.databases may only grow: drop a database in MySQL first, the list does not do it"),
    ])
}

pub(crate) fn pair_spec() -> Value {
    rules(&[(
        "self.cluster == oldSelf.cluster && self.shard == oldSelf.shard",
        "a ShardPair keeps its cluster and its shard: the operator makes another one for another shard",
    )])
}

pub(crate) fn plan_spec() -> Value {
    rules(&[
        (
            "self.clusterRef == oldSelf.clusterRef && self.toShards == oldSelf.toShards && self.standbys == oldSelf.standbys \
             && (has(self.splitAt) ? (has(oldSelf.splitAt) && self.splitAt == oldSelf.splitAt) : !has(oldSelf.splitAt))",
            "only until, reverseWindow and purge of an ExpansionPlan may change: delete it (it rolls back) and make another one",
        ),
        ("self.toShards % 2 == 0", "spec.toShards must be exactly twice the cluster's shards, so an even number"),
        (
            "!has(self.splitAt) || self.splitAt.size() == 0 || self.splitAt.size() * 2 == self.toShards",
            "spec.splitAt needs one bound per existing shard (toShards / 2 of them), or none",
        ),
    ])
}
