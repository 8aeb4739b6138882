//! What a session tells apart: gone, silent, refusing.

use std::time::{Duration, Instant};

use shardpair::api::names;
use shardpair::mysql::session::watch;
use shardpair::mysql::{Credentials, Endpoint, Error, Session};

use crate::harness::{SOON, Server, operator, replicator};

#[tokio::test]
async fn a_closed_port_a_wrong_password_and_an_error_are_different_things() {
    let a = Server::start("a").await;
    let nobody = Endpoint { port: 9, ..a.endpoint() };
    let refused = Session::connect(&nobody, &operator(), SOON).await.expect_err("nothing listens");
    assert!(matches!(refused, Error::Refused { .. }), "{refused}");
    let wrong = Credentials { password: "wrong".into(), ..operator() };
    let denied = Session::connect(&a.endpoint(), &wrong, SOON).await.expect_err("denied");
    assert!(matches!(denied, Error::Denied { code: 1045, .. }), "{denied}");
    let mut session = a.session().await;
    let error = session.exec("SELECT * FROM no.such", SOON).await.expect_err("no such table");
    assert!(matches!(error.code(), Some(1049 | 1146)), "{error}");
    assert!(session.is_usable());
    let shown = format!("{:?} {session:?} {denied} {denied:?}", operator());
    assert!(!shown.contains("ator"), "a secret is shown: {shown}");
}

#[tokio::test]
async fn an_error_in_a_statement_with_a_secret_does_not_quote_it() {
    let a = Server::start("a").await;
    let mut session = a.session().await;
    let error = session.exec_secret("setting a password", "SET PASSWORD x = 'hush'", SOON).await.expect_err("syntax");
    assert!(!format!("{error} {error:?}").contains("hush"), "{error}");
}

#[tokio::test]
async fn a_watched_process_that_dies_is_seen_at_once_and_its_name_changes() {
    let a = Server::start("a").await;
    let before = a.facts().await;
    let watching = tokio::spawn(watch(a.session().await));
    let mut other = a.session().await;
    let sleeps = "SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'DO SLEEP%'";
    crate::harness::eventually("the watch has begun", async || other.scalar(sleeps, SOON).await.expect("list") != Some("0".into())).await;
    let killed = Instant::now();
    a.signal_mysqld("KILL");
    let reason = watching.await.expect("the watch ends");
    assert!(matches!(reason, Error::Broken { .. }), "{reason}");
    assert!(killed.elapsed() < Duration::from_secs(2), "seen after {:?}", killed.elapsed());
    // Supervision brings it back, as another process of the same boot.
    let after = a.facts().await;
    assert_ne!(before.process, after.process);
    assert_eq!(before.process[..9], after.process[..9]);
    assert_eq!(before.server_uuid, after.server_uuid);
    assert!(after.super_read_only && after.offline_mode && !after.source.enabled && after.channel.is_none());
}

#[tokio::test]
async fn a_stopped_process_gives_no_answer_and_the_command_runs_when_it_wakes() {
    let a = Server::start("a").await;
    let mut session = a.session().await;
    let id = session.id();
    a.signal_mysqld("STOP");
    let silent = session.exec("SET GLOBAL max_connect_errors=77", Duration::from_millis(200)).await.expect_err("silent");
    assert!(matches!(silent, Error::NoAnswer { session, .. } if session == id), "{silent}");
    assert!(!session.is_usable());
    let connecting = Session::connect(&a.endpoint(), &operator(), Duration::from_millis(200)).await.expect_err("silent");
    assert!(matches!(connecting, Error::NoAnswer { session: 0, .. }), "{connecting}");
    a.signal_mysqld("CONT");
    let mut other = a.session().await;
    crate::harness::eventually("the command ran", async || other.scalar("SELECT @@max_connect_errors", SOON).await.expect("value") == Some("77".into())).await;
}

/// The administrative interface: max_connections doesn't count there.
#[tokio::test]
async fn a_server_full_of_clients_lets_the_operator_in_by_its_own_port() {
    let host = format!("127.7.{}.1", std::process::id() % 250 + 1);
    let a = Server::start_at("a", &host, &[("max_connections", "5")]).await;
    let own = Endpoint { port: names::ADMIN_PORT as u16, ..a.endpoint() };
    let mut crowd = Vec::new();
    let full = loop {
        match Session::connect(&a.endpoint(), &operator(), SOON).await {
            Ok(session) => crowd.push(session),
            Err(error) => break error,
        }
        assert!(crowd.len() < 20, "it isn't ever full");
    };
    assert_eq!(full.code(), Some(1040), "{full}");
    let session = Session::connect(&own, &operator(), SOON).await.expect("a way in");
    assert_eq!(session.endpoint(), &own);
    // One who may not use it (as the operator's account of a volume that is older than this) comes in as everybody does.
    for session in crowd {
        session.close().await;
    }
    crate::harness::eventually("there is room", async || {
        let connected = Session::connect(&own, &replicator(), SOON).await;
        connected.is_ok_and(|session| session.endpoint() == &a.endpoint())
    })
    .await;
}
