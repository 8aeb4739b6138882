//! Ending sessions, and what a heartbeat meets.

use std::time::Duration;

use shardpair::mysql::heartbeat::{Outcome, beat};
use shardpair::mysql::{Error, replication, role, sessions};

use crate::harness::{SOON, application, eventually, operator, pair, replicator};

#[tokio::test]
async fn older_sessions_of_the_operator_end_and_the_kept_ones_stay() {
    let (a, _b) = pair().await;
    let (mut older, mut kept, mut app) = (a.session().await, a.session().await, a.session_as(&application()).await);
    let mut leader = a.session().await;
    let keep = [kept.id()];
    assert!(sessions::end_older_sessions(&mut leader, &operator().user, &keep, SOON).await.expect("ended") >= 1);
    assert!(older.exec("DO 1", SOON).await.is_err());
    kept.exec("DO 1", SOON).await.expect("kept");
    app.exec("DO 1", SOON).await.expect("not the operator's");
    assert_eq!(sessions::end_older_sessions(&mut leader, &operator().user, &keep, SOON).await.expect("again"), 0);
    // The application's go, replication's stay.
    assert_eq!(sessions::end_application_sessions(&mut leader, &[&operator().user, &replicator().user], SOON).await.expect("ended"), 1);
    assert!(app.exec("DO 1", SOON).await.is_err());
    assert_eq!(a.facts().await.source.clients, 1);
}

#[tokio::test]
async fn a_session_killed_in_the_wait_for_an_acknowledgement_counts_as_ended() {
    let (a, b) = pair().await;
    let mut on_b = b.session().await;
    replication::stop_receiver(&mut on_b, SOON).await.expect("fence");
    let mut older = a.session().await;
    let id = older.id();
    let beating = tokio::spawn(async move { beat(&mut older, 1, 3, Duration::from_secs(30)).await });
    let mut leader = a.session().await;
    eventually("the beat waits", async || sessions::commits_waiting(&mut leader, SOON).await.expect("list") == 1).await;
    assert_eq!(sessions::waits_for_lock(&mut leader, id, SOON).await.expect("list"), None, "an acknowledgement is no lock");
    assert_eq!(sessions::end_session(&mut leader, id, SOON).await.expect("ended"), 1);
    assert!(matches!(beating.await.expect("task"), Outcome::Gone(_)));
    assert_eq!(sessions::end_older_sessions(&mut leader, &operator().user, &[], SOON).await.expect("nothing is left"), 0);
}

#[tokio::test]
async fn a_heartbeat_tells_locks_from_read_only_from_silence() {
    let (a, b) = pair().await;
    let (mut beater, mut person, mut looker) = (a.session().await, a.session().await, a.session().await);
    assert_eq!(beat(&mut beater, 1, 1, SOON).await, Outcome::Written);
    assert!(matches!(beat(&mut b.session().await, 1, 1, SOON).await, Outcome::ReadOnly));
    for (lock, unlock) in [("FLUSH TABLES WITH READ LOCK", "UNLOCK TABLES"), ("LOCK TABLES shardpair.heartbeat READ", "UNLOCK TABLES")] {
        person.exec(lock, SOON).await.expect("a lock");
        let id = beater.id();
        let beating = tokio::spawn(async move {
            let outcome = beat(&mut beater, 1, 2, SOON).await;
            (beater, outcome)
        });
        eventually("the beat waits for the lock", async || sessions::waits_for_lock(&mut looker, id, SOON).await.expect("list").is_some()).await;
        let (returned, outcome) = beating.await.expect("task");
        beater = returned;
        assert!(matches!(outcome, Outcome::Locked(_)), "{lock}: {outcome:?}");
        person.exec(unlock, SOON).await.expect("unlock");
    }
    assert_eq!(beat(&mut beater, 1, 2, SOON).await, Outcome::Written);
    replication::stop_receiver(&mut b.session().await, SOON).await.expect("fence");
    let outcome = beat(&mut beater, 1, 3, Duration::from_millis(300)).await;
    assert!(matches!(outcome, Outcome::NoAnswer(Error::NoAnswer { .. })), "{outcome:?}");
    a.signal_mysqld("KILL");
    let mut beater = a.session().await;
    a.signal_mysqld("KILL");
    assert!(matches!(beat(&mut beater, 1, 3, SOON).await, Outcome::Gone(_)));
}

#[tokio::test]
async fn a_session_from_before_the_numbers_were_set_ends_and_one_that_has_not_logged_in_as_well() {
    let (_a, b) = pair().await;
    let mut leader = b.session().await;
    let (mut reader, replicating) = (b.session_as(&application()).await, b.session_as(&replicator()).await);
    let endpoint = b.endpoint();
    // It greets us and waits for our name.
    let _knocks = tokio::net::TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await.expect("a connection");
    let keep = [operator().user, replicator().user];
    let keep = [keep[0].as_str(), keep[1].as_str()];
    eventually("it hasn't logged in", async || {
        leader.rows("SHOW PROCESSLIST", SOON).await.expect("list").iter().any(|row| row.get("User") == Some("unauthenticated user"))
    })
    .await;
    assert_eq!(role::number_ids(&mut leader, (2, 2), &keep, SOON).await.expect("ended"), 2);
    assert!(reader.exec("DO 1", SOON).await.is_err());
    let mut later = b.session_as(&application()).await;
    assert_eq!(later.scalar("SELECT concat(@@auto_increment_increment, @@auto_increment_offset)", SOON).await.expect("numbers").as_deref(), Some("22"));
    assert_eq!(role::number_ids(&mut leader, (2, 2), &keep, SOON).await.expect("nothing"), 0);
    later.exec("DO 1", SOON).await.expect("it has the right ones");
    drop(replicating);
}
