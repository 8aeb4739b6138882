//! The two steps of a rewind: undo the tail on the member, and compare the rows that it touched. What can't be undone, or
//! differs, ends in the record that the decision brought along.

use std::time::Duration;

use kube::ResourceExt;

use super::Runner;
use super::act::{QUICK, surprise};
use super::hands::Surprise;
use crate::api::events;
use crate::mysql::Session;
use crate::mysql::rewind::check::{self, Progress, Verdict};
use crate::mysql::rewind::{self, Order, Outcome};
use crate::pair::record::Record;
use crate::pair::report::Told;

/// Undoing a tail takes this long at most, per statement and for reading it.
const UNDO_TIME: Duration = Duration::from_secs(60);

impl Runner {
    /// A session for what takes its time, which no other pass uses and the prober leaves alone.
    async fn session_of_its_own(&mut self, member: &str) -> Result<Session, Surprise> {
        // Leadership and address are looked at there.
        let endpoint = self.at(member).await?.endpoint().clone();
        let Some(accounts) = self.accounts.clone() else { return Err(Surprise::new("session", "no accounts")) };
        let session = Session::connect(&endpoint, &accounts.operator, QUICK).await.map_err(surprise("session"))?;
        if let Some(prober) = self.probers.get(member) {
            prober.keep(session.id());
        }
        Ok(session)
    }

    pub(super) async fn rewind(&mut self, member: &str, order: &Order, otherwise: &Record) -> Result<(), Surprise> {
        let (mut session, stream) = (self.session_of_its_own(member).await?, self.session_of_its_own(member).await?);
        let begun = std::time::Instant::now();
        let undone = rewind::undo(&mut session, stream, order, UNDO_TIME).await.map_err(surprise("Rewind"));
        session.close().await;
        match undone? {
            Outcome::Undone { events, rows } => {
                tracing::info!(pair = %self.pair.name_any(), member, events, rows, ms = begun.elapsed().as_millis() as u64, "rewound");
                Ok(())
            }
            Outcome::Refused(why) => self.cloned_instead(member, otherwise, &why.to_string()).await,
        }
    }

    pub(super) async fn compare_rows(&mut self, member: &str, primary: &str, otherwise: &Record) -> Result<(), Surprise> {
        let (mut here, mut there) = (self.session_of_its_own(member).await?, self.session_of_its_own(primary).await?);
        // For these two in this epoch; another comparison begins anew.
        let whose = (member.to_owned(), primary.to_owned(), otherwise.epoch);
        let begun = self.memory.comparison.take().filter(|(of, _)| *of == whose).map(|(_, look)| look);
        let compared = check::compare(&mut here, &mut there, begun).await.map_err(surprise("CompareRows"));
        there.close().await;
        let compared = match compared? {
            Progress::Done(verdict) => verdict,
            Progress::Behind(look) => {
                here.close().await;
                self.memory.comparison = Some((whose, *look));
                return Err(Surprise::new("CompareRows", format!("{member} has yet to apply what {primary} had when its rows were read")));
            }
        };
        let why = match compared {
            Verdict::Equal { rows } => {
                tracing::info!(pair = %self.pair.name_any(), member, rows, "the rows of its tail are those of the primary");
                let finished = check::finish(&mut here).await.map_err(surprise("CompareRows"));
                here.close().await;
                return finished;
            }
            Verdict::Differs { rows, first } => format!("{rows} rows differ from the primary's, {first} is one"),
            Verdict::NoJournal => "the list of the rows that its tail touched is gone".to_owned(),
        };
        here.close().await;
        self.cloned_instead(member, otherwise, &why).await
    }

    async fn cloned_instead(&mut self, member: &str, otherwise: &Record, why: &str) -> Result<(), Surprise> {
        let message = format!("{member} isn't rewound, it is cloned: {why}");
        self.tell(Told { warning: true, reason: events::REWIND_REFUSED, message });
        self.write_record(otherwise).await
    }
}
