//! Faults, made from outside by the scripts of `tests/cluster`. Each leaves word of how it is healed.

use std::sync::Mutex;

use super::{output, root, run};

type Command = Vec<String>;
static TO_HEAL: Mutex<Vec<Command>> = Mutex::new(Vec::new());

/// Leaves word of how something is healed.
pub fn later(command: &[&str]) {
    TO_HEAL.lock().expect("no panic while it is held").push(command.iter().map(|s| (*s).to_owned()).collect());
}

fn script(name: &str) -> String {
    root().join("tests/cluster").join(name).display().to_string()
}

async fn cluster(name: &str, args: &[&str]) -> String {
    run(script(name), args).await
}

/// Undoes what is left, newest first.
pub async fn heal_all() -> Result<(), String> {
    let mut failed = Vec::new();
    loop {
        let Some(command) = TO_HEAL.lock().expect("no panic while it is held").pop() else { break };
        let args: Vec<&str> = command[1..].iter().map(String::as_str).collect();
        let ran = output(&command[0], &args).await;
        // A process that was stopped, or its namespace, may be gone by now.
        if !ran.status.success() && !["kill", "nsenter", "sh"].contains(&command[0].as_str()) {
            failed.push(format!("{command:?}: {}", String::from_utf8_lossy(&ran.stderr)));
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

/// The pid, on this machine, of a process in a pod, if it runs.
pub async fn try_pid(ns: &str, pod: &str, process: &str) -> Option<String> {
    let found = output(script("member-pid"), &[ns, pod, process]).await;
    found.status.success().then(|| String::from_utf8_lossy(&found.stdout).trim().to_owned())
}

/// A process, found before the moment that counts.
pub struct Process(pub String);

impl Process {
    /// A process in a pod, by its name.
    pub async fn of(ns: &str, pod: &str, process: &str) -> Self {
        Self(cluster("member-pid", &[ns, pod, process]).await)
    }

    /// `kill -9`.
    pub async fn kill(&self) {
        run("kill", &["-KILL", &self.0]).await;
    }

    /// Stops it, so that it answers nothing and holds everything.
    pub async fn hang(&self) {
        later(&["kill", "-CONT", &self.0]);
        run("kill", &["-STOP", &self.0]).await;
    }
}

/// A node by its name `n<i>`.
pub struct Node(pub String);

impl Node {
    fn number(&self) -> &str {
        self.0.trim_start_matches('n')
    }

    async fn act(&self, action: &str, undo: Option<&str>) {
        if let Some(undo) = undo {
            later(&[&script("node"), undo, self.number()]);
        }
        cluster("node", &[action, self.number()]).await;
    }

    pub async fn cut(&self) {
        self.act("cut", Some("heal")).await;
    }

    pub async fn heal(&self) {
        self.act("heal", None).await;
    }

    pub async fn fill(&self) {
        self.act("fill", Some("unfill")).await;
    }

    pub async fn unfill(&self) {
        self.act("unfill", None).await;
    }

    pub async fn power_cut(&self) {
        self.act("powercut", Some("start")).await;
    }

    /// Its disk takes no more writes, as after an I/O error; only a power cycle heals that.
    pub async fn read_only(&self) {
        later(&[&script("node"), "start", self.number()]);
        later(&[&script("node"), "powercut", self.number()]);
        self.act("readonly", None).await;
    }

    /// Everything between the node and the API server is dropped.
    pub async fn cut_api(&self) {
        later(&[&script("link"), "heal", self.number(), "api"]);
        cluster("link", &["cut", self.number(), "api"]).await;
    }

    pub async fn start(&self) {
        self.act("start", None).await;
    }

    /// Runs a command in the node's namespaces.
    pub async fn exec(&self, args: &[&str]) -> String {
        cluster("exec", &[&[self.number()], args].concat()).await
    }

    /// Everything between two nodes is dropped.
    pub async fn cut_link(&self, other: &Node) {
        later(&[&script("link"), "heal", self.number(), other.number()]);
        cluster("link", &["cut", self.number(), other.number()]).await;
    }

    pub async fn heal_link(&self, other: &Node) {
        cluster("link", &["heal", self.number(), other.number()]).await;
    }
}

/// The API server hangs, until [`api_goes_on`].
pub async fn api_hangs() {
    later(&[&script("apiserver"), "cont"]);
    cluster("apiserver", &["stop"]).await;
}

/// The API server goes on.
pub async fn api_goes_on() {
    cluster("apiserver", &["cont"]).await;
}

/// The API server is dead, until [`api_starts`].
pub async fn api_dies() {
    later(&[&script("apiserver"), "start"]);
    cluster("apiserver", &["kill"]).await;
}

/// The API server is there again.
pub async fn api_starts() {
    cluster("apiserver", &["start"]).await;
}
