//! The my.cnf entries that safety rests on, and the refusal of user entries that would undo them.
//!
//! Pure. A member boots harmless (invariant 6): read-only, offline, replication not started, semi-sync off. What was
//! received survives a restart (`relay_log_recovery=0`), what was executed survives a crash, and a difference between two
//! members stops the applier instead of being healed away (`replica_exec_mode=STRICT`).

use std::collections::BTreeMap;

use crate::pair::settings::Ack;

/// What differs between members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// Unique in the cluster, and never 0.
    pub server_id: u32,
    /// TCP port, 3306 in a container.
    pub port: u16,
    /// What an acknowledgement survives.
    pub ack: Ack,
    /// Where the data is.
    pub datadir: String,
    /// Where socket and pid file are (writable, small).
    pub rundir: String,
    /// For temporary files (writable).
    pub tmpdir: String,
}

impl Params {
    /// As in our container.
    pub fn container(server_id: u32, ack: Ack) -> Self {
        let (datadir, rundir, tmpdir) = ("/var/lib/mysql/data".into(), "/run/mysqld".into(), "/tmp".into());
        Self { server_id, port: 3306, ack, datadir, rundir, tmpdir }
    }
}

/// Entries with the reason why a user may not set them. A name with a `*` at its end stands for all that begin so.
const SAFETY: &[(&str, &str)] = &[
    ("server_id", "each member's is its own, set by the operator"),
    ("server_uuid", "each member's is its own"),
    ("gtid_*", "the protocol compares GTID sets"),
    ("enforce_gtid_consistency", "the protocol compares GTID sets"),
    ("log_bin", "the standby reads it; its names must not depend on the host"),
    ("log_bin_index", "the standby reads it; its names must not depend on the host"),
    ("log_bin_basename", "the standby reads it; its names must not depend on the host"),
    ("sql_log_bin", "an unlogged write never reaches the standby"),
    ("bin_log", "the standby reads it"),
    ("binlog_format", "rows are what a tail is saved and undone from"),
    ("binlog_row_image", "full images are what a tail is undone from"),
    ("binlog_row_metadata", "a saved tail names its columns"),
    ("binlog_row_value_options", "full images are what a tail is undone from"),
    ("binlog_do_db", "the standby holds everything, or it can't be promoted"),
    ("binlog_ignore_db", "the standby holds everything, or it can't be promoted"),
    ("binlog_error_action", "a commit that isn't logged must not succeed"),
    ("binlog_transaction_compression*", "tail and divergence are read from plain events"),
    ("binlog_encryption", "tail and divergence are read by the operator"),
    ("sync_binlog", "a commit that a crash undoes would already be on the standby"),
    ("innodb_flush_log_at_trx_commit", "a commit that a crash undoes would already be on the standby"),
    ("innodb_doublewrite", "a torn page after a crash would lose acknowledged data"),
    ("innodb_read_only", "the member could not take any role"),
    ("innodb_force_recovery", "a damaged member is rebuilt, not served"),
    ("innodb_fast_shutdown", "2 loses nothing but a member ends by SIGKILL anyway: set by the operator"),
    ("log_replica_updates", "a promoted standby must be able to feed the other member"),
    ("log_slave_updates", "a promoted standby must be able to feed the other member"),
    ("relay_log*", "acknowledged transactions may exist only there; names must not depend on the host"),
    ("sync_relay_log*", "set by spec.failover.ack"),
    ("sync_source_info", "set by the operator"),
    ("sync_master_info", "set by the operator"),
    ("master_info_repository", "replication state must be crash-safe"),
    ("max_relay_log_size", "set by the operator"),
    ("rpl_semi_sync_*", "who waits for whom is the record's decision"),
    ("rpl_stop_*", "set by the operator"),
    ("replica_start", "a member gets its role from the record, not from its own memory"),
    ("slave_start", "a member gets its role from the record, not from its own memory"),
    ("replica_exec_mode", "IDEMPOTENT hides divergence"),
    ("slave_exec_mode", "IDEMPOTENT hides divergence"),
    ("replica_errors", "a skipped error is divergence"),
    ("slave_errors", "a skipped error is divergence"),
    ("replica_net_timeout", "set by the operator: how fast a silent source is noticed"),
    ("slave_net_timeout", "set by the operator: how fast a silent source is noticed"),
    ("replica_preserve_commit_order", "a promoted standby must not have gaps"),
    ("slave_preserve_commit_order", "a promoted standby must not have gaps"),
    ("replica_type_conversions", "it hides divergence"),
    ("slave_type_conversions", "it hides divergence"),
    ("replica_load_tmpdir", "set by the operator"),
    ("replicate_*", "the standby holds everything, or it can't be promoted"),
    ("report_*", "it names the process to the operator"),
    ("read_only", "who is writable is the record's decision"),
    ("super_read_only", "who is writable is the record's decision"),
    ("offline_mode", "a member opens when its role is set"),
    ("event_scheduler", "events run on the primary only"),
    ("auto_increment_increment", "set by spec.ids.autoIncrement: the two sides must not collide"),
    ("auto_increment_offset", "set by spec.ids.autoIncrement: the two sides must not collide"),
    ("disabled_storage_engines", "CLONE empties tables of other engines, and they are not crash-safe"),
    ("default_storage_engine", "InnoDB only"),
    ("default_tmp_storage_engine", "set by the operator"),
    ("secure_file_priv", "files on one member are not on the other"),
    ("local_infile", "set by the operator"),
    ("skip_name_resolve", "each login would wait for DNS"),
    ("name_resolve", "each login would wait for DNS"),
    ("host_cache_size", "a host blocked after connection errors could lock the operator out"),
    ("max_connect_errors", "a host blocked after connection errors could lock the operator out"),
    ("grant_tables", "anybody could write anywhere"),
    ("networking", "the operator and the other member come over the network"),
    ("bind_address", "the operator and the other member come over the network"),
    ("admin_*", "the operator's own way in"),
    ("create_admin_listener_thread", "the operator's own way in"),
    ("port", "set by the operator"),
    ("socket", "set by the operator"),
    ("pid_file", "set by the operator"),
    ("datadir", "set by the operator"),
    ("tmpdir", "set by the operator"),
    ("basedir", "it belongs to the image"),
    ("user", "the container's user is fixed"),
    ("chroot", "the container is the boundary"),
    ("init_file", "it would run at every start, before the member has a role"),
    ("init_connect", "it would run in application sessions only, and can break them"),
    ("init_replica", "it would run in the applier"),
    ("init_slave", "it would run in the applier"),
    ("plugin_load", "plugin-load-add is for additional plugins"),
    ("plugin_dir", "it belongs to the image"),
    ("mysqlx*", "a second way in that offline_mode and the operator don't watch"),
    ("daemonize", "the entry script supervises mysqld"),
    ("initialize*", "only the entry script initialises a volume, once"),
    ("upgrade", "set by the operator during an upgrade"),
    ("persisted_globals_load", "set by the operator: SET PERSIST must not undo what a boot sets"),
    ("persist_*", "set by the operator: SET PERSIST must not undo what a boot sets"),
    ("lower_case_table_names", "it can't be changed after initialisation, and must be equal on both members"),
    ("log_error", "the container's log is standard error"),
    ("require_secure_transport", "the operator and replication use plain TCP with RSA-encrypted passwords"),
    ("default_authentication_plugin", "set by the operator"),
    ("authentication_policy", "the operator's accounts use caching_sha2_password"),
    ("caching_sha2_password_auto_generate_rsa_keys", "without TLS the passwords travel under this key"),
    ("transaction_write_set_extraction", "set by the operator"),
    ("group_replication_*", "another replication system"),
    ("clone_*", "set by the operator"),
    ("defaults_file", "one file only"),
    ("defaults_extra_file", "one file only"),
    ("stack_trace", "set by the operator"),
    ("gdb", "it changes how signals end the process"),
];

/// The entries of a member's my.cnf, `[mysqld]` section. A key without a value is an option without one.
pub fn base_config(params: &Params) -> BTreeMap<String, String> {
    let Params { server_id, port, ack, datadir, rundir, tmpdir } = params;
    let sync_relay_log = match ack {
        Ack::Received => 10_000,
        Ack::Flushed => 1,
    };
    let computed = [
        ("server_id", server_id.to_string()),
        ("port", port.to_string()),
        ("sync_relay_log", sync_relay_log.to_string()),
        ("datadir", datadir.clone()),
        ("tmpdir", tmpdir.clone()),
        ("socket", format!("{rundir}/mysqld.sock")),
        ("pid_file", format!("{rundir}/mysqld.pid")),
    ];
    let computed = computed.into_iter().map(|(k, v)| (k.to_owned(), v));
    FIXED.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).chain(computed).collect()
}

const FIXED: &[(&str, &str)] = &[
    // A boot harms nobody.
    ("super_read_only", "ON"),
    ("read_only", "ON"),
    ("offline_mode", "ON"),
    ("skip_replica_start", "ON"),
    ("event_scheduler", "OFF"),
    ("persisted_globals_load", "OFF"),
    // One history, comparable, complete.
    ("gtid_mode", "ON"),
    ("enforce_gtid_consistency", "ON"),
    ("log_bin", "binlog"),
    ("log_replica_updates", "ON"),
    ("binlog_row_image", "FULL"),
    ("binlog_row_metadata", "FULL"),
    ("sync_binlog", "1"),
    ("innodb_flush_log_at_trx_commit", "1"),
    // What was received stays, and is applied as it was written.
    ("relay_log", "relay"),
    ("relay_log_index", "relay.index"),
    ("relay_log_recovery", "OFF"),
    ("replica_exec_mode", "STRICT"),
    ("replica_preserve_commit_order", "ON"),
    // More than writers commit at once: the applier's groups are then larger than the primary's, and it keeps up. What it
    // has not applied when the primary dies is what a failover waits for. A user may set another number.
    ("replica_parallel_workers", "16"),
    // Longer than silence takes to count (`failover.detectAfter`): a receiver that already reconnects to a hung server
    // takes as long as this to stop, one that still reads stops at once (seen: 2 s, 4 ms).
    ("replica_net_timeout", "4"),
    // Semi-sync: loaded, and off until the record says.
    ("plugin_load_add", "semisync_source.so;semisync_replica.so;mysql_clone.so"),
    ("loose_rpl_semi_sync_source_enabled", "OFF"),
    ("loose_rpl_semi_sync_replica_enabled", "OFF"),
    ("loose_rpl_semi_sync_source_timeout", "4294967295"),
    ("loose_rpl_semi_sync_source_wait_for_replica_count", "1"),
    ("loose_rpl_semi_sync_source_wait_no_replica", "ON"),
    ("loose_rpl_semi_sync_source_wait_point", "AFTER_SYNC"),
    ("disabled_storage_engines", "MyISAM,ARCHIVE,CSV,BLACKHOLE,FEDERATED,MERGE,NDB,EXAMPLE"),
    // The way in.
    ("skip_name_resolve", "ON"),
    ("host_cache_size", "0"),
    ("mysqlx", "OFF"),
    ("bind_address", "*"),
    // The operator's way in (entry.sh adds the pod's address): full of clients, or of commits that wait, a member still hears it.
    ("admin_port", "33062"),
    ("create_admin_listener_thread", "ON"),
    ("secure_file_priv", "NULL"),
    ("local_infile", "OFF"),
];

/// Lower case, `-` as `_`, without the prefixes that MySQL strips.
fn normalise(name: &str) -> String {
    let mut name = name.trim().to_ascii_lowercase().replace('-', "_");
    loop {
        let stripped = ["loose_", "skip_", "enable_", "disable_", "maximum_"].iter().find_map(|p| name.strip_prefix(p));
        match stripped {
            // `skip_name_resolve` and the like are listed under what remains.
            Some(rest) => name = rest.to_owned(),
            None => return name,
        }
    }
}

/// Why a user may not set this entry; None: they may. MySQL takes any unambiguous beginning of an option's name, so a
/// name that is the beginning of a protected one is refused as well.
pub fn refused(name: &str) -> Option<&'static str> {
    let name = normalise(name);
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.')) {
        return Some("not the name of an option");
    }
    let protects = |entry: &str| match normalise(entry.trim_end_matches('*')) {
        start if entry.ends_with('*') => name.starts_with(start.as_str()) || start.starts_with(&name),
        whole => whole == name || (name.len() >= 4 && whole.starts_with(&name)),
    };
    SAFETY.iter().find(|(entry, _)| protects(entry)).map(|(_, reason)| *reason)
}

/// The file. User entries come first and ours after them: of two entries MySQL takes the last.
pub fn render(base: &BTreeMap<String, String>, user: &BTreeMap<String, String>) -> String {
    let mut text = String::from("[mysqld]\n");
    let safe = |(name, value): &(&String, &String)| refused(name).is_none() && !value.contains(['\n', '\r']);
    for (name, value) in user.iter().filter(safe).chain(base) {
        let name = name.replace('-', "_");
        if value.is_empty() {
            text.push_str(&format!("{name}\n"));
        } else {
            text.push_str(&format!("{name}={value}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_that_safety_rests_on_is_refused_to_users() {
        let base = base_config(&Params::container(1, Ack::Received));
        let open: Vec<_> = base.keys().filter(|name| refused(name).is_none()).collect();
        assert_eq!(open, ["plugin_load_add", "replica_parallel_workers"]);
    }

    #[test]
    fn spelling_does_not_get_around_a_refusal() {
        for name in ["Super-Read-Only", "loose_super_read_only", "LOOSE-skip-Log-Bin", "disable-log-bin", "sync-binlog",
            "skip-slave-start", "slave_exec_mode", "relay_log_rec", "gtid", "super-read", "enable_rpl_semi_sync_source_enabled", "a b", "", "x\ny"]
        {
            assert!(refused(name).is_some(), "{name} was accepted");
        }
    }

    #[test]
    fn ordinary_tuning_is_accepted() {
        for name in ["innodb_buffer_pool_size", "max_connections", "sql_mode", "performance-schema", "innodb_redo_log_capacity",
            "binlog_expire_logs_seconds", "transaction_isolation", "max_allowed_packet", "log_error_verbosity", "slow_query_log",
            "replica_parallel_workers", "character_set_server", "collation_server", "table_open_cache"]
        {
            assert_eq!(refused(name), None, "{name} was refused");
        }
    }

    #[test]
    fn an_acknowledgement_that_survives_a_power_cut_flushes_the_relay_log() {
        let sync = |ack| base_config(&Params::container(1, ack))["sync_relay_log"].clone();
        assert_eq!((sync(Ack::Received), sync(Ack::Flushed)), ("10000".to_owned(), "1".to_owned()));
    }

    #[test]
    fn a_value_never_adds_a_line() {
        let user = BTreeMap::from([("max_connections".to_owned(), "5\nsuper_read_only=OFF".to_owned())]);
        let text = render(&BTreeMap::new(), &user);
        assert_eq!(text, "[mysqld]\n");
    }
}
