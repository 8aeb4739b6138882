//! The accounts that the entry script makes, and what they may do. (All other tests run every verb as the operator.)

use shardpair::mysql::{Credentials, accounts, role, sessions};

use crate::harness::{AS_PRIMARY, SOON, Server, application, pair, replicator};
use shardpair::mysql::role::OpenAs;

#[tokio::test]
async fn a_new_member_has_no_history_and_no_open_account() {
    let a = Server::start("a").await;
    let facts = a.facts().await;
    assert!(facts.executed.is_empty(), "{facts:?}");
    assert!(facts.super_read_only && facts.offline_mode && !facts.events_on && !facts.source.enabled && !facts.replica_enabled);
    let mut session = a.session().await;
    let open = "SELECT group_concat(user) FROM mysql.user WHERE account_locked='N'";
    assert_eq!(session.scalar(open, SOON).await.expect("users").as_deref(), Some("replication,shardpair"));
    let grants = session.rows("SHOW GRANTS", SOON).await.expect("grants");
    let grants = grants.iter().filter_map(|g| g.at(0)).collect::<Vec<_>>().join("\n");
    assert!(!grants.contains("SUPER") && !grants.contains("ALL PRIVILEGES") && !grants.contains("FILE"), "{grants}");
    assert!(!a.log().contains("pässword") && !a.log().contains("ator\""), "a password is in the log");
}

#[tokio::test]
async fn the_application_gets_its_databases_and_nothing_else_once() {
    let a = Server::start("a").await;
    let mut session = a.session().await;
    role::open_primary(&mut session, OpenAs { ack: false, ..AS_PRIMARY }, SOON).await.expect("open");
    let databases = ["shop_1".to_owned(), "b`c".to_owned()];
    let first = accounts::bootstrap_primary(&mut session, &databases, &application(), SOON).await.expect("bootstrap");
    assert_eq!((first.databases, first.account, first.password, first.rights), (2, true, false, true));
    let executed = a.facts().await.executed;
    let again = accounts::bootstrap_primary(&mut session, &databases, &application(), SOON).await.expect("bootstrap");
    assert_eq!(again, accounts::Changed::default());
    assert_eq!(a.facts().await.executed, executed, "doing nothing wrote something");

    let mut app = a.session_as(&application()).await;
    app.exec("CREATE TABLE shop_1.t (id INT)", SOON).await.expect("its own database");
    // `_` is no wildcard in what was granted.
    session.exec("CREATE DATABASE shopx1", SOON).await.expect("another database");
    assert_eq!(app.exec("CREATE TABLE shopx1.t (id INT)", SOON).await.expect_err("foreign").code(), Some(1142));
    assert_eq!(app.exec("SELECT * FROM mysql.user", SOON).await.expect_err("foreign").code(), Some(1142));

    let changed = Credentials { password: "another".into(), ..application() };
    let third = accounts::bootstrap_primary(&mut session, &databases[..1], &changed, SOON).await.expect("bootstrap");
    assert_eq!((third.databases, third.account, third.password, third.rights), (0, false, true, true));
    let mut app = a.session_as(&changed).await;
    assert!(app.exec("CREATE TABLE `b``c`.t (id INT)", SOON).await.is_err(), "rights on a former database");
}

#[tokio::test]
async fn nothing_of_it_is_done_while_a_commit_waits() {
    let (a, b) = pair().await;
    let (mut on_a, mut on_b) = (a.session().await, b.session().await);
    shardpair::mysql::replication::stop_receiver(&mut on_b, SOON).await.expect("fence");
    let mut app = a.session_as(&application()).await;
    let writing = tokio::spawn(async move { app.exec("INSERT INTO d.t VALUES (1, 'a', 1)", std::time::Duration::from_secs(60)).await });
    crate::harness::eventually("a commit waits", async || sessions::commits_waiting(&mut on_a, SOON).await.expect("list") == 1).await;
    let other = Credentials { password: "x".into(), ..application() };
    let refused = accounts::bootstrap_primary(&mut on_a, &["d".to_owned()], &other, SOON).await.expect_err("refused");
    assert!(matches!(refused, shardpair::mysql::Error::CommitsWait { waiting: 1, .. }), "{refused}");
    shardpair::mysql::replication::start_receiver(&mut on_b, &replicator(), SOON).await.expect("receiver");
    writing.await.expect("task").expect("acknowledged");
}
