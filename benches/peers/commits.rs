//! What a commit costs with each way to replicate: the script beside this file, with sysbench.

use std::process::{Command, Stdio};

use super::results::Commit;

/// On the command line.
pub const NAME: &str = "commits";

/// All of it, in a minute or two with `quick`.
pub async fn measure(quick: bool) -> Result<Vec<Commit>, String> {
    let mut command = Command::new(super::root().join("benches/peers/commits"));
    command.arg(if quick { "5" } else { "20" }).stdin(Stdio::null()).stderr(Stdio::inherit());
    let ran = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").map_err(|e| e.to_string())?;
    if !ran.status.success() {
        return Err(format!("benches/peers/commits: {}", ran.status));
    }
    serde_json::from_slice(&ran.stdout).map_err(|e| format!("benches/peers/commits: {e}"))
}
