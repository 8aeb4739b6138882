//! The live page as `kubectl shardpair dashboard` brings it, in Chromium: it follows a failover, and the loss of the operator's pod.

use std::process::{Child, Command, Stdio};

use serde_json::json;
use shardpair::api::expansion::Phase;

use crate::browser::{Browser, free_port, http};
use crate::support::shop::{BACK_IN_SYNC, MOVED, Shop};
use crate::support::lanes::Lanes;
use crate::support::plan::Plan;
use crate::support::{cluster, eventually, output, run, secs, with_temp_ns, with_temp_ns_for};

struct Dashboard(Child);

impl Dashboard {
    fn start(ns: &str, port: u16) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--", env!("CARGO_BIN_EXE_kubectl-shardpair"), "-n", ns, "dashboard", "--port", &port.to_string()]);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the plugin"))
    }

    /// As Ctrl-C does.
    async fn end(mut self) {
        run("kill", &["-INT", &self.0.id().to_string()]).await;
        let ended = eventually("its end", secs(5), async || self.0.try_wait().map_err(|e| e.to_string())?.ok_or("it runs".to_owned())).await;
        assert!(ended.success(), "{ended}");
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        // setpriv became the plugin, which ends kubectl.
        let _ = Command::new("kill").arg(self.0.id().to_string()).stderr(Stdio::null()).status();
        let _ = self.0.wait();
    }
}

async fn page(enabled: bool) {
    let set = format!("page.enabled={enabled}");
    run("helm", &["upgrade", "shardpair", "charts/shardpair", "-n", cluster::SYSTEM, "--set", &set, "--wait", "--timeout", "120s"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_page_is_off_until_it_is_wanted_and_follows_a_failover() {
    with_temp_ns("page", async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let plugin = env!("CARGO_BIN_EXE_kubectl-shardpair");
        let off = output(plugin, &["-n", &ns, "dashboard"]).await;
        assert!(off.status.code() == Some(1) && String::from_utf8_lossy(&off.stderr).contains("page.enabled=true"), "{off:?}");
        page(true).await;
        shop.in_sync(0, BACK_IN_SYNC).await;
        let port = free_port();
        let dashboard = Dashboard::start(&ns, port);
        let busy = output(plugin, &["-n", &ns, "dashboard", "--port", &port_in_use()]).await;
        assert!(busy.status.code() == Some(1) && String::from_utf8_lossy(&busy.stderr).contains("--port"), "{busy:?}");
        eventually("the page", secs(20), async || http(port, "GET", "/", "localhost", "").map(|(head, _)| assert!(head.contains("content-security-policy"), "{head}"))).await;
        let browser = tokio::task::block_in_place(|| {
            let browser = Browser::start();
            browser.open(&format!("http://127.0.0.1:{port}/"));
            browser
        });
        let unit = format!("document.querySelector('[data-pair=\"{ns}/shop-0\"]')");
        let shows = |what: &str, expression: String, within| tokio::task::block_in_place(|| browser.until_within(what, &expression, within));
        let before = shop.record().await;
        let standby = before.standby.clone().expect("a standby");
        shows("the pair at rest", format!("{unit}?.classList.contains('well') && {unit}.querySelector('.server.open .name').textContent === '{}'", before.primary), secs(30));
        shop.kill_mysqld(&before.primary).await;
        shows("the standby as primary", format!("{unit}.querySelector('.server.open .name')?.textContent === '{standby}'"), MOVED);
        let seen = tokio::task::block_in_place(|| browser.text("#seen"));
        assert!(seen.contains(&format!("primary {} → {standby}", before.primary)), "{seen}");
        shop.in_sync(before.epoch + 1, BACK_IN_SYNC).await;
        shows("both well again", format!("{unit}.classList.contains('well') && {unit}.querySelector('.server.second .name').textContent === '{}'", before.primary), secs(30));
        shows("the move", format!("[...document.querySelectorAll('#moves tr.failover')].some(r => r.textContent.includes('{} → {standby}'))", before.primary), secs(30));
        let complaints = tokio::task::block_in_place(|| browser.complaints());
        assert!(complaints.is_empty(), "{complaints:#?}");
        for pod in cluster::operator_pods(&client).await {
            run("kubectl", &["-n", cluster::SYSTEM, "delete", "pod", pod.metadata.name.as_deref().unwrap_or_default(), "--wait=false"]).await;
        }
        shows("that nobody answers", "document.getElementById('live').className === 'silent'".to_owned(), secs(30));
        shows("another pod's word", "document.getElementById('live').className === 'live'".to_owned(), secs(60));
        dashboard.end().await;
        page(false).await;
    })
    .await;
}

/// The page as one sees it: `kubectl shardpair dashboard`, and a browser.
async fn looked_at(ns: &str) -> (Dashboard, Browser) {
    let port = free_port();
    let dashboard = Dashboard::start(ns, port);
    eventually("the page", secs(20), async || http(port, "GET", "/", "localhost", "").map(drop)).await;
    let browser = tokio::task::block_in_place(|| {
        let browser = Browser::start();
        browser.open(&format!("http://127.0.0.1:{port}/"));
        browser
    });
    (dashboard, browser)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "takes minutes: SHARDPAIR_TESTS=all"]
async fn the_page_follows_a_real_split_through_its_phases() {
    with_temp_ns_for("page-split", secs(480), async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        page(true).await;
        shop.in_sync(0, BACK_IN_SYNC).await;
        let (dashboard, browser) = looked_at(&ns).await;
        let shows = |what: &str, expression: &str, within| tokio::task::block_in_place(|| browser.until_within(what, expression, within));
        let shot = |name: &str| tokio::task::block_in_place(|| browser.screenshot(&shot_of(name)));
        let done = |phases: usize| format!("document.querySelectorAll('.steps li.done').length >= {phases}");
        shows("the pair at rest", &format!("document.querySelector('[data-pair=\"{ns}/shop-0\"]')?.classList.contains('well')"), secs(30));
        let lanes = Lanes::start(&shop, 2, std::time::Duration::from_millis(20)).await.expect("writers");
        let plan = Plan::apply(&shop, "to-2", 2, json!({"until": "Prepared"})).await;
        shows("the new pair beside the old one", "document.querySelector('.frame .tie')?.classList.contains('follows')", secs(120));
        shot("real-split-preparing");
        plan.reaches(Phase::Prepared, secs(240)).await;
        shows("Prepared", &done(2), secs(20));
        plan.until("Flipped").await;
        plan.reaches(Phase::Flipped, secs(90)).await;
        shows("Flipped, linked", &format!("{} && document.querySelector('.frame .tie')?.classList.contains('linked')", done(3)), secs(20));
        shot("real-split-flipped");
        lanes.progress(100, secs(20)).await.expect("writes go on");
        plan.until("Complete").await;
        plan.reaches(Phase::Complete, secs(180)).await;
        shows("two pairs, no frame", "document.querySelectorAll('.frame').length === 0 && document.querySelectorAll('.unit.well').length === 2", secs(60));
        let problems = lanes.stop().await.problems(&shop, true).await.expect("rows");
        assert!(problems.is_empty(), "{problems:#?}");
        let complaints = tokio::task::block_in_place(|| browser.complaints());
        assert!(complaints.is_empty(), "{complaints:#?}");
        dashboard.end().await;
        page(false).await;
    })
    .await;
}

/// Where a picture of this goes.
fn shot_of(name: &str) -> std::path::PathBuf {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-logs/page");
    std::fs::create_dir_all(&dir).expect("a directory");
    dir.join(format!("{name}.png"))
}

/// A port that this test listens on.
fn port_in_use() -> String {
    static HELD: std::sync::OnceLock<std::net::TcpListener> = std::sync::OnceLock::new();
    let held = HELD.get_or_init(|| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    held.local_addr().expect("an address").port().to_string()
}
