//! Where a search begins, and how much may happen in it.

use shardpair::pair::record::{self, Mode, Record};
use shardpair::simulation::script::name;
use shardpair::simulation::server::{Receiver, Server};
use shardpair::simulation::set::{Set, uuid};
use stateright::Property;

use super::Pair;
use super::state::{Budget, Operator, State};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scene {
    pub name: &'static str,
    pub budget: Budget,
    pub stranger: Stranger,
    /// m1 comes back to an m0 that runs in Solo.
    pub solo: bool,
    /// Tails can be undone from the binlog; else members are cloned.
    pub invertible: bool,
}

/// A third member that replicates from m0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    None,
    Follows,
    Acknowledges,
    AcknowledgesWithCountTwo,
}

impl Scene {
    pub const fn new(name: &'static str, budget: Budget) -> Self {
        Self { name, budget, stranger: Stranger::None, solo: false, invertible: true }
    }

    pub fn begin(&self, model: &Pair) -> State {
        let base = Set::one(0);
        let mut servers = [0, 1, 2].map(|volume| Server { executed: base, offline: false, ..Server::new(volume) });
        servers[0].read_only = false;
        servers[0].acks = !self.solo;
        for follower in [1, 2] {
            let server = &mut servers[follower];
            (server.source, server.applier) = (Some(0), true);
            if follower == 2 || !self.solo {
                (server.receiver, server.met) = (Receiver::On, Some(0));
            }
            if follower == 1 && !self.solo || follower == 2 && !matches!(self.stranger, Stranger::None | Stranger::Follows) {
                (server.acker, server.acknowledges) = (true, true);
            }
        }
        if !self.solo {
            // The idle reverse channel.
            (servers[0].source, servers[0].met, servers[0].receiver, servers[0].applier) = (Some(1), Some(1), Receiver::On, true);
        }
        if self.stranger == Stranger::AcknowledgesWithCountTwo {
            servers[0].wait_count = 2;
        }
        let members = [0, 1].map(|m| record::Member { name: name(m), volume: format!("v{m}"), server_uuid: uuid(m), ..Default::default() });
        let (mode, standby_boot) = if self.solo { (Mode::Solo, None) } else { (Mode::Sync, Some("b1/k1".to_owned())) };
        let record = model.tables.intern(Record { epoch: 7, primary: "m0".into(), standby: Some("m1".into()), mode, members: members.into(), standby_boot, ..Record::default() });
        let operator = Operator { record, current: true, must_claim: false, plan: None, changed: [false; 2], noted: Set::EMPTY, late: None, last: [None; 2] };
        State {
            servers,
            strangers: self.stranger != Stranger::None,
            pods: [0, 0],
            cut: false,
            blind: [false, false],
            record,
            operators: [operator, Operator { must_claim: true, ..operator }],
            leader: 0,
            peek: None,
            asked: None,
            origins: [0; 6],
            writes: 0,
            volumes: 2,
            acked: base,
            dead: Set::EMPTY,
            left: self.budget,
            wrong: None,
        }
    }

    /// What must be possible at all.
    pub fn reached(&self) -> Vec<Property<Pair>> {
        let mut all = vec![Property::sometimes("Sync is reached, after all writes", |_, s: &State| s.record.sync && s.lead().plan.is_none() && s.left.writes == 0)];
        if self.budget.kills > 0 && self.budget.writes > 0 && !self.solo && self.stranger == Stranger::None {
            all.push(Property::sometimes("a failover completes, and clients write there", |_, s: &State| {
                s.record.primary == 1 && s.member(1).open() && s.origins[..s.writes as usize].contains(&s.member(1).volume)
            }));
        }
        all
    }
}
