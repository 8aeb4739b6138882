//! `kubectl shardpair` as a person uses it: against a real cluster, by its exit codes and what it prints.

use std::process::{Command, Output, Stdio};

use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::Value;

use crate::support::shop::{BACK_IN_SYNC, Shop};
use crate::support::{eventually, kubectl, secs, with_temp_ns};

/// Runs the plugin in a namespace.
async fn plugin(ns: &str, args: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.arg("100").arg(env!("CARGO_BIN_EXE_kubectl-shardpair")).args(["-n", ns]).args(args).stdin(Stdio::null()).env_remove("NO_COLOR");
    tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("it runs")
}

fn out(ran: &Output) -> String {
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

/// What it said on standard error, and with which exit code.
fn said(ran: &Output) -> (i32, String) {
    (ran.status.code().unwrap_or(-1), String::from_utf8_lossy(&ran.stderr).into_owned())
}

async fn ok(ns: &str, args: &[&str]) -> String {
    let ran = plugin(ns, args).await;
    assert_eq!(ran.status.code(), Some(0), "{args:?}: {}{}", out(&ran), said(&ran).1);
    assert!(!out(&ran).contains('\u{1b}'), "colour without a terminal: {}", out(&ran));
    out(&ran)
}

/// Refused in one line, with this exit code.
async fn refused(ns: &str, args: &[&str], code: i32, word: &str) {
    let ran = plugin(ns, args).await;
    let (got, text) = said(&ran);
    assert!(got == code && text.contains(word) && text.trim_end().lines().count() == 1, "{args:?}: {got}: {text}{}", out(&ran));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plugin_shows_steers_and_refuses() {
    with_temp_ns("plugin", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let before = shop.record().await;
        let standby = before.standby.clone().expect("a standby");

        let status = ok(&ns, &["status"]).await;
        assert!(status.contains("shop: 1 shard, Ready") && status.contains(&standby) && status.contains("InSync"), "{status}");
        let json: Value = serde_json::from_str(&ok(&ns, &["status", "shop", "-o", "json"]).await).expect("JSON");
        assert_eq!((&json[0]["pairs"][0]["primary"], &json[0]["pairs"][0]["ready"]), (&Value::from(before.primary.clone()), &Value::from(true)));
        assert_eq!(json[0]["pairs"][0]["behindTransactions"], 0, "{json}");
        let explained = ok(&ns, &["explain", "0"]).await;
        assert!(explained.contains("switchover  possible") && explained.contains("SafeMoveExists"), "{explained}");

        let routed = ok(&ns, &["route", "shop.orders", "42"]).await;
        assert!(routed.contains("shard 0") && routed.contains("shop-0."), "{routed}");
        let selected = ok(&ns, &["mysql", "shop-0", "-e", "SELECT concat('read only: ', @@read_only)", "--", "-N"]).await;
        assert_eq!(selected.trim(), "read only: 0");
        let selected = ok(&ns, &["mysql", "shop-0", "--standby", "-e", "SELECT concat('read only: ', @@read_only)", "--", "-N"]).await;
        assert_eq!(selected.trim(), "read only: 1");
        // Without a terminal, statements come by standard input; nothing of the password stays in the pod.
        assert_eq!(ok(&ns, &["mysql", "shop-0"]).await, "");
        let left = kubectl(&["-n", &ns, "exec", &format!("{}-0", before.primary), "--", "sh", "-c", "ls /run/mysqld /tmp"]).await;
        assert!(!left.contains("client"), "{left}");

        let moved = ok(&ns, &["switchover", "shop-0"]).await;
        assert!(moved.contains(&format!("{standby} is the primary now")), "{moved}");
        let after = shop.in_sync(before.epoch + 1, BACK_IN_SYNC).await;
        assert_eq!(after.primary, standby);

        refused(&ns, &["switchover", "shop-0", "--to", "shop-m9"], 2, "isn't the standby").await;
        refused(&ns, &["explain", "shop-7"], 1, "there is shop-0").await;
        refused(&ns, &["promote", "shop-0", "--accept-data-loss", "--yes"], 1, "switchover").await;
        refused(&ns, &["replace", "shop-0"], 2, "--yes").await;
        refused(&ns, &["status", "--context", "nowhere"], 2, "no context nowhere").await;
        refused(&format!("{ns}-not"), &["explain", "shop-0"], 1, "is -n right?").await;

        ok(&ns, &["pause", "shop-0"]).await;
        refused(&ns, &["switchover", "shop-0"], 1, "resume").await;
        ok(&ns, &["resume", "shop-0"]).await;
        eventually("the story is told", secs(10), async || {
            let told = ok(&ns, &["events", "shop"]).await;
            if told.contains("SwitchedOver") && told.contains("Provisioned") { Ok(()) } else { Err(told) }
        })
        .await;
        nobody_without_permission(&ns).await;
        no_secret_in_a_report(&client, &ns).await;
    })
    .await;
}

/// A ServiceAccount that may nothing.
async fn nobody_without_permission(ns: &str) {
    let token = kubectl(&["-n", ns, "create", "token", "default"]).await;
    let raw: Value = serde_json::from_str(&kubectl(&["config", "view", "--minify", "--raw", "-o", "json"]).await).expect("a kubeconfig");
    let mut config = raw.clone();
    config["users"][0]["user"] = serde_json::json!({"token": token});
    let file = std::env::temp_dir().join(format!("shardpair-nobody-{}.json", std::process::id()));
    std::fs::write(&file, config.to_string()).expect("written");
    let path = file.to_string_lossy().into_owned();
    refused(ns, &["status", "--kubeconfig", &path], 1, "you may not list").await;
    let _ = std::fs::remove_file(&file);
}

async fn no_secret_in_a_report(client: &kube::Client, ns: &str) {
    let file = std::env::temp_dir().join(format!("shardpair-report-{}.tar", std::process::id()));
    let path = file.to_string_lossy().into_owned();
    ok(ns, &["report", "shop", "--file", &path]).await;
    let bundle = std::fs::read(&file).expect("a bundle");
    let _ = std::fs::remove_file(&file);
    let text = String::from_utf8_lossy(&bundle);
    for part in ["status.txt", "shop-0.explain.txt", "shop-m0-0.log", "shop-0.shardpair.yaml", "shop-m0.configmap.yaml", "operator/shardpair.lease.yaml"] {
        assert!(text.contains(part), "{part} is missing");
    }
    let secrets: Api<Secret> = Api::namespaced(client.clone(), ns);
    let mut looked = 0;
    for secret in secrets.list(&ListParams::default()).await.expect("secrets").items {
        for (key, value) in secret.data.clone().unwrap_or_default().into_iter().filter(|(k, _)| k.contains("password")) {
            let plain = String::from_utf8(value.0).expect("text");
            assert!(!text.contains(&plain), "{}: {key} is in the report", secret.name_any());
            looked += 1;
        }
    }
    assert!(looked >= 3, "only {looked} passwords were looked for");
}
