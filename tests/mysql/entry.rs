//! The entry script: what it initialises, what it refuses, how it supervises.

use std::time::Duration;

use shardpair::mysql::role;

use crate::harness::{SOON, Server, eventually};

#[tokio::test]
async fn an_unexpectedly_empty_volume_is_refused() {
    let mut a = Server::prepare("a");
    a.run(false);
    assert_eq!(a.ended().await, Some(78));
    assert!(a.log().contains("it is not initialised"), "{}", a.log());
    assert_eq!(std::fs::read_dir(a.dir.join("volume")).expect("the volume").count(), 0);
}

#[tokio::test]
async fn a_kill_in_the_middle_of_initialising_is_made_good() {
    let mut a = Server::prepare("a");
    a.run(true);
    eventually("mysqld initialises", async || a.dir.join("volume/initialising/ibdata1").exists()).await;
    a.power_cut();
    assert!(!a.dir.join("volume/data").exists());
    // Without the operator's word it is still an empty volume.
    a.run(false);
    assert_eq!(a.ended().await, Some(78));
    a.run(true);
    a.session().await.close().await;
    assert!(a.facts().await.executed.is_empty());
    assert!(!a.dir.join("volume/initialising").exists());
}

#[tokio::test]
async fn a_shutdown_on_request_rests_and_sigterm_ends_the_rest() {
    let mut a = Server::start("a").await;
    let mut session = a.session().await;
    let _ = session.exec("SHUTDOWN", SOON).await;
    eventually("mysqld has ended", async || a.mysqld_pid().is_none() && a.log().contains("on request")).await;
    assert!(alive(&a), "resting is no reason to restart the container");
    a.signal_entry("TERM");
    assert_eq!(a.ended().await, Some(0));
}

#[tokio::test]
async fn restart_comes_back_in_place_and_a_mysqld_that_keeps_dying_is_given_up() {
    let mut a = Server::start("a").await;
    let mut session = a.session().await;
    role::reopen_writes(&mut session, SOON).await.expect("open");
    let before = a.facts().await;
    assert!(alive(&a));
    let _ = session.exec("RESTART", SOON).await;
    eventually("another process answers", async || a.facts().await.process != before.process).await;
    assert!(a.facts().await.super_read_only, "a boot harms nobody");
    for _ in 0..6 {
        eventually("a mysqld runs", async || a.mysqld_pid().is_some()).await;
        let pid = a.mysqld_pid();
        a.signal_mysqld("KILL");
        eventually("it is gone", async || a.mysqld_pid() != pid).await;
    }
    assert_eq!(a.ended().await, Some(1));
    assert!(a.log().contains("died 6 times"), "{}", a.log());
    tokio::time::timeout(Duration::from_secs(1), async { assert!(!alive(&a)) }).await.expect("a quick probe");
}

/// Runs the liveness probe inside the container.
fn alive(server: &Server) -> bool {
    let Some(entry) = server.entry_pid() else { return false };
    let mut probe = std::process::Command::new("nsenter");
    probe.args(["--mount", "--pid", "--root", "--wd=/", "--target", &entry.to_string(), "/bin/bash", "/etc/shardpair/entry.sh", "alive"]);
    probe.status().expect("nsenter").success()
}
