//! What keys wait for: the fence, and the opening of the side that takes them. Few round trips; on a busy machine each costs milliseconds.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::error::Error;
use super::super::replication::not_seen;
use super::super::session::Session;
use super::super::unlogged::SHORT;
use super::triggers::UNSHARDED;
use super::{LOCKED, read, set_owned, set_row};

/// From its return on, the application's writes with keys of `class` are refused here: every one that had passed before
/// is committed or rolled back. `TimedOut` after `wait`, with the session that holds it up: nothing has changed then.
/// (After `NoAnswer` it may still happen: end the session, and set the rows from the record.)
pub async fn fence(s: &mut Session, class: u32, epoch: i64, wait: Duration) -> Result<(), Error> {
    // The member is writable: nothing to lift.
    without_binlog(s, async |s| set_row(s, class, false, epoch, wait).await).await
}

/// As [`super::super::unlogged`], without its looks at `super_read_only`.
async fn without_binlog(s: &mut Session, work: impl AsyncFnOnce(&mut Session) -> Result<(), Error>) -> Result<(), Error> {
    s.exec("SET SESSION sql_log_bin=0", SHORT).await?;
    let done = work(s).await;
    if s.is_usable() {
        s.exec("SET SESSION sql_log_bin=1", SHORT).await?;
    }
    done
}

/// Sets the rows of a member that is read-only now and opened next: `super_read_only` is lifted and not put back, since that would wait
/// for the applier's commits and be lifted again at once (seen under load: 0.6 s). `read_only` binds the application until the
/// opening; should that never come, a member that is read-only is closed by the ordinary rules. Only for classes that are
/// opened: one that is closed here notes since when ([`set_owned`]).
pub async fn give(s: &mut Session, owned: &BTreeSet<u32>, epoch: i64) -> Result<(), Error> {
    match without_binlog(s, async |s| give_unlogged(s, owned, epoch).await).await {
        // Somebody who was refused sits in a transaction: ended there.
        Err(error) if error.code().is_some_and(|code| LOCKED.contains(&code)) => return set_owned(s, owned, epoch).await,
        other => other?,
    }
    match read(s).await? {
        Some(state) if state.owned == *owned && state.epoch == epoch => Ok(()),
        other => Err(not_seen(s, "setting the guard's rows", format!("{other:?}"))),
    }
}

async fn give_unlogged(s: &mut Session, owned: &BTreeSet<u32>, epoch: i64) -> Result<(), Error> {
    s.exec("SET GLOBAL super_read_only=OFF", SHORT).await?;
    let classes = owned.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let sql = format!(
        "UPDATE shardpair.guard g JOIN shardpair.guard_state s ON s.id=1 SET g.owned=1, g.epoch={epoch}, s.epoch={epoch}
         WHERE g.class IN ({classes}) AND g.class<>{UNSHARDED} AND g.owned=0"
    );
    s.exec(&sql, SHORT).await
}
