//! The steps of a failover by verbs: fence, drain, open; and what must never happen on the way.

use std::time::Duration;

use shardpair::mysql::{Error, facts, replication, role, sessions};
use shardpair::pair::facts::ReceiverState;

use crate::harness::{AS_PRIMARY, SOON, application, count, eventually, pair, replicator};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_fenced_standby_acknowledges_nothing() {
    let (a, b) = pair().await;
    let (mut on_a, mut on_b) = (a.session().await, b.session().await);
    replication::stop_receiver(&mut on_b, SOON).await.expect("fence");
    replication::stop_receiver(&mut on_b, SOON).await.expect("again");
    assert_eq!(b.facts().await.channel.expect("a channel").receiver, ReceiverState::Off);
    let mut app = a.session_as(&application()).await;
    let silent = app.exec("INSERT INTO d.t VALUES (1, 'a', 1)", Duration::from_millis(700)).await.expect_err("waits");
    assert!(matches!(silent, Error::NoAnswer { .. }), "{silent}");
    // What would answer it with OK is refused. (`SET super_read_only` waits for the commit, and is given up.)
    let refused = role::become_standby(&mut on_a, SOON).await.expect_err("refused");
    assert!(matches!(refused, Error::CommitsWait { .. }) || refused.code() == Some(1205), "{refused}");
    assert!(a.facts().await.source.enabled);
    let closing = role::close_writes(&mut on_a, Duration::from_secs(1)).await.expect_err("a commit waits");
    assert!(matches!(closing, Error::TimedOut { .. }), "{closing}");
    assert!(!a.facts().await.super_read_only, "open as before");
    assert_eq!(count(&mut on_a, "id=1").await, 0);
}

#[tokio::test]
async fn what_was_received_survives_the_death_of_both_and_is_drained() {
    let (mut a, mut b) = pair().await;
    let mut on_b = b.session().await;
    replication::stop_applier(&mut on_b, SOON).await.expect("stop the applier");
    let mut app = a.session_as(&application()).await;
    for id in 1..=3 {
        app.exec(&format!("INSERT INTO d.t VALUES ({id}, 'acked', 0)"), SOON).await.expect("acknowledged");
    }
    // Nothing that would drop it is done (invariant 5).
    let elsewhere = replication::Source { host: "127.0.0.1".into(), port: 9 };
    for refused in [
        replication::attach(&mut on_b, &elsewhere, &replicator(), SOON).await.expect_err("refused"),
        replication::detach(&mut on_b, SOON).await.expect_err("refused"),
        role::open_primary(&mut on_b, role::OpenAs { stop_channel: true, ..AS_PRIMARY }, SOON).await.expect_err("refused"),
    ] {
        assert!(matches!(&refused, Error::NotDrained { missing, .. } if missing.count() == 3), "{refused}");
    }
    a.power_cut();
    b.power_cut();
    b.run(false);
    let mut on_b = b.session().await;
    let held = replication::state(&mut on_b, SOON).await.expect("state");
    assert_eq!(held.undrained().count(), 3);
    assert_eq!(held.receiver, ReceiverState::Off);
    replication::start_applier(&mut on_b, SOON).await.expect("the drain");
    replication::wait_executed(&mut on_b, &held.received, LONG).await.expect("drained");
    role::open_primary(&mut on_b, role::OpenAs { ack: false, interleave: Some((2, 2)), stop_channel: true }, SOON).await.expect("open");
    assert_eq!(count(&mut on_b, "v='acked'").await, 3);
    let facts = b.facts().await;
    assert!(!facts.super_read_only && !facts.offline_mode && !facts.source.enabled && facts.events_on);
}

#[tokio::test]
async fn a_required_acknowledgement_is_there_before_the_first_write() {
    let (mut a, b) = pair().await;
    a.power_cut();
    let mut on_b = b.session().await;
    replication::stop_receiver(&mut on_b, SOON).await.expect("fence");
    role::open_primary(&mut on_b, role::OpenAs { stop_channel: true, ..AS_PRIMARY }, SOON).await.expect("open");
    let mut app = b.session_as(&application()).await;
    assert!(matches!(app.exec("INSERT INTO d.t VALUES (1, 'a', 1)", Duration::from_millis(500)).await, Err(Error::NoAnswer { .. })));
    assert_eq!(sessions::commits_waiting(&mut on_b, SOON).await.expect("list"), 1);
    role::relax_acks(&mut on_b, SOON).await.expect("as recorded Solo would");
    eventually("the waiting commit goes through", async || count(&mut on_b, "id=1").await == 1).await;
}

#[tokio::test]
async fn told_to_stop_a_member_answers_no_waiting_commit() {
    let (mut a, b) = pair().await;
    let (mut on_a, mut on_b) = (a.session().await, b.session().await);
    replication::stop_receiver(&mut on_b, SOON).await.expect("fence");
    let mut writers = Vec::new();
    for id in 1..=4 {
        let mut app = a.session_as(&application()).await;
        writers.push(tokio::spawn(async move { app.exec(&format!("INSERT INTO d.t VALUES ({id}, 'x', 0)"), LONG).await }));
    }
    eventually("a commit waits", async || facts::read(&mut on_a, SOON).await.expect("facts").source.waiting >= 1).await;
    a.signal_entry("TERM");
    for writer in writers {
        let answer = writer.await.expect("task");
        assert!(matches!(answer, Err(Error::Broken { .. })), "a commit that nobody acknowledged was answered: {answer:?}");
    }
    assert_eq!(a.ended().await, Some(0));
}

#[tokio::test]
async fn an_attached_channel_that_runs_is_not_changed_and_a_stopped_one_that_is_applied_is_begun_anew() {
    let (a, b) = pair().await;
    let mut on_b = b.session().await;
    replication::stop_receiver(&mut on_b, SOON).await.expect("stop");
    replication::stop_applier(&mut on_b, SOON).await.expect("stop");
    let all = replication::state(&mut on_b, SOON).await.expect("state");
    assert!(all.undrained().is_empty());
    let changes = b.log().matches("CHANGE REPLICATION SOURCE").count();
    replication::attach(&mut on_b, &a.source(), &replicator(), SOON).await.expect("attach");
    assert_eq!(b.log().matches("CHANGE REPLICATION SOURCE").count(), changes + 1);
    replication::attach(&mut on_b, &a.source(), &replicator(), SOON).await.expect("again");
    assert_eq!(b.log().matches("CHANGE REPLICATION SOURCE").count(), changes + 1);
    let mut app = a.session_as(&application()).await;
    app.exec("INSERT INTO d.t VALUES (1, 'a', 1)", LONG).await.expect("acknowledged");
    // As one that doesn't acknowledge.
    replication::follow(&mut on_b, &a.source(), &replicator(), SOON).await.expect("follow");
    eventually("no acker is left", async || a.facts().await.source.clients == 0).await;
    // Nothing of the replication password is kept.
    let stored = "SELECT concat(user_name, user_password) FROM mysql.slave_master_info";
    assert_eq!(on_b.scalar(stored, SOON).await.expect("stored").as_deref(), Some(""));
    replication::detach(&mut on_b, SOON).await.expect("detach");
    replication::detach(&mut on_b, SOON).await.expect("again");
    assert!(b.facts().await.channel.is_none());
}
