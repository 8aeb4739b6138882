//! An upgrade from the chart before, as docs/operations.md says: databases don't notice it, and what may be in its way goes as told.
//!
//! The chart before is taken from the repository's history. Its CRDs and objects are the old ones; the operator in its pods is this
//! tree's all the same, since no registry has the old one.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use futures::FutureExt;
use kube::{Client, ResourceExt};

use crate::support::cluster::{SYSTEM, install, install_with};
use crate::support::shop::{READY, Shop, pod};
use crate::support::{output, root, run, secs, with_temp_ns_for};

/// The commit whose chart is the version before; at a release, the tag of the last one.
const BEFORE: &str = "878690d";
const LIMIT: Duration = secs(420);
const CRDS: &str = "jsonpath={range .items[?(@.spec.group==\"shardpair.io\")]}{.spec.versions}{end}";

fn chart_before() -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("chart-before");
    std::fs::create_dir_all(&dir).expect("a directory");
    let unpacked = Command::new("sh").current_dir(root()).args(["-c", &format!("git archive {BEFORE} charts/shardpair | tar -x -C '{}'", dir.display())]).status();
    let chart = dir.join("charts/shardpair");
    assert!(unpacked.is_ok_and(|s| s.success()) && chart.join("Chart.yaml").exists(), "git has no commit {BEFORE}: the whole history is needed here");
    chart
}

/// The commands of the block after the paragraph that begins so, each as it stands there.
fn commands_after(paragraph: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join("docs/operations.md")).expect("docs/operations.md");
    let after = text.split(paragraph).nth(1).unwrap_or_else(|| panic!("docs/operations.md has no {paragraph:?}"));
    let block = after.split("```").nth(1).and_then(|b| b.strip_prefix("sh\n")).expect("a block of commands");
    block.lines().map(str::to_owned).collect()
}

async fn follow(paragraph: &str) {
    for command in commands_after(paragraph) {
        let words: Vec<&str> = command.split_whitespace().collect();
        println!("$ {command}\n{}", run(words[0], &words[1..]).await);
    }
}

async fn old_chart() {
    let chart = chart_before();
    run("helm", &["upgrade", "shardpair", chart.to_str().expect("a path"), "-n", SYSTEM, "--force-conflicts", "--wait", "--timeout", "120s"]).await;
}

/// However the test ends, the next one finds this tree's chart.
async fn and_back(test: impl Future<Output = ()>) {
    let ended = AssertUnwindSafe(test).catch_unwind().await;
    install_with(&["--take-ownership", "--force-conflicts"]).await;
    if let Err(panic) = ended {
        resume_unwind(panic);
    }
}

/// uid, restarts and process of each member: another one was restarted.
async fn lives(shop: &Shop) -> Vec<String> {
    let mut lives = Vec::new();
    for member in &shop.pair().await.spec.members {
        let found = shop.pods().get(&pod(member)).await.expect("a pod");
        let restarts: i32 = found.status.iter().flat_map(|s| s.container_statuses.iter().flatten()).map(|c| c.restart_count).sum();
        lives.push(format!("{member} {} {restarts} {}", found.uid().unwrap_or_default(), shop.ask(member, "SELECT @@report_user").await));
    }
    lives
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes, and installs the chart before for all: SHARDPAIR_TESTS=all"]
async fn databases_do_not_notice_an_upgrade_from_the_chart_before() {
    with_temp_ns_for("upgrade", LIMIT, async |client, ns| and_back(upgraded(client, ns)).await).await;
}

async fn upgraded(client: Client, ns: String) {
    let new = run("kubectl", &["get", "crds", "-o", CRDS]).await;
    old_chart().await;
    assert_ne!(run("kubectl", &["get", "crds", "-o", CRDS]).await, new, "the CRDs before were others");
    let shop = Shop::one_shard(&client, &ns).await;
    let (before, lived) = (shop.record().await, lives(&shop).await);
    let writer = shop.busy_writer().await;
    follow("## Upgrading").await;
    assert_eq!(run("kubectl", &["get", "crds", "-o", CRDS]).await, new, "the CRDs are this version's");
    shop.ready(READY).await;
    let after = shop.record().await;
    assert_eq!((after.epoch, &after.primary, after.mode), (before.epoch, &before.primary, before.mode), "nothing moved");
    assert_eq!(lives(&shop).await, lived, "nothing was restarted");
    shop.check(&writer.stop().await).await;
    // What only this version knows is kept now.
    let plugin = output(env!("CARGO_BIN_EXE_kubectl-shardpair"), &["-n", &ns, "status"]).await;
    assert!(plugin.status.success(), "{plugin:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes, and installs the chart before for all: SHARDPAIR_TESTS=all"]
async fn crds_that_kubectl_applied_go_back_to_helm_as_the_runbook_says() {
    with_temp_ns_for("upgrade-conflict", LIMIT, async |_, _| and_back(given_back()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes, and removes the operator for all: SHARDPAIR_TESTS=all"]
async fn crds_that_were_there_before_the_first_install_are_taken_over_as_the_runbook_says() {
    with_temp_ns_for("upgrade-taken", LIMIT, async |client, ns| and_back(taken_over(client, ns)).await).await;
}

async fn taken_over(client: Client, ns: String) {
    let shop = Shop::one_shard(&client, &ns).await;
    let lived = lives(&shop).await;
    run("helm", &["uninstall", "shardpair", "-n", SYSTEM, "--wait"]).await;
    // As if kubectl had made them: nobody's.
    for crd in ["shardclusters", "shardpairs", "expansionplans"] {
        let name = format!("{crd}.shardpair.io");
        run("kubectl", &["annotate", "crd", &name, "meta.helm.sh/release-name-", "meta.helm.sh/release-namespace-"]).await;
        run("kubectl", &["label", "crd", &name, "app.kubernetes.io/managed-by-"]).await;
    }
    let refused = output("helm", &["upgrade", "--install", "shardpair", "charts/shardpair", "-n", SYSTEM, "--create-namespace"]).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("cannot be imported into the current release: invalid ownership metadata"), "{said}");
    follow("**`cannot be imported into the current release: invalid ownership metadata`**").await;
    shop.ready(READY).await;
    assert_eq!(lives(&shop).await, lived, "the databases were there all the time");
}

async fn given_back() {
    let crds = chart_before().join("files/crds");
    run("kubectl", &["apply", "--server-side", "--force-conflicts", "-f", crds.to_str().expect("a path")]).await;
    let refused = output("helm", &["upgrade", "shardpair", "charts/shardpair", "-n", SYSTEM]).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("conflict with \"kubectl\": .spec.versions"), "{said}");
    follow("**`conflict with \"kubectl\": .spec.versions`**").await;
    install().await;
}
