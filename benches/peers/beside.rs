//! What isn't a fault: commit cost, moving data, purging. Each by a script beside this file or a bench of its own.

use std::path::Path;
use std::process::{Command, Stdio};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::results::{Commit, Copied, Purged, Results};
use super::{ours, root};

/// What a commit costs with each way to replicate, with sysbench.
pub const COMMITS: &str = "commits";
/// Our flip beside other ways to move half of a shard's data.
pub const SPLIT: &str = "split";
/// Our purge beside pt-archiver.
pub const PURGE: &str = "purge";
/// All of them.
pub const ALL: [&str; 3] = [COMMITS, SPLIT, PURGE];

/// One of them, into the results.
pub async fn measure(name: &str, quick: bool, results: &mut Results) -> Result<(), String> {
    match name {
        COMMITS => results.commits = script::<Commit>("commits", &[if quick { "3" } else { "20" }]).await?,
        SPLIT => {
            let sizes: &[&str] = if quick { &["1"] } else { &["1", "4"] };
            results.copies = script::<Copied>("copies", sizes).await?;
            results.copies.extend(flips(sizes).await?);
        }
        _ => results.purges = purge(if quick { "50000" } else { "400000" }).await?,
    }
    Ok(())
}

async fn finished(mut command: Command, what: &'static str) -> Result<Vec<u8>, String> {
    command.stdin(Stdio::null()).stderr(Stdio::inherit()).current_dir(root());
    let ran = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").map_err(|e| format!("{what}: {e}"))?;
    if ran.status.success() { Ok(ran.stdout) } else { Err(format!("{what}: {}", ran.status)) }
}

async fn script<T: DeserializeOwned>(name: &'static str, args: &[&str]) -> Result<Vec<T>, String> {
    let mut command = Command::new(root().join("benches/peers").join(name));
    command.args(args);
    serde_json::from_slice(&finished(command, name).await?).map_err(|e| format!("{name}: {e}"))
}

fn read(path: &Path) -> Result<Value, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
}

/// benches/expansion on the cluster, if there is one.
async fn flips(gb: &[&str]) -> Result<Vec<Copied>, String> {
    if let Err(why) = ours::possible() {
        println!("{SPLIT}: without shardpair: {why}");
        return Ok(Vec::new());
    }
    let path = root().join("target/peers-split.json");
    let mut command = Command::new(root().join("benches/expansion/run"));
    let mb: Vec<String> = gb.iter().map(|gb| format!("{gb}000")).collect();
    command.args(["--runs", "5", "--mb", &mb.join(","), "--json"]).arg(&path);
    finished(command, "benches/expansion").await?;
    Ok(longest_gaps(&read(&path)?))
}

/// The slowest flip of each size, as the keys that moved felt it.
pub fn longest_gaps(figures: &Value) -> Vec<Copied> {
    let mut found = Vec::new();
    for size in figures.as_array().into_iter().flatten() {
        let gaps = size["flips"].as_array().into_iter().flatten().filter_map(|flip| flip["moving"]["gapMs"].as_f64());
        if let Some(worst) = gaps.reduce(f64::max) {
            found.push(Copied { way: "shardpair: the slowest flip".to_owned(), gb: size["mb"].as_f64().unwrap_or_default() / 1000.0, seconds: worst / 1000.0 });
        }
    }
    found
}

async fn purge(rows: &str) -> Result<Vec<Purged>, String> {
    let mut command = Command::new("cargo");
    command.args(["bench", "--quiet", "--locked", "--profile", "dev", "--bench", "purge", "--", rows]);
    finished(command, "benches/purge").await?;
    serde_json::from_value(read(&root().join("target/bench-purge.json"))?).map_err(|e| format!("benches/purge: {e}"))
}
