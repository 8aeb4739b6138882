//! `switchover PAIR [--to MEMBER]`: both are well, they change roles.

use kube::ResourceExt;

use super::cli::Cli;
use super::explain::moves;
use super::seen::Seen;
use super::steer::{Waiting, answerable, ask, target};
use super::trouble::Trouble;
use super::find;
use crate::api::{ShardPair, names};

/// See the module.
#[derive(Clone, Debug, clap::Args)]
pub struct Switchover {
    /// The pair.
    pair: String,
    /// The member that becomes primary; absent: the standby.
    #[arg(long)]
    to: Option<String>,
    #[command(flatten)]
    waiting: Waiting,
}

/// Carries it out.
pub async fn run(cli: &Cli, args: &Switchover) -> Result<(), Trouble> {
    let seen = cli.look().await?;
    let pair = find::pair(&seen, &args.pair)?;
    let to = check(&seen, pair, args.to.as_deref())?;
    let Some(after) = ask(cli, pair, names::ASK_SWITCHOVER_TO, &to, &args.waiting).await? else { return Ok(()) };
    cli.show(false, &outcome(&after, &to)?);
    Ok(())
}

/// What the status refuses is refused before it is asked. Pure.
pub fn check(seen: &Seen, pair: &ShardPair, to: Option<&str>) -> Result<String, Trouble> {
    let to = target(pair, to)?;
    answerable(seen, pair)?;
    let refused = moves(seen, pair).into_iter().find(|m| m.name == "switchover" && !m.possible);
    match refused {
        Some(m) => Err(Trouble::failed(format!("no switchover of {} now: {}", pair.name_any(), m.against()))),
        None => Ok(to),
    }
}

fn outcome(pair: &ShardPair, to: &str) -> Result<String, Trouble> {
    let status = pair.status.clone().unwrap_or_default();
    let name = pair.name_any();
    if status.record.primary != to {
        return Err(Trouble::failed(format!("{name}: {} kept its role: `kubectl shardpair explain {name}` tells why", status.record.primary)));
    }
    let gap = status.last_move.filter(|m| m.to == to).map_or_else(String::new, |m| format!(", {:.3} s without writes", m.seconds));
    Ok(format!("{name}: {to} is the primary now (epoch {}{gap})\n", status.record.epoch))
}
