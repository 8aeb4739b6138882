//! `promote PAIR --accept-data-loss`: for when no safe move is left. Says what is lost, asks, and only then asks the operator.

use kube::ResourceExt;

use super::cli::Cli;
use super::explain::{loss, moves};
use super::find;
use super::seen::Seen;
use super::steer::{Waiting, answerable, ask, target};
use super::trouble::Trouble;
use crate::api::{ShardPair, names};

/// See the module.
#[derive(Clone, Debug, clap::Args)]
pub struct Promote {
    /// The pair.
    pair: String,
    /// The member that becomes primary; absent: the standby.
    #[arg(long)]
    to: Option<String>,
    /// Acknowledged writes may be lost: without this nothing is done.
    #[arg(long)]
    accept_data_loss: bool,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    waiting: Waiting,
}

/// Carries it out.
pub async fn run(cli: &Cli, args: &Promote) -> Result<(), Trouble> {
    let seen = cli.look().await?;
    let pair = find::pair(&seen, &args.pair)?;
    let (to, lost) = check(&seen, pair, args.to.as_deref())?;
    if !args.accept_data_loss {
        return Err(Trouble::misuse(format!("{lost}; repeat with --accept-data-loss, if that is what you want")));
    }
    cli.confirm(&question(pair, &to, &lost), &pair.name_any(), args.yes)?;
    let Some(after) = ask(cli, pair, names::ASK_PROMOTE_WITH_DATA_LOSS, &to, &args.waiting).await? else { return Ok(()) };
    let record = after.status.unwrap_or_default().record;
    if record.primary != to {
        return Err(Trouble::failed(format!("{} kept its role: `kubectl shardpair explain {}` tells why", record.primary, args.pair)));
    }
    cli.show(false, &format!("{}: {to} is the primary now (epoch {}); the writes of the old one are kept on its volume until you discard them\n", pair.name_any(), record.epoch));
    Ok(())
}

/// Who is promoted, and what is lost; refused while a safe move exists. Pure.
pub fn check(seen: &Seen, pair: &ShardPair, to: Option<&str>) -> Result<(String, String), Trouble> {
    let to = target(pair, to)?;
    answerable(seen, pair)?;
    let refused = moves(seen, pair).into_iter().find(|m| m.name == "promote" && !m.possible);
    match refused {
        Some(m) => Err(Trouble::failed(format!("{} is not promoted: {}", pair.name_any(), m.against()))),
        None => Ok((to, loss(seen, pair))),
    }
}

/// What a person reads before the word is typed. Pure.
pub fn question(pair: &ShardPair, to: &str, lost: &str) -> String {
    let name = pair.name_any();
    let old = pair.status.clone().unwrap_or_default().record.primary;
    format!(
        "{name}: {to} becomes primary instead of {old}.\n  LOST: {lost}.\n  {old} is not undone: its volume keeps those writes, and it gets no role until you discard them (shardpair.io/discard-tail) or replace it.\n  If {old} can still come back, wait for it instead: nothing is lost then."
    )
}
