//! A relay log that a power cut has spoilt: what MySQL makes of it, and how a standby gets over it.

use std::fs::OpenOptions;
use std::path::PathBuf;

use shardpair::mysql::error::Error;
use shardpair::mysql::gtid::GtidSet;
use shardpair::mysql::session::Session;
use shardpair::mysql::{facts, replication};

use crate::harness::{SOON, Server, eventually, pair, replicator};

/// The file that the receiver wrote last.
fn newest(member: &Server) -> PathBuf {
    let data = std::fs::read_dir(member.dir.join("volume/data")).expect("data").flatten().map(|e| e.path());
    let relay = |p: &PathBuf| p.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with("relay.0"));
    data.filter(relay).filter(|p| p.metadata().is_ok_and(|m| m.len() > 1_000)).max().expect("a relay log")
}

async fn writes(on_a: &mut Session, ids: std::ops::Range<u32>) {
    for id in ids {
        on_a.exec(&format!("INSERT INTO d.t VALUES ({id}, 'v', 0)"), SOON).await.expect("acknowledged");
    }
}

/// Rows that the standby has received, and applied or not; then the power goes.
async fn cut(on_a: &mut Session, b: &mut Server, ids: std::ops::Range<u32>, applied: bool) {
    let mut on_b = b.session().await;
    if !applied {
        replication::stop_applier(&mut on_b, SOON).await.expect("stop");
    }
    writes(on_a, ids).await;
    if applied {
        let all = replication::state(on_a, SOON).await.expect("state").executed;
        replication::wait_executed(&mut on_b, &all, SOON).await.expect("applied");
    }
    b.power_cut();
}

async fn follows(a: &Server, b: &Server, on_b: &mut Session) {
    replication::attach(on_b, &a.source(), &replicator(), SOON).await.expect("attach");
    let all = a.facts().await.executed;
    replication::wait_executed(on_b, &all, SOON).await.unwrap_or_else(|e| panic!("{e}\n{}", b.log()));
}

/// Seen with 9.7.1: taken up as it is, the applier "runs" for ever without an error and applies nothing.
#[tokio::test]
async fn a_relay_log_whose_file_is_missing_is_begun_anew() {
    let (a, mut b) = pair().await;
    let mut on_a = a.session().await;
    let mut next = 0;
    for applied in [true, false] {
        cut(&mut on_a, &mut b, next..next + 20, applied).await;
        std::fs::remove_file(newest(&b)).expect("remove");
        b.run(false);
        let mut on_b = b.session().await;
        follows(&a, &b, &mut on_b).await;
        writes(&mut on_a, next + 20..next + 30).await;
        next += 30;
        follows(&a, &b, &mut on_b).await;
    }
}

/// The applier says so, with the error by which the decision knows it; nothing more is dropped than it names.
#[tokio::test]
async fn an_unreadable_relay_log_is_received_again() {
    let (a, mut b) = pair().await;
    let mut on_a = a.session().await;
    cut(&mut on_a, &mut b, 0..20, false).await;
    b.run(false);
    let mut on_b = b.session().await;
    // A second file, after the one that will be empty: without it nothing is left to apply, and the log is begun anew.
    let first = newest(&b);
    on_b.exec("SET GLOBAL rpl_semi_sync_replica_enabled=1", SOON).await.expect("an acker");
    replication::start_receiver(&mut on_b, &replicator(), SOON).await.expect("receive");
    writes(&mut on_a, 20..40).await;
    b.power_cut();
    OpenOptions::new().write(true).open(first).expect("open").set_len(0).expect("empty");
    b.run(false);
    let mut on_b = b.session().await;
    // It may have stopped by the time it is looked at.
    if let Err(error) = replication::attach(&mut on_b, &a.source(), &replicator(), SOON).await {
        assert!(error.to_string().contains("13117"), "{error}");
    }
    eventually("the applier's error", async || {
        let channel = facts::read(&mut on_b, SOON).await.expect("facts").channel.expect("a channel");
        channel.applier_error.starts_with("13117:")
    })
    .await;
    let seen = replication::state(&mut on_b, SOON).await.expect("state");
    assert!(!seen.undrained().is_empty());
    let refused = replication::drop_relay_log(&mut on_b, &GtidSet::default(), SOON).await;
    assert!(matches!(&refused, Err(Error::NotDrained { missing, .. }) if *missing == seen.undrained()), "{refused:?}");
    replication::drop_relay_log(&mut on_b, &seen.undrained(), SOON).await.expect("dropped");
    follows(&a, &b, &mut on_b).await;
}
