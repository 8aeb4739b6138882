//! What the tests share. `with_temp_ns` is the frame of each; conditions are awaited with a deadline, never slept for.

pub mod cluster;
pub mod faults;
pub mod lanes;
pub mod plan;
pub mod shop;
pub mod spread;
pub mod writer;

use std::ffi::OsStr;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use futures::FutureExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::Mutex;

/// The longest that one test may take.
const TEST: Duration = Duration::from_secs(300);
/// One at a time: they break nodes and the API server that all share, and the machine has two cores.
static ONE: Mutex<()> = Mutex::const_new(());

pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a test in a namespace of its own, with the operator installed. Afterwards, however it ended: faults are healed,
/// the namespace is removed with all that it holds, and of a failure everything worth knowing is shown.
pub async fn with_temp_ns(name: &str, test: impl AsyncFnOnce(Client, String)) {
    with_temp_ns_for(name, TEST, test).await;
}

/// The same, with another limit to its time.
pub async fn with_temp_ns_for(name: &str, limit: Duration, test: impl AsyncFnOnce(Client, String)) {
    let _one = ONE.lock().await;
    beside_others(name, limit, test).await;
}

/// The same for one that may run beside others: what heals one heals all.
pub async fn beside_others(name: &str, limit: Duration, test: impl AsyncFnOnce(Client, String)) {
    let client = Client::try_default().await.expect("a cluster: eval \"$(tests/cluster/up --nodes 3)\"");
    cluster::operator_is_installed().await;
    let ns = format!("t-{name}-{:04x}", std::process::id() & 0xffff);
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let mut object = Namespace::default();
    object.metadata.name = Some(ns.clone());
    namespaces.create(&PostParams::default(), &object).await.expect("a namespace");
    let begun = Instant::now();
    let test = AssertUnwindSafe(tokio::time::timeout(limit, test(client.clone(), ns.clone())));
    let ended = test.catch_unwind().await;
    let failed = !matches!(ended, Ok(Ok(())));
    if failed {
        dump(&ns, begun.elapsed()).await;
    }
    let took = begun.elapsed();
    let healed = faults::heal_all().await;
    cluster::remove_namespace(&client, &namespaces, &ns).await;
    println!("{name}: {:.1} s, {:.1} s with cleaning up", took.as_secs_f64(), begun.elapsed().as_secs_f64());
    match ended {
        Err(panic) => resume_unwind(panic),
        Ok(Err(_)) => panic!("not done within {limit:?}"),
        Ok(Ok(())) => healed.expect("faults are healed"),
    }
}

/// Looks until it succeeds; fails with the last reason when the time is over.
pub async fn eventually<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        let seen = match tokio::time::timeout(secs(15), look()).await {
            Ok(seen) => seen,
            Err(_) => Err("no answer".to_owned()),
        };
        match seen {
            Ok(found) => return found,
            Err(why) if begun.elapsed() > within => panic!("{what}: not within {within:?}: {why}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Looks all the time; fails as soon as it doesn't hold.
pub async fn holds_for(what: &str, time: Duration, mut look: impl AsyncFnMut() -> Result<(), String>) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        if let Err(why) = look().await {
            panic!("{what}: only for {:?}: {why}", begun.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Runs a command to its end.
pub async fn output(program: impl AsRef<OsStr>, args: &[&str]) -> Output {
    // Not tokio's: its feature `process` would have every dependency built twice, for the operator and for the tests.
    let mut command = Command::new("timeout");
    command.arg("240").arg(program.as_ref()).args(args).current_dir(root()).stdin(Stdio::null());
    let ran = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
    ran.unwrap_or_else(|e| panic!("{}: {e}", program.as_ref().display()))
}

/// Runs a command that must succeed; its standard output, trimmed.
pub async fn run(program: impl AsRef<OsStr>, args: &[&str]) -> String {
    try_run(program, args).await.unwrap_or_else(|error| panic!("{error}"))
}

/// The same, with what it said if it failed.
pub async fn try_run(program: impl AsRef<OsStr>, args: &[&str]) -> Result<String, String> {
    let ran = output(&program, args).await;
    if ran.status.success() {
        return Ok(String::from_utf8_lossy(&ran.stdout).trim().to_owned());
    }
    Err(format!("{} {args:?}: {}: {}", program.as_ref().display(), ran.status, String::from_utf8_lossy(&ran.stderr)))
}

/// `kubectl …`, which must succeed.
pub async fn kubectl(args: &[&str]) -> String {
    run("kubectl", args).await
}

/// Everything into a file, the most telling of it on standard output.
async fn dump(ns: &str, age: Duration) {
    let since = format!("--since={}s", age.as_secs() + 1);
    let system = ["-n", cluster::SYSTEM, "logs", "-l", cluster::OPERATOR_LABEL, "--prefix", "--tail=-1", &since];
    let jsonpath = "jsonpath={range .items[*]}{.metadata.name}{\"\\t\"}{.status}{\"\\n\"}{end}";
    let events = "custom-columns=AT:.eventTime,LAST:.lastTimestamp,OBJECT:.involvedObject.name,REASON:.reason,MESSAGE:.message";
    let looks: [(&[&str], usize); 8] = [
        (&["-n", ns, "get", "shardclusters", "-o", jsonpath], 20),
        (&["-n", ns, "get", "shardpairs", "-o", jsonpath], 20),
        (&["-n", ns, "get", "pods,pvc", "-o", "wide"], 20),
        (&["-n", ns, "get", "events", "--sort-by=.metadata.creationTimestamp", "-o", events], 30),
        (&["-n", ns, "get", "endpointslices", "-o", "wide"], 10),
        (&["-n", ns, "describe", "pods"], 0),
        (&["-n", ns, "logs", "-l", "app.kubernetes.io/managed-by=shardpair", "--prefix", "--tail=-1"], 0),
        (&system, 80),
    ];
    let mut whole = String::new();
    for (args, lines) in looks {
        let ran = output("kubectl", &[&["--request-timeout=10s"], args].concat()).await;
        let text = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
        whole += &format!("\n$ kubectl {}\n{text}", args.join(" "));
        let all: Vec<&str> = text.lines().collect();
        if lines > 0 {
            println!("$ kubectl {}\n{}", args.join(" "), all[all.len().saturating_sub(lines)..].join("\n"));
        }
    }
    let path = logs().join(format!("{ns}.txt"));
    match std::fs::write(&path, whole) {
        Ok(()) => println!("everything: {}", path.display()),
        Err(error) => println!("{}: {error}", path.display()),
    }
}

/// Where failures are described.
pub fn logs() -> PathBuf {
    let path = root().join("target/test-logs/kubernetes");
    std::fs::create_dir_all(&path).expect("a directory for logs");
    path
}
