//! `kubectl shardpair`: see it, steer it. One file a verb.
//!
//! [`seen`] is what was asked of the API server once; [`view`], [`explain`], [`plan`] compute from it what is told, and
//! [`paint`] draws it: all pure, held to their golden files in `tests/pure/plugin`. [`cli`] is the only way out. The plugin
//! decides nothing: it asks by annotation or by the plan's spec, and the operator judges with fresh facts.

pub mod approve;
pub mod cli;
pub mod completion;
pub mod dashboard;
pub mod events;
pub mod expand;
pub mod explain;
pub mod find;
pub mod mysql;
pub mod paint;
pub mod pause;
pub mod plan;
pub mod promote;
pub mod report;
pub mod request;
pub mod route;
pub mod seen;
pub mod status;
pub mod steer;
pub mod switchover;
pub mod tar;
pub mod trouble;
pub mod view;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use trouble::Trouble;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-shardpair",
    bin_name = "kubectl shardpair",
    version,
    about = "See and steer dual-master MySQL shard pairs",
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong use."
)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb takes.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Common {
    /// Context of the kubeconfig.
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// The kubeconfig.
    #[arg(long, global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace; absent: the context's.
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// All namespaces.
    #[arg(short = 'A', long, global = true, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// Form of the result.
    #[arg(short, long, global = true, value_enum)]
    pub output: Option<Output>,
}

/// Forms of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// A table with more columns.
    Wide,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Every pair in a line: primary, standby, mode, lag, what it waits for.
    Status(status::Status),
    /// What a pair does now, and every move with its verdict, reason and remedy.
    Explain(explain::Explain),
    /// Make the standby primary; nothing is lost.
    Switchover(switchover::Switchover),
    /// Make the standby primary though acknowledged writes may be lost.
    Promote(promote::Promote),
    /// Copy the primary's data to the standby anew.
    Rebuild(request::Rebuild),
    /// Replace the standby by a new member.
    Replace(request::Replace),
    /// Double the shards of a cluster, or look at a plan that does.
    Expand(expand::Expand),
    /// Let a plan go on to its next phase.
    Approve(approve::Approve),
    /// Undo a plan, until it is dissolved.
    Rollback(approve::Rollback),
    /// Observe and report, change nothing.
    Pause(pause::Pause),
    /// Lift a pause.
    Resume(pause::Resume),
    /// The shard and the VIP of a row.
    Route(route::Route),
    /// A MySQL shell on the primary of a pair.
    Mysql(mysql::Mysql),
    /// The live page of the operator, on a local port.
    Dashboard(dashboard::Dashboard),
    /// What happened, in order.
    Events(events::Events),
    /// A support bundle without secrets.
    Report(report::Report),
    /// Completion for a shell.
    Completion(completion::Completion),
}

/// The whole program.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    if let Verb::Completion(completion) = &args.verb {
        completion::run(completion);
        return ExitCode::SUCCESS;
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("kubectl shardpair: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("kubectl shardpair: {trouble}");
            ExitCode::from(trouble.code)
        }
    }
}

async fn run(args: &Args) -> Result<(), Trouble> {
    let cli = cli::Cli::connect(&args.common).await?;
    match &args.verb {
        Verb::Status(args) => status::run(&cli, args).await,
        Verb::Explain(args) => explain::run(&cli, args).await,
        Verb::Switchover(args) => switchover::run(&cli, args).await,
        Verb::Promote(args) => promote::run(&cli, args).await,
        Verb::Rebuild(args) => request::rebuild(&cli, args).await,
        Verb::Replace(args) => request::replace(&cli, args).await,
        Verb::Expand(args) => expand::run(&cli, args).await,
        Verb::Approve(args) => approve::approve(&cli, args).await,
        Verb::Rollback(args) => approve::rollback(&cli, args).await,
        Verb::Pause(args) => pause::pause(&cli, args).await,
        Verb::Resume(args) => pause::resume(&cli, args).await,
        Verb::Route(args) => route::run(&cli, args).await,
        Verb::Mysql(args) => mysql::run(&cli, args).await,
        Verb::Dashboard(args) => dashboard::run(&cli, args).await,
        Verb::Events(args) => events::run(&cli, args).await,
        Verb::Report(args) => report::run(&cli, args).await,
        Verb::Completion(_) => Ok(()),
    }
}

/// What is said when the kind isn't served: `versions` of our group are.
pub fn versions(what: &str, versions: &[String]) -> Trouble {
    const OURS: &str = "v1alpha1";
    match versions {
        [] => Trouble::failed(format!("{what} isn't served here: install shardpair (helm install), or choose another --context")),
        some if some.iter().any(|v| v == OURS) => Trouble::failed(format!("{what} isn't served, other kinds of shardpair.io are: the CRDs are older than kubectl-shardpair {}: upgrade the chart", env!("CARGO_PKG_VERSION"))),
        some => Trouble::failed(format!("shardpair.io is served as {}, kubectl-shardpair {} speaks {OURS}: update the plugin", some.join(", "), env!("CARGO_PKG_VERSION"))),
    }
}
