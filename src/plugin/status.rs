//! `status [cluster]`: every pair in a line. Pure but for [`run`].

use super::cli::Cli;
use super::paint::{Paint, drawn};
use super::seen::{Seen, age};
use super::trouble::Trouble;
use super::view::{ClusterView, PairLine, clusters};
use super::{Output, plan};
use crate::pair::guide::Class;

/// See the module.
#[derive(Clone, Debug, clap::Args)]
pub struct Status {
    /// One cluster; absent: all of the namespace.
    cluster: Option<String>,
    /// Look again every second until Ctrl-C.
    #[arg(short, long)]
    watch: bool,
}

/// The terminal must have this many columns to be looked at for long.
pub const WATCH_WIDTH: u16 = 60;

/// Carries it out. Ends with 1 when a pair isn't Ready, so that scripts can ask.
pub async fn run(cli: &Cli, args: &Status) -> Result<(), Trouble> {
    if args.watch {
        cli.can_watch(WATCH_WIDTH)?;
    }
    loop {
        let seen = cli.look_at(args.cluster.as_deref()).await?;
        let view = clusters(&seen);
        match cli.output {
            Some(Output::Json | Output::Yaml) => cli.print(&view)?,
            _ if view.is_empty() => cli.note(&format!("no ShardCluster {}", seen.place())),
            _ => cli.show(args.watch, &text(&seen, &view, cli.wide(), cli.paint())),
        }
        if !args.watch {
            return Ok(());
        }
        cli.next_look().await;
    }
}

/// The tables, one a cluster.
pub fn text(seen: &Seen, view: &[ClusterView], wide: bool, paint: Paint) -> String {
    view.iter().map(|cluster| one(seen, cluster, wide, paint)).collect::<Vec<_>>().join("\n")
}

fn one(seen: &Seen, cluster: &ClusterView, wide: bool, paint: Paint) -> String {
    let all = if seen.namespace.is_none() { format!("{}/", cluster.namespace) } else { String::new() };
    let well = cluster.ready && cluster.reason != "OperatorAway";
    let class = if well { Class::Rest } else { Class::Refusal };
    let state = if well { "Ready".to_owned() } else { cluster.reason.clone() };
    let shards = if cluster.shards == 1 { "shard" } else { "shards" };
    let mut text = format!("{all}{}: {} {shards}, {}", cluster.name, cluster.shards, paint.text(class, &state));
    if let Some(operator) = &cluster.operator {
        text += &format!(", operator {operator}");
    }
    if !well && !cluster.message.is_empty() {
        text += &format!("\n  {}", cluster.message);
    }
    text += "\n";
    let mut header = vec!["PAIR", "PRIMARY", "STANDBY", "MODE", "LAG", "BEHIND", "SINCE", "STATE"];
    if wide {
        header.splice(7..7, ["EPOCH", "LAST MOVE"]);
    }
    let rows = cluster.pairs.iter().map(|p| row(seen, p, wide)).collect();
    text += &paint.table(&header, rows);
    for p in &cluster.plans {
        text += &plan::text(p, paint);
    }
    text
}

fn row(seen: &Seen, pair: &PairLine, wide: bool) -> Vec<super::paint::Drawn> {
    let since = |at: jiff::Timestamp| age(seen.now.as_second() - at.as_second());
    let dash = || "-".to_owned();
    let class = pair.weight();
    let mode = pair.mode.map_or(drawn(Class::Wait, "-"), |m| drawn(if pair.redundant { Class::Rest } else { Class::Refusal }, format!("{m:?}")));
    let mut cells = vec![
        pair.name.clone().into(),
        if pair.primary.is_empty() { dash().into() } else { drawn(if pair.available { Class::Rest } else { Class::Refusal }, &pair.primary) },
        pair.standby.clone().unwrap_or_else(dash).into(),
        mode,
        pair.lag_seconds.map_or_else(dash, |s| format!("{s}s")).into(),
        pair.behind_transactions.map_or_else(dash, |n| n.to_string()).into(),
        pair.since.map_or_else(dash, since).into(),
        drawn(class, state(pair)),
    ];
    if wide {
        let last = pair.last_move.as_ref().map_or_else(dash, |m| format!("{:?} {} ago ({:.2}s, {})", m.kind, since(m.at), m.seconds, m.reason));
        cells.splice(7..7, [pair.epoch.into(), last.into()]);
    }
    cells
}

/// `InSync`, or the reason and what it waits for.
fn state(pair: &PairLine) -> String {
    let mut words = vec![pair.reason.clone()];
    words.extend(pair.moving.iter().map(|m| format!("({m})")));
    if pair.paused && pair.reason != "Paused" {
        words.push("(paused)".to_owned());
    }
    words.extend(pair.requests.iter().map(|r| format!("(asked: {r})")));
    let head = words.join(" ");
    // The cluster's line says it for all.
    if pair.waits_for.is_empty() || pair.reason == "OperatorAway" { head } else { format!("{head}: {}", pair.waits_for) }
}
