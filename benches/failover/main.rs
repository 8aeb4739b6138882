//! How long nobody can write when a primary goes, and whether anything that was acknowledged is lost.
//!
//! `benches/failover/run --help` tells how it is used. The writer is the one of `tests/kubernetes`, through the VIP, from
//! the machine that the cluster runs on. `write` is the same writer alone, for the demo.

#[path = "../../tests/kubernetes/support/mod.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod support;

mod measure;
mod phases;
mod report;
mod setting;
mod write;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(name = "benches/failover/run", about = "Measures write gaps of failovers and switchovers on the test cluster")]
struct Args {
    /// Runs of each kind.
    #[arg(long, default_value_t = 30)]
    runs: u32,
    /// What is done to the primary; may be given several times; all by default.
    #[arg(long = "kind", value_enum)]
    kinds: Vec<Kind>,
    /// Seconds from Sync to the next run.
    #[arg(long, default_value_t = 12)]
    pause: u64,
    /// Connections of the writer.
    #[arg(long, default_value_t = 4)]
    connections: u32,
    /// Where the results go, as JSON.
    #[arg(long, default_value = "target/failover-bench.json")]
    json: std::path::PathBuf,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Writes to a shard of a running cluster until SIGTERM or SIGINT (or for a time), tells every gap, checks every row.
    Write(write::Options),
}

/// What is done to the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// kill -9 of mysqld.
    Kill9,
    /// mysqld is stopped by SIGSTOP: nothing breaks, nothing answers.
    Sigstop,
    /// The network link of its node is cut, until another member takes writes.
    Cut,
    /// kubectl delete pod.
    PodDelete,
    /// The annotation shardpair.io/switchover-to.
    Switchover,
}

impl Kind {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill9 => "kill9",
            Self::Sigstop => "sigstop",
            Self::Cut => "cut",
            Self::PodDelete => "pod-delete",
            Self::Switchover => "switchover",
        }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(Command::Write(options)) = args.command {
        return write::run(options).await;
    }
    let kinds = if args.kinds.is_empty() { Kind::value_variants().to_vec() } else { args.kinds };
    let plan = measure::Plan { runs: args.runs, kinds, pause: Duration::from_secs(args.pause), connections: args.connections };
    match measure::all(plan, &args.json).await {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
