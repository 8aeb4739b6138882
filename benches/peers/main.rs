//! What a user would pick instead of shardpair, under the same faults, on the same machine, in the same run.
//!
//! `benches/peers/run --help` tells how it is used, README.md beside it what a stack is. The writer and what it checks are
//! those of `tests/kubernetes` and benches/failover.

#[path = "../../tests/kubernetes/support/spread.rs"]
mod spread;
#[path = "../../tests/kubernetes/support/writer.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod writer;

mod beside;
mod client;
mod measure;
mod ours;
mod plot;
mod postgres;
mod report;
mod results;
mod setting;
mod stack;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use results::{Fault, Measured, Results};

#[derive(Clone, Parser)]
#[command(name = "benches/peers/run", about = "Measures other stacks, and shardpair before and after each, under the same faults")]
struct Args {
    /// About 25 minutes: 2 runs a fault, little time a stack, shardpair only before the first and after the last.
    #[arg(long)]
    quick: bool,
    /// Runs of each fault [default: 10, with --quick 2].
    #[arg(long)]
    runs: Option<u32>,
    /// The same, of stacks that take tens of seconds a run [default: 5, with --quick 2].
    #[arg(long)]
    slow_runs: Option<u32>,
    /// Only these, by name; `shardpair` is one, and so are `commits`, `split` and `purge`, which aren't faults.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these faults: kill9, sigstop, cut, planned.
    #[arg(long = "fault", value_delimiter = ',')]
    faults: Vec<String>,
    /// After so many seconds of a stack only the first run of each fault is begun [default: 1800, with --quick 45].
    #[arg(long)]
    stack_seconds: Option<u64>,
    /// Where the results are kept.
    #[arg(long, default_value = "target/peers.json")]
    json: PathBuf,
    /// Makes docs/benchmarks.md and its plot from the results that are kept, without measuring.
    #[arg(long)]
    report: bool,
    /// Leaves docs/benchmarks.md as it is.
    #[arg(long)]
    no_docs: bool,
    /// Names the stacks.
    #[arg(long)]
    list: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("peers: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), String> {
    if args.list {
        let names: Vec<String> = stack::known().into_iter().map(|s| s.name).collect();
        println!("{} {} {}", ours::NAME, names.join(" "), beside::ALL.join(" "));
        return Ok(());
    }
    if args.report {
        let text = std::fs::read_to_string(&args.json).map_err(|e| format!("{}: {e}", args.json.display()))?;
        return setting::publish(&serde_json::from_str(&text).map_err(|e| e.to_string())?);
    }
    let results = measure_all(&args).await?;
    println!("{}", report::tables(&results));
    if args.no_docs { Ok(()) } else { setting::publish(&results) }
}

fn plan(args: &Args) -> Result<measure::Plan, String> {
    let named = |name: &String| Fault::ALL.into_iter().find(|f| f.name() == name).ok_or_else(|| format!("no fault is called {name}"));
    let faults: Vec<Fault> = args.faults.iter().map(named).collect::<Result<_, _>>()?;
    let of = |given: Option<u32>, long: u32| given.or(args.runs).unwrap_or(if args.quick { 2 } else { long });
    Ok(measure::Plan {
        faults: if faults.is_empty() { Fault::IN_TURN.to_vec() } else { faults },
        runs: of(None, 10),
        slow_runs: of(args.slow_runs, 5),
        stack_time: secs(args.stack_seconds.unwrap_or(if args.quick { 45 } else { 1800 })),
    })
}

async fn measure_all(args: &Args) -> Result<Results, String> {
    let (plan, known, begun) = (plan(args)?, stack::known(), Instant::now());
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|o| o == name);
    if let Some(no) = args.only.iter().find(|o| *o != ours::NAME && !beside::ALL.contains(&o.as_str()) && !known.iter().any(|s| s.name == **o)) {
        return Err(format!("no stack is called {no}; benches/peers/run --list names them"));
    }
    let chosen: Vec<_> = known.into_iter().filter(|s| wanted(&s.name)).collect();
    let mut results = Results { setting: setting::describe(), ..Results::default() };
    let ours = if wanted(ours::NAME) { ours::possible() } else { Err("not asked for".to_owned()) };
    if let Err(why) = &ours {
        println!("{}: left out: {why}", ours::NAME);
    }
    let mut times = 0;
    let mut own = async |results: &mut Results, at: &str| {
        if ours.is_ok() {
            times += 1;
            keep(args, results, ours::measure(&plan, args.quick, &format!("{}, {at}", ours::NAME)).await);
        }
    };
    own(&mut results, "first").await;
    let last = chosen.len();
    for name in beside::ALL {
        // What takes long isn't part of the quick form, unless it is asked for.
        let chosen = if args.quick && args.only.is_empty() { name == beside::COMMITS } else { wanted(name) };
        if chosen && let Err(why) = beside::measure(name, args.quick, &mut results).await {
            println!("{name}: left out: {why}");
        }
    }
    for (number, stack) in chosen.iter().enumerate() {
        let measured = measure::stack(stack, &plan).await;
        results.setting.minutes = (begun.elapsed().as_secs_f64() / 6.0).round() / 10.0;
        keep(args, &mut results, measured);
        if number + 1 == last || !args.quick {
            own(&mut results, &format!("after {}", stack.name)).await;
        }
    }
    results.setting.minutes = (begun.elapsed().as_secs_f64() / 6.0).round() / 10.0;
    save(args, &results)?;
    Ok(results)
}

/// Saved as it comes: a run that is ended keeps what it has.
fn keep(args: &Args, results: &mut Results, measured: Measured) {
    results.stacks.push(measured);
    if let Err(why) = save(args, results) {
        eprintln!("peers: {why}");
    }
}

fn save(args: &Args, results: &Results) -> Result<(), String> {
    let text = serde_json::to_string_pretty(results).map_err(|e| e.to_string())?;
    std::fs::write(&args.json, text).map_err(|e| format!("{}: {e}", args.json.display()))
}
