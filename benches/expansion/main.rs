//! What an expansion costs: the pause of keys that move, what keys that stay feel, the time of a flip of all shards and of the way
//! back, at several sizes of data, beside what copying that data costs.
//!
//! `benches/expansion/run --help` tells how it is used. `write` is the sharded writer alone, for the demo.

#[path = "../../tests/kubernetes/support/mod.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod support;

mod beside;
mod measure;
mod report;
mod write;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "benches/expansion/run", about = "Measures ExpansionPlans on the test cluster")]
struct Args {
    /// Shards before; twice as many after.
    #[arg(long, default_value_t = 1)]
    shards: u32,
    /// Megabytes of data on each shard; several, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "100")]
    mb: Vec<u64>,
    /// Flips, each with its way back, at each size.
    #[arg(long, default_value_t = 10)]
    runs: u32,
    /// Writes per second over all shards.
    #[arg(long, default_value_t = 500)]
    rate: u64,
    /// Also mysqldump|mysql and CLONE of the same data.
    #[arg(long)]
    beside: bool,
    /// Where the results go, as JSON.
    #[arg(long, default_value = "target/expansion-bench.json")]
    json: std::path::PathBuf,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Writes to all shards of a running cluster, by its map, until SIGTERM or SIGINT; tells what keys felt, checks every row.
    Write(write::Options),
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(Command::Write(options)) = args.command {
        return write::run(options).await;
    }
    let mut all = Vec::new();
    for mb in &args.mb {
        let size = measure::Size { shards: args.shards, mb: *mb, runs: args.runs, rate: args.rate, beside: args.beside };
        all.push(measure::at(size).await);
    }
    report::table(&all);
    report::write(&args.json, &all);
    if all.iter().all(|figures| figures.problems.is_empty()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
