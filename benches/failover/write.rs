//! The writer alone: tells every gap when it is over, and at the end whether every acknowledged row is there.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::Client;
use shardpair::controller::operator::stop_signal;

use super::support::shop::Shop;
use super::support::writer::{Pace, Writer};

/// What the command line says.
#[derive(clap::Args)]
pub struct Options {
    /// Namespace of the ShardCluster.
    #[arg(long, short, default_value = "default")]
    namespace: String,
    /// The ShardCluster.
    #[arg(long, default_value = "shop")]
    cluster: String,
    /// Number of the shard.
    #[arg(long, default_value_t = 0)]
    shard: u32,
    /// The database to write to.
    #[arg(long, default_value = "shop")]
    database: String,
    /// Seconds; absent: until SIGTERM or SIGINT.
    #[arg(long)]
    seconds: Option<u64>,
    /// Gaps of at least this are told, milliseconds.
    #[arg(long, default_value_t = 50)]
    tell_ms: u64,
    /// Only say whether the VIP can be reached from here (exit code 0 or 1).
    #[arg(long)]
    reach: bool,
}

/// Exit code 0: nothing is lost.
pub async fn run(options: Options) -> ExitCode {
    let client = match Client::try_default().await {
        Ok(client) => client,
        Err(error) => return fail(&error.to_string()),
    };
    let shop = Shop { client, ns: options.namespace.clone(), name: options.cluster.clone() };
    let mut target = shop.vip_of(options.shard).await;
    target.database.clone_from(&options.database);
    if options.reach {
        let reached = target.connect(Duration::from_secs(3)).await;
        return if reached.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let writer = match Writer::start(&target, Pace::default()).await {
        Ok(writer) => writer,
        Err(error) => return fail(&error),
    };
    let log = watch(writer, &options).await;
    println!("{}-{}: {}", options.cluster, options.shard, log.summary());
    let mut last = String::new();
    // The last fault may have been a moment ago.
    for _ in 0..100 {
        match target.connect(Duration::from_secs(1)).await {
            Ok(mut conn) => match log.problems(&mut conn).await {
                Ok(problems) if problems.is_empty() => {
                    println!("{}-{}: all {} acknowledged rows are there, once", options.cluster, options.shard, log.acked());
                    return ExitCode::SUCCESS;
                }
                Ok(problems) => return fail(&format!("{} problems: {problems:#?}", problems.len())),
                Err(error) => last = error,
            },
            Err(error) => last = error,
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    fail(&last)
}

/// Tells gaps as they end.
async fn watch(writer: Writer, options: &Options) -> super::support::writer::Log {
    let mut stop = std::pin::pin!(stop_signal());
    let begun = Instant::now();
    let (mut acked, mut since) = (writer.acked(), Instant::now());
    loop {
        tokio::select! {
            () = &mut stop => break,
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
        if writer.acked() != acked {
            let gap = since.elapsed();
            if gap >= Duration::from_millis(options.tell_ms) {
                let now = Timestamp::now().strftime("%H:%M:%S.%3f");
                println!("{now} {}-{}: writes go on after {} ms", options.cluster, options.shard, gap.as_millis());
            }
            (acked, since) = (writer.acked(), Instant::now());
        }
        if options.seconds.is_some_and(|s| begun.elapsed().as_secs() >= s) {
            break;
        }
    }
    writer.stop().await
}

fn fail(why: &str) -> ExitCode {
    eprintln!("failover: {why}");
    ExitCode::FAILURE
}
