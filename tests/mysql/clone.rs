//! CLONE: the mark, the restart in place, and following the donor afterwards.

use std::time::Duration;

use shardpair::mysql::gtid::GtidSet;
use shardpair::mysql::{clone, replication, role};

use crate::harness::{SOON, application, count, eventually, pair, replicator};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_marked_member_becomes_a_copy_and_follows() {
    let (a, b) = pair().await;
    let mut app = a.session_as(&application()).await;
    app.exec("INSERT INTO d.t VALUES (1, 'a', 1)", SOON).await.expect("acknowledged");
    let (mut on_a, mut on_b) = (a.session().await, b.session().await);
    role::relax_acks(&mut on_a, SOON).await.expect("Solo");
    let unmarked = clone::clone_from(&mut on_b, &a.source(), &replicator(), LONG).await.expect_err("not marked");
    assert!(unmarked.to_string().contains("mark"), "{unmarked}");
    let before = b.facts().await;
    clone::mark(&mut on_b, SOON).await.expect("marked");
    clone::mark(&mut on_b, SOON).await.expect("again");
    let marked = b.facts().await;
    assert!(marked.rebuild_marker && marked.super_read_only && !before.rebuild_marker);
    assert_eq!(marked.executed, before.executed, "the mark is unlogged");
    assert!(!a.facts().await.rebuild_marker);

    let (donor, mut cloner) = (a.source(), b.session().await);
    let cloning = tokio::spawn(async move { clone::clone_from(&mut cloner, &donor, &replicator(), LONG).await });
    let mut seen = String::new();
    eventually("the statement ends", async || {
        let list = on_b.rows("SHOW FULL PROCESSLIST", SOON).await.unwrap_or_default();
        seen.extend(list.iter().filter_map(|row| row.get("Info")));
        cloning.is_finished()
    })
    .await;
    cloning.await.expect("task").expect("cloned");
    assert!(!seen.contains("pässword"), "the password is in the process list");
    eventually("the marker is gone", async || !b.facts().await.rebuild_marker).await;
    let after = b.facts().await;
    assert_ne!(after.process, before.process);
    assert_eq!(after.server_uuid, before.server_uuid);
    assert!(after.super_read_only && after.offline_mode && after.cloning.is_none());
    assert!(a.facts().await.executed.contains(&after.executed) && after.executed != GtidSet::default());
    let mut on_b = b.session().await;
    assert_eq!(clone::status(&mut on_b, SOON).await.expect("status").state, "Completed");
    println!("channel after the clone: {:?}", after.channel);

    on_a.exec("INSERT INTO d.t VALUES (2, 'later', 2)", SOON).await.expect("Solo");
    role::become_standby(&mut on_b, SOON).await.expect("standby");
    replication::attach(&mut on_b, &a.source(), &replicator(), SOON).await.expect("attach");
    crate::harness::sync(&mut on_a, &mut on_b).await;
    assert_eq!(count(&mut on_b, "true").await, 2);
}

#[tokio::test]
async fn a_donor_whose_commits_wait_is_not_cloned_until_its_process_has_ended() {
    // As with `durability: Required`: commits wait for a standby that has to be cloned first, and the clone for the commits.
    let (mut a, b) = pair().await;
    let mut on_b = b.session().await;
    replication::stop_receiver(&mut on_b, SOON).await.expect("fence");
    let mut app = a.session_as(&application()).await;
    let waiting = tokio::spawn(async move { app.exec("INSERT INTO d.t VALUES (1, 'waits', 1)", LONG).await });
    eventually("the commit waits", async || a.facts().await.source.waiting == 1).await;
    clone::mark(&mut on_b, SOON).await.expect("marked");
    let (mut cloner, brief) = (b.session().await, Duration::from_secs(5));
    let hangs = clone::clone_from(&mut cloner, &a.source(), &replicator(), brief).await.expect_err("it waits for the commit");
    assert!(hangs.to_string().contains("no answer"), "{hangs}");
    a.power_cut();
    waiting.await.expect("task").expect_err("never acknowledged");
    a.run(false);
    eventually("the donor is back, closed", async || a.facts().await.super_read_only).await;
    let mut on_b = b.session().await;
    shardpair::mysql::sessions::end_older_sessions(&mut on_b, &crate::harness::operator().user, &[], SOON).await.expect("the hanging clone ends");
    let mut cloner = b.session().await;
    clone::clone_from(&mut cloner, &a.source(), &replicator(), LONG).await.expect("cloned from a closed donor");
    eventually("the marker is gone", async || !b.facts().await.rebuild_marker).await;
    assert_eq!(count(&mut b.session().await, "v='waits'").await, 1);
}
