//! Where faults strike: members, processes and nodes, found before the moment that counts (the API server may be gone then).

use crate::support::cluster::{SYSTEM, leader};
use crate::support::faults::{Node, Process, try_pid};
use crate::support::output;
use crate::support::shop::{Shop, pod};

/// One member.
#[derive(Clone, Debug)]
pub struct Member {
    pub name: String,
    pub pid: Option<String>,
    pub node: String,
}

/// One pair, and who operates it.
#[derive(Clone, Debug)]
pub struct Aim {
    pub primary: Member,
    pub standby: Member,
    pub operator: Option<String>,
}

async fn member(shop: &Shop, name: &str) -> Result<Member, String> {
    let found = shop.pods().get(&pod(name)).await.map_err(|e| e.to_string())?;
    let node = found.spec.and_then(|s| s.node_name).ok_or(format!("{name} has no node"))?;
    Ok(Member { name: name.to_owned(), pid: try_pid(&shop.ns, &pod(name), "mysqld").await, node })
}

impl Aim {
    pub async fn take(shop: &Shop) -> Result<Self, String> {
        let record = shop.record().await;
        let standby = record.standby.ok_or("no standby")?;
        let operator = try_pid(SYSTEM, &leader(&shop.client).await, "shardpair").await;
        Ok(Self { primary: member(shop, &record.primary).await?, standby: member(shop, &standby).await?, operator })
    }
}

impl Member {
    pub fn node(&self) -> Node {
        Node(self.node.clone())
    }
}

/// A pid that still is what it was: another process may have got the number.
pub fn still(pid: Option<&String>, name: &str) -> Result<String, String> {
    let pid = pid.ok_or(format!("no {name} was found"))?;
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if comm.trim() == name { Ok(pid.clone()) } else { Err(format!("process {pid} is no {name} any more")) }
}

/// kill -9 of a program in a pod, as it is now.
pub async fn kill_now(ns: &str, pod: &str, program: &str) -> Result<(), String> {
    let pid = try_pid(ns, pod, program).await;
    Process(still(pid.as_ref(), program)?).kill().await;
    Ok(())
}

/// A command that may fail.
pub async fn try_run(program: &str, args: &[&str]) -> Result<(), String> {
    let ran = output(program, args).await;
    if ran.status.success() { Ok(()) } else { Err(format!("{program} {args:?}: {}", String::from_utf8_lossy(&ran.stderr).trim())) }
}
