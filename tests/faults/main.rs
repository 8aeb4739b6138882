//! Faults on the real thing: small ShardClusters under load, a seeded nemesis, and a checker after each round.
//!
//! `tests/faults/run --minutes M [--seed S]` brings everything it needs; this program expects a cluster with the operator built
//! with `faultpoints`. A round: writers append unique rows through the VIPs, one or two faults strike, the world heals, every
//! pair must come back to Sync by itself, and every row that was acknowledged must be there exactly once, on both members.
//! What was done and measured is told, and written to target/faults/<seed>.json. The first lost row, or pair that doesn't
//! come back, ends it with everything worth knowing.

#[allow(dead_code, reason = "shared with the tests of tests/kubernetes, which use all of it")]
#[path = "../kubernetes/support/mod.rs"]
mod support;

mod aim;
mod nemesis;
mod report;
mod round;
mod special;
mod split;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use report::Report;
use round::World;
use shardpair::simulation::dice::Dice;
use support::{kubectl, secs, with_temp_ns_for};

const USAGE: &str = "usage: tests/faults/run [--minutes M] [--seed S] [--pairs N] [--only KIND[+KIND]]… [--points]
  --minutes  rounds are begun for this long (default 6)
  --seed     the same seed chooses the same faults (default: the clock's)
  --pairs    ShardClusters of one shard (default 2)
  --only     these kinds alone, in turn
  --splits   instead: so many splits of one shard into two, with a fault at every arrow
  --together so many of them at a time (default 1)
  --flips    of each split, with a way back between (default 3)
  --points   the operator has named fault points and a clock that can be made to jump (the script sees to it)";

struct Args {
    minutes: f64,
    seed: u64,
    pairs: usize,
    only: Vec<String>,
    splits: u32,
    together: usize,
    flips: u32,
    points: bool,
}

fn args() -> Result<Option<Args>, String> {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |t| t.as_secs());
    let mut args = Args { minutes: 6.0, seed: clock, pairs: 2, only: Vec::new(), splits: 0, together: 1, flips: 3, points: false };
    let mut words = std::env::args().skip(1).peekable();
    if words.peek().is_none() {
        return Ok(None);
    }
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--minutes" => args.minutes = value()?.parse().map_err(|_| "--minutes: a number")?,
            "--seed" => args.seed = value()?.parse().map_err(|_| "--seed: a number")?,
            "--pairs" => args.pairs = value()?.parse().map_err(|_| "--pairs: a number")?,
            "--only" => args.only.push(value()?),
            "--splits" => args.splits = value()?.parse().map_err(|_| "--splits: a number")?,
            "--together" => args.together = value()?.parse().map_err(|_| "--together: a number")?,
            "--flips" => args.flips = value()?.parse().map_err(|_| "--flips: a number")?,
            "--points" => args.points = true,
            other => return Err(format!("{other}?")),
        }
    }
    Ok(Some(args))
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    if words.first().is_some_and(|w| w == split::CLIENT) {
        let ended = runtime.block_on(split::client(&words[1..]));
        return ended.map_or_else(|why| { eprintln!("{why}"); ExitCode::FAILURE }, |()| ExitCode::SUCCESS);
    }
    let args = match args() {
        Ok(Some(args)) => args,
        // `cargo test` without more: this is not one of the tests that it runs.
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    runtime.block_on(run(args))
}

async fn run(args: Args) -> ExitCode {
    if args.splits > 0 {
        println!("seed {}: {} splits", args.seed, args.splits);
        let Args { splits, together, flips, points, seed, .. } = args;
        split::run(split::Asked { splits, together, flips, points, seed }).await;
        return ExitCode::SUCCESS;
    }
    println!("seed {}: {} pairs for {} minutes", args.seed, args.pairs, args.minutes);
    let mut report = Report::new(args.seed);
    let limit = Duration::from_secs_f64(args.minutes * 60.0) + secs(900);
    with_temp_ns_for("faults", limit, async |client, ns| {
        if args.points {
            clock(&["LD_PRELOAD=/usr/lib/faketime/libfaketime.so.1", "FAKETIME_TIMESTAMP_FILE=/dev/shm/offset", "FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKETIME_CACHE_DURATION=1"]).await;
        }
        let mut world = World::new(&client, &ns, args.pairs, args.points).await;
        let ended = rounds(&args, &mut world, &mut report).await;
        if args.points {
            clock(&["LD_PRELOAD-", "FAKETIME_TIMESTAMP_FILE-", "FAKETIME_DONT_FAKE_MONOTONIC-", "FAKETIME_CACHE_DURATION-"]).await;
        }
        report.write();
        println!("{report}");
        if let Err(why) = ended {
            panic!("{why}");
        }
    })
    .await;
    ExitCode::SUCCESS
}

async fn clock(environment: &[&str]) {
    kubectl(&[&["-n", support::cluster::SYSTEM, "set", "env", "deployment/shardpair"], environment].concat()).await;
    kubectl(&["-n", support::cluster::SYSTEM, "rollout", "status", "deployment/shardpair", "--timeout=120s"]).await;
}

async fn rounds(args: &Args, world: &mut World, report: &mut Report) -> Result<(), String> {
    let begun = Instant::now();
    let mut dice = Dice(args.seed);
    let mut number = 0;
    while begun.elapsed().as_secs_f64() < args.minutes * 60.0 {
        let plan = match args.only.get(number % args.only.len().max(1)) {
            Some(kinds) => nemesis::chosen(kinds, world.shops.len())?,
            None => nemesis::plan(&mut dice, world.shops.len(), args.points),
        };
        number += 1;
        let played = match nemesis::special(&plan) {
            Some((shop, kind)) => special::play(world, shop, kind, &mut dice).await,
            None => round::play(world, &plan, &mut dice).await,
        };
        match played {
            Ok(told) => {
                println!("round {number}, {:.0} s: {told}", begun.elapsed().as_secs_f64());
                report.add(told);
            }
            Err(why) => return Err(format!("seed {}, round {number} ({plan:?}): {why}", args.seed)),
        }
    }
    world.check_all().await
}
