//! Facts at each stage, and in the states in which other questions hang.

use std::time::Duration;

use shardpair::mysql::gtid::GtidSet;
use shardpair::mysql::{facts, heartbeat, replication, role, sessions};
use shardpair::pair::facts::ReceiverState;

use crate::harness::{SOON, Server, application, eventually, pair, replicator};

#[tokio::test]
async fn a_pair_in_sync_says_so_on_both_sides() {
    let (a, b) = pair().await;
    let mut on_a = a.session().await;
    assert_eq!(heartbeat::beat(&mut on_a, 1, 7, SOON).await, heartbeat::Outcome::Written);
    let of_a = a.facts().await;
    assert!(!of_a.super_read_only && !of_a.offline_mode && of_a.events_on);
    assert!(of_a.source.enabled && of_a.source.on && of_a.source.clients == 1 && of_a.source.waiting == 0 && of_a.source.wait_count == 1);
    assert!(of_a.channel.is_none() && !of_a.rebuild_marker && of_a.cloning.is_none());
    assert_eq!(of_a.epoch, Some(7));
    assert!(of_a.version.starts_with("9.7"), "{}", of_a.version);
    let mut on_b = b.session().await;
    replication::wait_executed(&mut on_b, &of_a.executed, SOON).await.expect("applied");
    let of_b = b.facts().await;
    let channel = of_b.channel.clone().expect("a channel");
    assert_eq!(channel.receiver, ReceiverState::On);
    assert_eq!((channel.source_host.as_str(), channel.source_uuid), ("127.0.0.1", of_a.server_uuid.clone()));
    assert!(channel.applier_running && channel.applier_error.is_empty() && channel.receiver_error.is_empty());
    assert!(channel.silent_ms.is_some_and(|ms| ms < 2000), "{:?}", channel.silent_ms);
    assert!(of_b.super_read_only && !of_b.offline_mode && of_b.replica_enabled && !of_b.source.enabled && !of_b.events_on);
    assert_eq!((of_b.epoch, of_b.lag_seconds.is_some_and(|s| (0..5).contains(&s))), (Some(7), true));
    assert!(of_b.holds().contains(&of_a.executed));
    assert_ne!(of_a.server_uuid, of_b.server_uuid);
}

#[tokio::test]
async fn a_receiver_that_only_tries_is_connecting_and_errors_are_told() {
    let (mut a, b) = pair().await;
    a.power_cut();
    let mut on_b = b.session().await;
    eventually("the receiver tries", async || {
        let channel = facts::read(&mut on_b, SOON).await.expect("facts").channel.expect("a channel");
        channel.receiver == ReceiverState::Connecting && !channel.receiver_error.is_empty()
    })
    .await;
    role::reopen_writes(&mut on_b, SOON).await.expect("open");
    on_b.exec("SET SESSION sql_log_bin=0", SOON).await.expect("unlogged");
    on_b.exec("INSERT INTO d.t VALUES (1, 'errant', 0)", SOON).await.expect("an errant row");
    a.run(false);
    let mut on_a = a.session().await;
    role::open_primary(&mut on_a, crate::harness::AS_PRIMARY, SOON).await.expect("open");
    on_a.exec("INSERT INTO d.t VALUES (1, 'a', 0)", Duration::from_secs(20)).await.expect("acknowledged");
    eventually("the applier stopped", async || !facts::read(&mut on_b, SOON).await.expect("facts").channel.expect("a channel").applier_running).await;
    let told = facts::read(&mut on_b, SOON).await.expect("facts").channel.expect("a channel").applier_error;
    assert!(told.starts_with("1062: ") && told.contains("d.t"), "{told}");
    let all = a.facts().await.executed;
    let stuck = replication::wait_executed(&mut on_b, &all, Duration::from_secs(30)).await.expect_err("stuck");
    assert!(stuck.to_string().contains("1062"), "{stuck}");
}

#[tokio::test]
async fn facts_answer_while_an_account_statement_waits_for_an_acknowledgement() {
    let (a, b) = pair().await;
    let (mut on_a, mut other, mut on_b) = (a.session().await, a.session().await, b.session().await);
    replication::stop_receiver(&mut on_b, SOON).await.expect("fence");
    let hung = tokio::spawn(async move { other.exec("CREATE USER waits", Duration::from_secs(3)).await });
    eventually("the statement waits", async || sessions::commits_waiting(&mut on_a, SOON).await.expect("list") == 1).await;
    let read = facts::read(&mut on_a, Duration::from_secs(2)).await.expect("facts behind a waiting account statement");
    assert_eq!(read.source.waiting, 1);
    assert!(heartbeat::create_schema(&mut on_a, Duration::from_secs(2)).await.is_ok());
    assert!(hung.await.expect("task").is_err());
}

#[tokio::test]
async fn an_own_transaction_that_waits_is_not_executed_yet() {
    let (a, b) = pair().await;
    let (mut on_a, mut on_b) = (a.session().await, b.session().await);
    replication::stop_receiver(&mut on_b, SOON).await.expect("fence");
    let before = a.facts().await.executed;
    let mut app = a.session_as(&application()).await;
    let writing = tokio::spawn(async move { app.exec("INSERT INTO d.t VALUES (1, 'a', 1)", Duration::from_secs(60)).await });
    eventually("a commit waits", async || facts::read(&mut on_a, SOON).await.expect("facts").source.waiting == 1).await;
    assert_eq!(a.facts().await.executed, before);
    replication::start_receiver(&mut on_b, &replicator(), SOON).await.expect("receiver");
    writing.await.expect("task").expect("acknowledged");
    assert_eq!(a.facts().await.executed.count(), before.count() + 1);
}

#[tokio::test]
async fn the_algebra_is_the_servers_own() {
    let a = Server::start("a").await;
    let mut session = a.session().await;
    let (u, v) = ("3e11fa47-71ca-11e1-9e33-c80aa9429562", "ffffffff-71ca-11e1-9e33-c80aa9429562");
    let texts = [
        String::new(),
        format!("{u}:1-5"),
        format!("{u}:3:5-9:11:purge:1-3,{v}:1"),
        format!("{v}:7-5:2-2:1, \n{}:20-30:10-19", u.to_uppercase()),
        format!("{u}:purge:2:a:5-6:1-100,{v}:x:1-9223372036854775806"),
    ];
    for left in &texts {
        for right in &texts {
            let (l, r) = (GtidSet::parse(left).expect("a set"), GtidSet::parse(right).expect("a set"));
            let sql = format!("SELECT concat_ws('|', GTID_SUBSET('{right}', '{left}'), GTID_SUBTRACT('{left}', '{right}'))");
            let theirs = session.scalar(&sql, SOON).await.expect("their answer");
            let ours = format!("{}|{}", u8::from(l.contains(&r)), l.subtract(&r));
            assert_eq!(theirs.as_deref(), Some(ours.as_str()), "{left} and {right}");
        }
    }
    let sum = texts.iter().fold(GtidSet::default(), |sum, t| sum.union(&GtidSet::parse(t).expect("a set")));
    role::reopen_writes(&mut session, SOON).await.expect("open");
    session.exec(&format!("SET GLOBAL gtid_purged='{sum}'"), SOON).await.expect("purged");
    assert_eq!(session.scalar("SELECT @@global.gtid_executed", SOON).await.expect("set"), Some(sum.to_string()));
}
