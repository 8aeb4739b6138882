//! Answers the operator's statements. One that isn't known is an error, and told: the operator has learnt to ask something new.

use std::time::Instant;

use super::member::{Channel, told};
use super::wire::Answer;
use super::world::{Inside, World};

type Row = Vec<(&'static str, Option<String>)>;

/// What a member answers to a statement.
pub async fn answer(world: &World, at: usize, id: u32, sql: &str) -> Answer {
    let words = sql.split_whitespace().take(4).collect::<Vec<_>>();
    let answer = match *words.as_slice() {
        ["SET", "SESSION", ..] => Some(Answer::Ok),
        ["SET", "GLOBAL", ..] => Some(set(world, at, sql)),
        ["SHOW", ..] => show(world, at, sql),
        ["KILL", id] => Some(kill(world, at, id)),
        ["START" | "STOP", "REPLICA", thread, ..] => Some(thread_of(world, at, words[0] == "START", thread)),
        ["CHANGE", "REPLICATION", ..] => Some(change_source(world, at, sql)),
        ["RESET", "REPLICA", ..] => {
            world.inside().members[at].channel = None;
            world.changed.notify_waiters();
            Some(Answer::Ok)
        }
        ["INSERT", "INTO", "shardpair.heartbeat", ..] => Some(beat(world, at, sql).await),
        ["CREATE" | "GRANT", ..] => Some(make(world, at, sql).await),
        ["SELECT", ..] => select(world, at, sql),
        _ => None,
    };
    answer.unwrap_or_else(|| {
        eprintln!("scale: session {id} asked what the stub doesn't know: {sql}");
        Answer::Error(1064, "the stub doesn't know this statement".to_owned())
    })
}

fn set(world: &World, at: usize, sql: &str) -> Answer {
    {
        let mut inside = world.inside();
        for part in sql.trim_start_matches("SET ").split(',') {
            if let Some((name, value)) = part.trim().trim_start_matches("GLOBAL ").split_once('=') {
                inside.members[at].set(name.trim(), value.trim());
            }
        }
    }
    world.changed.notify_waiters();
    Answer::Ok
}

fn show(world: &World, at: usize, sql: &str) -> Option<Answer> {
    let text = |value: &str| Some(value.to_owned());
    if sql.starts_with("SHOW PROCESSLIST") {
        let inside = world.inside();
        let row = |(id, s): (&u32, &super::member::Session)| vec![Some(id.to_string()), text(&s.user), text("10.0.0.1:1"), None, text("Sleep"), text("0"), text(""), None];
        let rows = inside.members[at].sessions.iter().map(row).collect();
        return Some(Answer::Rows(vec!["Id", "User", "Host", "db", "Command", "Time", "State", "Info"], rows));
    }
    if sql.starts_with("SHOW GLOBAL STATUS") {
        // All that are asked for, by the names in the statement.
        let names = sql.split('\'').skip(1).step_by(2);
        return Some(Answer::Rows(vec!["Variable_name", "Value"], names.map(|name| vec![text(name), text("1")]).collect()));
    }
    if sql.starts_with("SHOW BINARY LOGS") {
        return Some(Answer::Rows(vec!["Log_name", "File_size", "Encrypted"], vec![vec![text("binlog.000001"), text("1024"), text("No")]]));
    }
    let account = sql.strip_prefix("SHOW GRANTS FOR '")?.split('\'').next()?;
    let grants = world.inside().members[at].grants.get(account).cloned().unwrap_or_default();
    Some(Answer::Rows(vec!["Grants"], grants.into_iter().map(|grant| vec![Some(grant)]).collect()))
}

fn kill(world: &World, at: usize, id: &str) -> Answer {
    let mut inside = world.inside();
    match id.parse().ok().and_then(|id: u32| inside.members[at].sessions.remove(&id)) {
        Some(session) => {
            session.end.cancel();
            Answer::Ok
        }
        None => Answer::Error(1094, format!("Unknown thread id: {id}")),
    }
}

fn thread_of(world: &World, at: usize, start: bool, thread: &str) -> Answer {
    {
        let mut inside = world.inside();
        let acker = inside.members[at].is("rpl_semi_sync_replica_enabled");
        let Some(channel) = &mut inside.members[at].channel else {
            // Stopping what isn't there is a warning only.
            return if start { Answer::Error(1200, "The server is not configured as replica".to_owned()) } else { Answer::Ok };
        };
        match thread.trim_end_matches(';') {
            "IO_THREAD" => {
                (channel.receiver, channel.acker) = (start, acker);
                channel.silent_since = Instant::now();
            }
            _ => channel.applier = start,
        }
        for source in [at, at ^ 1] {
            inside.replicate(source);
        }
    }
    world.changed.notify_waiters();
    Answer::Ok
}

fn change_source(world: &World, at: usize, sql: &str) -> Answer {
    let host = sql.split("SOURCE_HOST='").nth(1).and_then(|rest| rest.split('\'').next()).unwrap_or_default();
    let channel = Channel { host: host.to_owned(), receiver: false, applier: false, acker: false, silent_since: Instant::now() };
    world.inside().members[at].channel = Some(channel);
    Answer::Ok
}

async fn beat(world: &World, at: usize, sql: &str) -> Answer {
    if world.inside().members[at].heartbeat.is_none() {
        return Answer::Error(1146, "Table 'shardpair.heartbeat' doesn't exist".to_owned());
    }
    let mut numbers = sql.split("VALUES (").nth(1).unwrap_or_default().split([',', ')']).map(str::trim);
    let (row, epoch) = (numbers.next().and_then(|n| n.parse().ok()), numbers.next().and_then(|n| n.parse().ok()));
    let (Some(row), Some(epoch)) = (row, epoch) else { return Answer::Error(1064, "an unknown heartbeat".to_owned()) };
    world
        .write(at, |member| {
            member.heartbeat.get_or_insert_default().insert(row, (epoch, Instant::now()));
        })
        .await
}

/// Databases, tables, accounts, rights: logged, as all that the primary writes.
async fn make(world: &World, at: usize, sql: &str) -> Answer {
    let quoted = |with: char| sql.split(with).nth(1).unwrap_or_default().to_owned();
    world
        .write(at, |member| {
            if sql.starts_with("CREATE TABLE") {
                member.heartbeat.get_or_insert_default();
            } else if sql.starts_with("CREATE DATABASE") {
                member.databases.insert(quoted('`'));
            } else if sql.starts_with("CREATE USER") {
                member.grants.entry(quoted('\'')).or_default();
            } else {
                let grant = format!("GRANT ALL PRIVILEGES ON `{}`.* TO …", quoted('`'));
                member.grants.entry(quoted('\'')).or_default().push(grant);
            }
        })
        .await
}

fn one(value: impl ToString) -> Option<Answer> {
    Some(Answer::Row(vec![("value", Some(value.to_string()))]))
}

fn select(world: &World, at: usize, sql: &str) -> Option<Answer> {
    let inside = world.inside();
    let member = &inside.members[at];
    let name = || sql.split('\'').nth(1).unwrap_or_default();
    if sql.starts_with("SELECT @@server_uuid AS server_uuid") {
        if member.heartbeat.is_none() && sql.contains("shardpair.heartbeat") {
            return Some(Answer::Error(1049, "Unknown database 'shardpair'".to_owned()));
        }
        return Some(Answer::Row(facts(&inside, at, sql)));
    }
    if sql.starts_with("SELECT c.host AS host") {
        return Some(Answer::Row(channel(&inside, at)));
    }
    if let Some(list) = sql.strip_prefix("SELECT concat_ws(' ',") {
        return one(variables(&inside, at, list));
    }
    if let Some(variable) = sql.strip_prefix("SELECT @@").filter(|v| v.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.')) {
        return one(member.variable(&variable.replace("GLOBAL.", "")));
    }
    match sql {
        _ if sql.starts_with("SELECT WAIT_FOR_EXECUTED_GTID_SET") => one(0),
        _ if sql.starts_with("SELECT count(*) FROM information_schema.events") => one(0),
        _ if sql.starts_with("SELECT count(*) FROM mysql.user") => one(u8::from(member.grants.contains_key(name()))),
        _ if sql.starts_with("SELECT count(*) FROM information_schema.schemata") => one(u8::from(member.databases.contains(name()))),
        _ if sql.starts_with("SELECT db FROM mysql.db") => Some(Answer::Rows(vec!["db"], Vec::new())),
        _ if sql.starts_with("SELECT name, `count` FROM information_schema.innodb_metrics") => {
            let row = |name: &str, value: &str| vec![Some(name.to_owned()), Some(value.to_owned())];
            Some(Answer::Rows(vec!["name", "count"], vec![row("lock_deadlocks", "0"), row("lock_timeouts", "0"), row("max_connections", "151")]))
        }
        _ if sql.starts_with("SELECT coalesce(sum(file_size), 0)") => {
            Some(Answer::Rows(vec!["data", "redo"], vec![vec![Some("1048576".to_owned()), Some("104857600".to_owned())]]))
        }
        "SELECT 1 FROM shardpair.heartbeat LIMIT 0" if member.heartbeat.is_some() => Some(Answer::Rows(vec!["1"], Vec::new())),
        "SELECT 1 FROM shardpair.heartbeat LIMIT 0" => Some(Answer::Error(1049, "Unknown database 'shardpair'".to_owned())),
        _ if sql.contains("shardpair.guard_state") => Some(Answer::Error(1146, "Table 'shardpair.guard_state' doesn't exist".to_owned())),
        _ => None,
    }
}

/// The list within `concat_ws`: variables, one comparison, one status variable.
fn variables(inside: &Inside, at: usize, list: &str) -> String {
    let member = &inside.members[at];
    let told = |part: &str| match part.trim().trim_end_matches(')') {
        part if part.contains(">= 1") => "1".to_owned(),
        part if part.starts_with("@@") => member.variable(part.trim_start_matches("@@")),
        _ if member.is("rpl_semi_sync_source_enabled") => "ON".to_owned(),
        _ => "OFF".to_owned(),
    };
    list.split(',').map(told).collect::<Vec<_>>().join(" ")
}

/// The channel's columns, as facts and the verbs of replication ask for them.
fn channel(inside: &Inside, at: usize) -> Row {
    let member = &inside.members[at];
    let found = member.channel.as_ref();
    let source = inside.source(at);
    let receiver = match (found.is_some_and(|c| c.receiver), source) {
        (false, _) => "OFF",
        (true, None) => "CONNECTING",
        (true, Some(_)) => "ON",
    };
    let on = |on: bool| Some(if on { "ON" } else { "OFF" }.to_owned());
    vec![
        ("host", found.map(|c| c.host.clone())),
        ("port", found.map(|_| "3306".to_owned())),
        ("receiver", found.map(|_| receiver.to_owned())),
        ("applier", found.and_then(|c| on(c.applier))),
        ("received", found.map(|_| told(&member.executed))),
        ("executed", Some(told(&member.executed))),
        ("worker_error", None),
        ("coordinator_error", None),
    ]
}

fn facts(inside: &Inside, at: usize, sql: &str) -> Row {
    let member = &inside.members[at];
    let found = member.channel.as_ref();
    let source = inside.source(at);
    let value = |name: &str| Some(member.variable(name));
    let source_on = if member.is("rpl_semi_sync_source_enabled") { "ON" } else { "OFF" };
    let mut row: Row = vec![
        ("server_uuid", value("server_uuid")),
        ("version", value("version")),
        ("process", value("report_user")),
        ("super_read_only", value("super_read_only")),
        ("offline_mode", value("offline_mode")),
        ("purged", Some(String::new())),
        ("event_scheduler", value("event_scheduler")),
        ("source_enabled", value("rpl_semi_sync_source_enabled")),
        ("wait_count", value("rpl_semi_sync_source_wait_for_replica_count")),
        ("altered", Some("0".to_owned())),
        ("replica_enabled", value("rpl_semi_sync_replica_enabled")),
        ("filters", Some("0".to_owned())),
        ("foreign_channels", Some("0".to_owned())),
        ("source_status", Some(source_on.to_owned())),
        ("clients", Some(inside.ackers(at).to_string())),
        ("waiting", Some(member.waiting.to_string())),
        ("marker", Some("0".to_owned())),
        ("source_host", found.map(|c| c.host.clone())),
        ("source_uuid", found.map(|c| inside.by_service.get(&c.host).map(|s| inside.members[*s].uuid.clone()).unwrap_or_default())),
        ("queueing", found.map(|_| String::new())),
        ("receiver_errno", found.map(|_| if source.is_some() { "0" } else { "2003" }.to_owned())),
        ("receiver_error", found.map(|_| if source.is_some() { "" } else { "can't connect" }.to_owned())),
        ("silent_us", found.map(|c| if source.is_some() { 100_000 } else { c.silent_since.elapsed().as_micros() }.to_string())),
        ("coordinator_errno", found.map(|_| "0".to_owned())),
        ("coordinator_error", found.map(|_| String::new())),
        ("clone_state", None),
        ("clone_done", None),
        ("clone_estimate", None),
    ];
    row.extend(channel(inside, at).into_iter().filter(|(name, _)| matches!(*name, "receiver" | "applier" | "received" | "executed" | "worker_error")));
    if let (true, Some(rows)) = (sql.contains("shardpair.heartbeat"), &member.heartbeat) {
        let asked = |column: &str| -> Option<u16> {
            let before = &sql[..sql.find(&format!("AS {column}"))?];
            before.rsplit("id=").next()?.trim_end_matches([')', ' ']).parse().ok()
        };
        let epoch = asked("epoch").and_then(|id| rows.get(&id)).map(|(epoch, _)| epoch.to_string());
        row.push(("epoch", epoch));
        row.push(("lag_seconds", asked("lag_seconds").and_then(|id| rows.get(&id)).map(|(_, at)| at.elapsed().as_secs().to_string())));
        row.push(("rewound", None));
    }
    row
}
