//! Counters for metrics: all are told by a stock server, and asking for them hangs on nothing.

use std::time::Duration;

use shardpair::mysql::status::{VALUES, disk, read};
use shardpair::mysql::{replication, sessions};

use crate::harness::{SOON, eventually, pair};

#[tokio::test]
async fn every_counter_is_told_with_and_without_performance_schema() {
    // A runs without it, B with.
    let (a, b) = pair().await;
    for server in [&a, &b] {
        let mut session = server.session().await;
        let told = read(&mut session, SOON).await.expect("counters");
        let missing: Vec<&str> = VALUES.iter().zip(&told).filter(|(_, v)| v.is_none()).map(|(v, _)| v.of).collect();
        assert!(missing.is_empty(), "{} doesn't tell {missing:?}", server.name);
        let of = |name: &str| VALUES.iter().position(|v| v.name == name).and_then(|at| told[at]).expect("a value");
        assert_eq!(of("connections_max"), 60.0);
        assert!(of("connections_used") >= 1.0 && of("queries") > 1.0 && of("uptime_seconds") >= 0.0);
        let files = disk(&mut session, SOON).await.expect("sizes");
        assert!(files.data > 1_000_000 && files.binlogs > 100 && files.redo >= 8 << 20, "{files:?}");
    }
    let mut on_a = a.session().await;
    let told = read(&mut on_a, SOON).await.expect("counters");
    let acked = VALUES.iter().position(|v| v.name == "semisync_ackers").and_then(|at| told[at]);
    assert_eq!(acked, Some(1.0));
}

#[tokio::test]
async fn counters_answer_while_an_account_statement_waits_for_an_acknowledgement() {
    let (a, b) = pair().await;
    let (mut on_a, mut other, mut on_b) = (a.session().await, a.session().await, b.session().await);
    replication::stop_receiver(&mut on_b, SOON).await.expect("fence");
    let hung = tokio::spawn(async move { other.exec("CREATE USER waits", Duration::from_secs(3)).await });
    eventually("the statement waits", async || sessions::commits_waiting(&mut on_a, SOON).await.expect("list") == 1).await;
    let told = read(&mut on_a, Duration::from_secs(2)).await.expect("counters behind a waiting account statement");
    let waiting = VALUES.iter().position(|v| v.name == "semisync_waiting").and_then(|at| told[at]);
    assert_eq!(waiting, Some(1.0));
    assert!(hung.await.expect("task").is_err());
}
