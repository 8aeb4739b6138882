//! The chart as an installer meets it.

use crate::support::cluster::{SYSTEM, operator_is_installed};
use crate::support::{output, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn helm_test_says_that_the_installation_is_whole() {
    operator_is_installed().await;
    let said = run("helm", &["test", "shardpair", "-n", SYSTEM, "--timeout", "90s"]).await;
    assert!(said.contains("Succeeded"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_value_is_refused_before_anything_is_installed() {
    for (value, word) in [("replicas=0", "replicas"), ("metrics.serviceMonitor.interval=soon", "interval"), ("nosuch=1", "nosuch")] {
        let ran = output("helm", &["template", "x", "charts/shardpair", "--set", value]).await;
        let text = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(!ran.status.success() && text.contains(word), "{value}: {text}");
    }
}
