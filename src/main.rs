//! The operator's command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shardpair::controller::{check, operator};
use shardpair::{invalidate, route};
use tokio::runtime::Handle;
use tracing_subscriber::EnvFilter;

#[derive(Parser)]
#[command(name = "shardpair", version, about = "Kubernetes operator for dual-master MySQL shard pairs")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the operator.
    Run(operator::Options),
    /// Is the installation whole? For `helm test`.
    Check(check::Options),
    /// Serve the maps over HTTP: where a key is.
    Route(route::Options),
    /// Erase cached keys of rows that changed, as the binlogs tell.
    Invalidate(invalidate::Options),
    /// Print the CustomResourceDefinitions as YAML.
    Crds,
    /// Live one random life of a pair in a simulated world, with the real decisions, and tell it (docs/verification.md).
    Simulate {
        /// Of two pairs, one of which is split off the other.
        #[arg(long)]
        split: bool,
        /// Where chance begins.
        #[arg(long)]
        seed: u64,
        /// Turns, in each of which something may befall the pair.
        #[arg(long, default_value_t = 12)]
        steps: u32,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    match args.command {
        Command::Crds => {
            print!("{}", shardpair::api::crds_yaml());
            ExitCode::SUCCESS
        }
        Command::Simulate { split, seed, steps } => simulate(split, seed, steps),
        Command::Check(options) => {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return fail(&error),
            };
            match runtime.block_on(check::run(options)) {
                Ok(found) => {
                    println!("{found}");
                    ExitCode::SUCCESS
                }
                Err(error) => fail(&error),
            }
        }
        Command::Run(options) => {
            run(tokio::runtime::Builder::new_multi_thread(), operator::run(options))
        }
        Command::Route(options) => {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            runtime.worker_threads(options.threads.max(1));
            run(runtime, route::run(options))
        }
        Command::Invalidate(options) => {
            run(tokio::runtime::Builder::new_multi_thread(), invalidate::run(options))
        }
    }
}

fn run<E: std::fmt::Display>(mut runtime: tokio::runtime::Builder, work: impl Future<Output = Result<(), E>>) -> ExitCode {
    match runtime.enable_all().build() {
        Ok(runtime) => {
            let _sending = log(runtime.handle());
            match runtime.block_on(work) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(&error),
            }
        }
        Err(error) => fail(&error),
    }
}

fn simulate(split: bool, seed: u64, turns: u32) -> ExitCode {
    use shardpair::simulation::{life::live, split::life::live_split, watch::Nobody};
    let told = if split { live_split(seed, turns, &Nobody) } else { live(seed, turns, &Nobody) };
    // A reader that has seen enough (`| head`) is no error.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), (told.story.join("\n") + "\n").as_bytes());
    if told.wrong.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("shardpair: {error}");
    ExitCode::FAILURE
}

/// JSON lines on stderr; `RUST_LOG` chooses (default: info).
fn how_to_log() -> (EnvFilter, bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,kube=warn,hyper=warn,tower=warn"));
    (filter, std::env::var("SHARDPAIR_LOG").is_ok_and(|v| v == "json"))
}

#[cfg(feature = "otel")]
fn log(runtime: &Handle) -> Option<shardpair::telemetry::Sending> {
    let (filter, json) = how_to_log();
    shardpair::telemetry::start(runtime.clone(), filter, json)
}

#[cfg(not(feature = "otel"))]
fn log(_runtime: &Handle) -> Option<()> {
    let (filter, json) = how_to_log();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json { builder.json().init() } else { builder.with_ansi(false).init() }
    if std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_some_and(|e| !e.is_empty()) {
        tracing::warn!("OTEL_EXPORTER_OTLP_ENDPOINT is set, but this build sends no spans: build with --features otel");
    }
    None
}
