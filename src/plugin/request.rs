//! `rebuild PAIR`, `replace PAIR`: a new copy for the standby.

use kube::ResourceExt;

use super::cli::Cli;
use super::explain::moves;
use super::find;
use super::seen::Seen;
use super::steer::{Waiting, answerable, ask, target};
use super::trouble::Trouble;
use crate::api::{ShardPair, names};

/// `rebuild`: the standby's data is replaced by a copy of the primary's.
#[derive(Clone, Debug, clap::Args)]
pub struct Rebuild {
    #[command(flatten)]
    what: What,
}

/// `replace`: a new member takes the standby's place.
#[derive(Clone, Debug, clap::Args)]
pub struct Replace {
    #[command(flatten)]
    what: What,
}

#[derive(Clone, Debug, clap::Args)]
struct What {
    /// The pair.
    pair: String,
    /// The member, to be sure which one; absent: the standby.
    #[arg(long)]
    member: Option<String>,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    waiting: Waiting,
}

/// Carries it out.
pub async fn rebuild(cli: &Cli, args: &Rebuild) -> Result<(), Trouble> {
    go(cli, &args.what, "rebuild", names::ASK_REBUILD, "its own data is deleted (what it holds beyond the primary is saved first)").await
}

/// Carries it out.
pub async fn replace(cli: &Cli, args: &Replace) -> Result<(), Trouble> {
    go(cli, &args.what, "replace", names::ASK_REPLACE, "it leaves the pair for good; its volume is kept").await
}

async fn go(cli: &Cli, what: &What, verb: &str, annotation: &str, means: &str) -> Result<(), Trouble> {
    let seen = cli.look().await?;
    let pair = find::pair(&seen, &what.pair)?;
    let member = check(&seen, pair, verb, what.member.as_deref())?;
    cli.confirm(&format!("{verb} {member} of {}: {means}; until the copy is there, the pair has no second one.", pair.name_any()), &member, what.yes)?;
    if ask(cli, pair, annotation, &member, &what.waiting).await?.is_some() {
        cli.show(false, &format!("{}: {verb} of {member} has begun; `kubectl shardpair status --watch` shows it\n", pair.name_any()));
    }
    Ok(())
}

/// What the status refuses is refused before it is asked. Pure.
pub fn check(seen: &Seen, pair: &ShardPair, verb: &str, member: Option<&str>) -> Result<String, Trouble> {
    let member = target(pair, member)?;
    answerable(seen, pair)?;
    match moves(seen, pair).into_iter().find(|m| m.name == verb && !m.possible) {
        Some(m) => Err(Trouble::failed(format!("no {verb} of {member} now: {}", m.against()))),
        None => Ok(member),
    }
}
