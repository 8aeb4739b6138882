//! Pure modules stay pure: no client, no runtime, no server, no clock, no chance.

use std::fs;
use std::path::{Path, PathBuf};

/// Files and folders under `src/`.
const PURE: &[&str] = &[
    "api",
    "manifests",
    "routing",
    "pair/record.rs",
    "pair/facts.rs",
    "pair/settings.rs",
    "pair/step.rs",
    "pair/guide.rs",
    "controller/page/change.rs",
    "controller/page/plan.rs",
    "controller/page/snapshot.rs",
    "plugin/find.rs",
    "plugin/paint.rs",
    "plugin/plan.rs",
    "plugin/seen.rs",
    "plugin/tar.rs",
    "plugin/trouble.rs",
    "plugin/view.rs",
    "pair/report.rs",
    "pair/decide",
    "client/ids/grant.rs",
    "simulation",
    "expansion/facts.rs",
    "expansion/step.rs",
    "expansion/report.rs",
    "expansion/decide",
    "expansion/preflight",
    "mysql/gtid.rs",
    "mysql/config.rs",
    "mysql/purge/policy.rs",
    "controller/cluster/plan.rs",
    "controller/cluster/checks.rs",
    "controller/cluster/compare.rs",
    "controller/cluster/report.rs",
];

const FORBIDDEN: &[(&str, &str)] = &[
    ("kube::Client", "a client"),
    ("kube::Api", "a client"),
    ("kube::api::", "a client"),
    ("kube::runtime", "a runtime"),
    ("kube::client", "a client"),
    ("Client,", "a client"),
    ("Api,", "a client"),
    ("Api<", "a client"),
    ("tokio", "a runtime"),
    ("async fn", "a runtime"),
    (".await", "a runtime"),
    ("mysql_async", "a server"),
    ("use redis", "a server"),
    ("redis::cmd", "a server"),
    ("redis::Client", "a server"),
    ("redis::aio", "a server"),
    ("std::net", "a server"),
    ("std::fs", "a file"),
    ("Timestamp::now", "a clock"),
    ("Zoned::now", "a clock"),
    ("SystemTime", "a clock"),
    ("Instant", "a clock"),
    ("rand::", "chance"),
];

fn sources(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_path_buf()];
    }
    let entries = fs::read_dir(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    entries.flat_map(|e| sources(&e.expect("entry").path())).filter(|p| p.extension().is_some_and(|e| e == "rs")).collect()
}

/// Why a line is not pure.
fn offence(line: &str) -> Option<&'static str> {
    let code = line.split("//").next().unwrap_or_default();
    FORBIDDEN.iter().find(|(word, _)| code.contains(word)).map(|(_, what)| *what)
}

#[test]
fn pure_modules_import_no_client_runtime_server_or_clock() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for file in PURE.iter().flat_map(|p| sources(&src.join(p))) {
        let text = fs::read_to_string(&file).expect("readable");
        for (number, line) in text.lines().enumerate() {
            if let Some(what) = offence(line) {
                found.push(format!("{}:{}: {what}: {}", file.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "not pure:\n{}", found.join("\n"));
}

#[test]
fn the_test_notices_what_it_is_for() {
    for line in ["use kube::{Api, Client};", "let now = Timestamp::now();", "use tokio::sync::watch;", "    x.await?;", "let t: Instant;", "redis::cmd(x)"] {
        assert!(offence(line).is_some(), "{line} passed");
    }
    assert_eq!(offence("/// no Client, no tokio: see kube::Api"), None);
}
