//! The sharded writer alone: clients of old and new maps, told apart by whether their keys move.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use kube::Client;
use shardpair::controller::operator::stop_signal;

use super::support::lanes::Lanes;
use super::support::shop::Shop;

/// What the command line says.
#[derive(clap::Args)]
pub struct Options {
    /// Namespace of the ShardCluster.
    #[arg(long, short, default_value = "default")]
    namespace: String,
    /// The ShardCluster.
    #[arg(long, default_value = "shop")]
    cluster: String,
    /// Shards after the plan: keys are told apart by this modulus.
    #[arg(long)]
    to_shards: u64,
    /// Between an answer and the next row of a connection, milliseconds.
    #[arg(long, default_value_t = 10)]
    pause_ms: u64,
}

/// Exit code 0: every acknowledged row is with its owner, once, and nowhere else.
pub async fn run(options: Options) -> ExitCode {
    let Ok(client) = Client::try_default().await else { return fail("no Kubernetes configuration found") };
    let shop = Shop { client, ns: options.namespace.clone(), name: options.cluster.clone() };
    let lanes = match Lanes::start(&shop, options.to_shards, Duration::from_millis(options.pause_ms)).await {
        Ok(lanes) => lanes,
        Err(error) => return fail(&error),
    };
    let from = Instant::now();
    stop_signal().await;
    let log = lanes.stop().await;
    let to = Instant::now();
    for (what, moves) in [("keys that stay", false), ("keys that move", true)] {
        let felt = log.felt(|class| (class >= options.to_shards / 2) == moves, from, to);
        let mut why: BTreeMap<&str, usize> = BTreeMap::new();
        felt.errors.iter().for_each(|(text, times)| *why.entry(text.split(" epoch").next().unwrap_or(text)).or_default() += times);
        println!("{what}: {} rows acknowledged, longest pause of a connection {} ms, not at once: {why:?}", felt.acked, felt.gap.as_millis());
    }
    match log.problems(&shop, true).await {
        Ok(problems) if problems.is_empty() => {
            println!("all {} acknowledged rows are with their owners, once, and nowhere else", log.acked());
            ExitCode::SUCCESS
        }
        Ok(problems) => fail(&format!("{} problems: {:#?}", problems.len(), &problems[..problems.len().min(20)])),
        Err(error) => fail(&error),
    }
}

fn fail(why: &str) -> ExitCode {
    eprintln!("expansion: {why}");
    ExitCode::FAILURE
}
