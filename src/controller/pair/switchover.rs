//! The planned move, in the one order that costs a few dozen milliseconds (measured in docs: 57-87 ms, over 1 s in the
//! naive one): nothing is asked of the old primary's source side until the new pair of roles stands.
//!
//! Writes stop on the old primary while its standby still acknowledges; the new one opens with its acks required; the old
//! one becomes its acker. Given up at any point before the record: the old primary gets its writes back, by the ordinary
//! rules. After the record: rolled forward by the same.

use std::time::Duration;

use super::Runner;
use super::act::{QUICK, SLOW, surprise};
use super::hands::Surprise;
use crate::mysql::{facts, replication, role, sessions};
use crate::pair::record::{Mode, Record};
use crate::pair::settings::Durability;

/// Writes may stand still this long before the old primary gets them back.
const BUDGET: Duration = Duration::from_secs(1);
/// The data plane (kube-proxy on every node) follows a write of the slice within this; sessions are ended after it.
pub(super) const DATA_PLANE: Duration = Duration::from_millis(150);

impl Runner {
    pub(super) async fn switch_over(&mut self, from: &str, to: &str, record: &Record) -> Result<(), Surprise> {
        let named = surprise("SwitchOver");
        // Before anything stops: the idle reverse channel goes, so that the old primary can begin afresh as the acker.
        replication::stop_receiver(self.at(from).await?, SLOW).await.map_err(&named)?;
        self.at(to).await?;
        self.point("SwitchOver.close").await;
        role::close_writes(self.at(from).await?, BUDGET).await.map_err(&named)?;
        // From here on an error leaves the old primary closed; the next pass gives it its writes back.
        let last = facts::read(self.at(from).await?, QUICK).await.map_err(&named)?.executed;
        self.point("SwitchOver.drain").await;
        let session = self.at(to).await?;
        replication::wait_executed(session, &last, BUDGET).await.map_err(&named)?;
        replication::stop_drained(session, QUICK).await.map_err(&named)?;
        self.point("SwitchOver.record").await;
        self.write_record(record).await?;
        self.point("SwitchOver.open").await;
        let ack = record.mode == Mode::Sync || self.settings.durability == Durability::Required;
        let how = self.open_as(ack, false);
        self.open(to, how, "SwitchOver", QUICK).await?;
        self.point("SwitchOver.vip").await;
        self.point_vip(to).await?;
        self.point("SwitchOver.attach").await;
        // The ordinary rules would do the rest; done here, no write waits for the next pass.
        if record.mode == Mode::Sync {
            self.attach(from, to, true).await?;
        }
        let Some(accounts) = self.accounts.clone() else { return Ok(()) };
        tokio::time::sleep(DATA_PLANE).await;
        self.point("SwitchOver.end").await;
        sessions::end_application_sessions(self.at(from).await?, &accounts.users(), QUICK).await.map_err(&named)?;
        role::become_standby(self.at(from).await?, SLOW).await.map_err(&named)
    }
}
