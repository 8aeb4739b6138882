//! A stack is a program with a few verbs (README.md): ours under `stacks/`, and others' by `PEER_BIN`.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::client::Endpoints;
use super::results::{About, Fault};

/// Exit code of a fault that a stack has no way to make.
const UNKNOWN: i32 = 3;

/// One of them, as it is set up.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Short, unique: the key in tables.
    pub name: String,
    pub program: PathBuf,
    /// `PEER_VARIANT`.
    pub variant: &'static str,
    /// Its runs take tens of seconds: fewer of them.
    pub slow: bool,
}

/// What a verb came to.
#[derive(Debug)]
pub enum Said {
    Done(String),
    Unknown,
    Failed(String),
}

/// Those that are part of this repository, in the order in which they are measured.
pub fn known() -> Vec<Stack> {
    let stack = |name: &str, script: &str, variant, slow| Stack { name: name.to_owned(), program: stacks().join(script), variant, slow };
    let mut all = vec![
        stack("keepalived", "keepalived", "default", false),
        stack("keepalived-fast", "keepalived", "fast", false),
        stack("haproxy", "haproxy", "default", false),
        stack("haproxy-fast", "haproxy", "fast", false),
        stack("group-replication", "group-replication", "default", true),
        stack("group-replication-fast", "group-replication", "fast", true),
        stack("galera", "galera", "default", true),
        stack("galera-fast", "galera", "fast", true),
        stack("patroni", "patroni", "default", true),
        stack("patroni-fast", "patroni", "fast", true),
    ];
    if let Some(program) = std::env::var_os("PEER_BIN") {
        let name = PathBuf::from(&program).file_name().map_or_else(|| "peer".to_owned(), |n| n.to_string_lossy().into_owned());
        all.push(Stack { name, program: program.into(), variant: "default", slow: false });
    }
    all
}

fn stacks() -> PathBuf {
    super::root().join("benches/peers/stacks")
}

impl Stack {
    /// Runs a verb to its end, or to `limit`.
    pub async fn call(&self, words: &[&str], limit: Duration) -> Said {
        // Not tokio's: its feature `process` would have every dependency built twice.
        let mut command = Command::new("timeout");
        // In our process group, so that whoever ends us ends it.
        command.arg("--foreground").arg(limit.as_secs().to_string()).arg(&self.program).args(words).env("PEER_VARIANT", self.variant);
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let ran = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
        match ran {
            Ok(ran) if ran.status.success() => Said::Done(String::from_utf8_lossy(&ran.stdout).trim().to_owned()),
            Ok(ran) if ran.status.code() == Some(UNKNOWN) => Said::Unknown,
            Ok(ran) => {
                let text = String::from_utf8_lossy(&ran.stderr).into_owned();
                Said::Failed(format!("{} {}: {}: {}", self.name, words.join(" "), ran.status, text.trim()))
            }
            Err(error) => Said::Failed(format!("{}: {error}", self.program.display())),
        }
    }

    async fn done(&self, words: &[&str], limit: u64) -> Result<String, String> {
        match self.call(words, Duration::from_secs(limit)).await {
            Said::Done(text) => Ok(text),
            Said::Unknown => Err(format!("{} has no verb {}", self.name, words.join(" "))),
            Said::Failed(why) => Err(why),
        }
    }

    async fn told<T: DeserializeOwned>(&self, verb: &str) -> Result<T, String> {
        let text = self.done(&[verb], 60).await?;
        serde_json::from_str(&text).map_err(|e| format!("{} {verb}: {e}: {text}", self.name))
    }

    pub async fn about(&self) -> Result<About, String> {
        self.told("about").await
    }

    pub async fn endpoints(&self) -> Result<Endpoints, String> {
        let told: Endpoints = self.told("endpoints").await?;
        if told.addresses.is_empty() || told.members.is_empty() {
            return Err(format!("{} endpoints: no address or no member", self.name));
        }
        Ok(told)
    }

    pub async fn up(&self) -> Result<(), String> {
        self.done(&["up"], 300).await.map(|_| ())
    }

    pub async fn down(&self) -> Result<(), String> {
        self.done(&["down"], 60).await.map(|_| ())
    }

    pub async fn heal(&self) -> Result<(), String> {
        self.done(&["heal"], 60).await.map(|_| ())
    }

    pub async fn fault(&self, fault: Fault) -> Said {
        self.call(&["fault", fault.name()], Duration::from_secs(90)).await
    }

    /// Until it could stand another fault; asked no more often than that it disturbs.
    pub async fn redundant(&self, within: Duration) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            match self.call(&["redundant"], Duration::from_secs(20)).await {
                Said::Done(_) => return Ok(()),
                Said::Unknown => return Err(format!("{} has no verb redundant", self.name)),
                Said::Failed(why) if begun.elapsed() > within => return Err(format!("not redundant within {within:?}: {why}")),
                Said::Failed(_) => tokio::time::sleep(Duration::from_millis(250)).await,
            }
        }
    }
}
