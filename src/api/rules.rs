//! The rules that the API server itself enforces (CEL), beside the types they belong to.
//!
//! Pure. Each is one expression and one sentence that says what to do. Lists and strings have limits in the schema, or
//! the API server would not accept the rules: it estimates what they may cost.

use serde_json::{Value, json};

/// my.cnf entries that safety rests on, as the API server refuses them: the names of `mysql::config`, which has the
/// reasons, and refuses every spelling that MySQL would take (a test compares the two).
pub const RESERVED: &[&str] = &[
    "server_id", "server_uuid", "gtid_.*", "enforce_gtid_consistency", "log_bin", "log_bin_index", "log_bin_basename",
    "sql_log_bin", "bin_log", "binlog_format", "binlog_row_image", "binlog_row_metadata", "binlog_row_value_options",
    "binlog_do_db", "binlog_ignore_db", "binlog_error_action", "binlog_transaction_compression.*", "binlog_encryption",
    "sync_binlog", "innodb_flush_log_at_trx_commit", "innodb_doublewrite", "innodb_read_only", "innodb_force_recovery",
    "innodb_fast_shutdown", "log_replica_updates", "log_slave_updates", "relay_log.*", "sync_relay_log.*",
    "sync_source_info", "sync_master_info", "master_info_repository", "max_relay_log_size", "rpl_semi_sync_.*",
    "rpl_stop_.*", "replica_start", "slave_start", "replica_exec_mode", "slave_exec_mode", "replica_errors",
    "slave_errors", "replica_net_timeout", "slave_net_timeout", "replica_preserve_commit_order",
    "slave_preserve_commit_order", "replica_type_conversions", "slave_type_conversions", "replica_load_tmpdir",
    "replicate_.*", "report_.*", "read_only", "super_read_only", "offline_mode", "event_scheduler",
    "auto_increment_increment", "auto_increment_offset", "disabled_storage_engines", "default_storage_engine",
    "default_tmp_storage_engine", "secure_file_priv", "local_infile", "skip_name_resolve", "name_resolve",
    "host_cache_size", "max_connect_errors", "grant_tables", "networking", "bind_address", "admin_address", "port",
    "socket", "pid_file", "datadir", "tmpdir", "basedir", "user", "chroot", "init_file", "init_connect", "init_replica",
    "init_slave", "plugin_load", "plugin_dir", "mysqlx.*", "daemonize", "initialize.*", "upgrade",
    "persisted_globals_load", "persist_.*", "lower_case_table_names", "log_error", "require_secure_transport",
    "default_authentication_plugin", "authentication_policy", "caching_sha2_password_auto_generate_rsa_keys",
    "transaction_write_set_extraction", "group_replication_.*", "clone_.*", "defaults_file", "defaults_extra_file",
    "stack_trace", "gdb",
];

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

pub(crate) fn redis() -> Value {
    rules(&[(
        "!has(self.secretName) || (!has(self.image) && !has(self.memory))",
        "spec.cache.redis.secretName names a Redis of yours: remove image and memory, which are for the operator's own",
    )])
}

pub(crate) fn redis_memory() -> Value {
    rules(&[(
        "isQuantity(self) && !quantity(self).isLessThan(quantity('16Mi')) && !quantity(self).isGreaterThan(quantity('1Ti'))",
        "must be a quantity from 16Mi to 1Ti, such as 256Mi",
    )])
}

/// Names may be written with `-` or `_`, in any case, and with the prefixes that MySQL strips.
pub(crate) fn config() -> Value {
    let reserved = RESERVED.join("|").replace('_', "[-_]");
    let of_ours = format!("k.matches('^(?i)(loose[-_]|skip[-_]|enable[-_]|disable[-_])*({reserved})$')");
    json!([
        {"rule": "self.all(k, k.matches('^[A-Za-z][A-Za-z0-9_-]*$'))", "message": "names of my.cnf entries consist of letters, digits, '_' and '-'"},
        {
            "rule": format!("!self.exists(k, {of_ours})"),
            "message": "an entry is among those that safety rests on (replication, GTID, semi-sync, durability, roles, paths, ports): remove it; shardpair sets it itself",
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
            "only until, waitForClients, reverseWindow and purge of an ExpansionPlan may change: delete it (it rolls back) and make another one",
        ),
        ("self.toShards % 2 == 0", "spec.toShards must be exactly twice the cluster's shards, so an even number"),
        (
            "!has(self.splitAt) || self.splitAt.size() == 0 || self.splitAt.size() * 2 == self.toShards",
            "spec.splitAt needs one bound per existing shard (toShards / 2 of them), or none",
        ),
    ])
}
