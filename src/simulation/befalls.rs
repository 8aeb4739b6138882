//! What befalls a pair: faults, repairs, people, and commands that arrive late.

use super::life::Life;
use super::script::{Command, name};
use super::set::Set;
use super::verb::Verb;

impl Life<'_> {
    /// Something befalls the pair.
    pub(super) fn befalls(&mut self) {
        let members: Vec<u8> = self.world.hosts.keys().copied().collect();
        let member = self.dice.of(&members);
        let m = name(member);
        let alive = self.world.host(member).server.alive;
        let line = match self.dice.roll(30) {
            0 | 1 if alive => {
                self.world.die(member);
                format!("{m} is killed")
            }
            2 if alive => {
                self.world.server(member).hung = true;
                format!("{m} hangs")
            }
            3 => flip(&mut self.world.host(member).blind, &m, "the operators can't reach", "the operators reach again:"),
            4 => flip(&mut self.world.host(member).cut, &m, "other members can't reach", "other members reach again:"),
            5 => {
                let host = self.world.host(member);
                (host.cut, host.blind, host.stranded) = (true, true, true);
                format!("the node of {m} is cut off")
            }
            6 => {
                self.world.power_cut(member);
                format!("the node of {m} loses power")
            }
            7 if self.may_be_emptied(member) => {
                (self.emptied, self.excused) = (true, self.world.parked.is_none());
                self.world.emptied(member);
                format!("{m} comes back on an empty volume")
            }
            8 => flip(&mut self.world.host(member).full, &m, "disk full:", "disk free again:"),
            9 | 10 => flip(&mut self.world.host(member).busy, &m, "applies something long:", "applies quickly again:"),
            11 => flip(&mut self.world.host(member).cordoned, &m, "drained: the node of", "no longer drained: the node of"),
            12 => flip(&mut self.world.host(member).uninvertible, &m, "DDL in the tail of", "no DDL in the tail of"),
            13 => {
                let host = self.world.host(member);
                host.server.obey(Verb::StopReceiver).map(drop).unwrap_or_default();
                format!("somebody stops the receiver of {m}")
            }
            14 => {
                let host = self.world.host(member);
                host.server.applier = false;
                format!("somebody stops the applier of {m}")
            }
            15 => {
                self.world.api = !self.world.api;
                (if self.world.api { "the API server is back" } else { "the API server is down" }).to_owned()
            }
            16 if self.world.api => {
                self.taken_over();
                return;
            }
            17 => {
                let pod = self.world.host(member).pod;
                let _ = self.world.execute(self.world.leader, 0, &Command::DeletePod(member, format!("pod-{m}.{pod}")), Set::EMPTY);
                format!("somebody deletes the pod of {m}")
            }
            18..=20 => {
                self.stage_of(member);
                self.asked(&m)
            }
            21 | 22 => return self.late(),
            _ => {
                self.world.host(member).heal();
                format!("{m} and its node are well")
            }
        };
        self.world.tell(line);
        self.world.settle();
        self.world.probe();
        self.watcher.meddles(&mut self.world);
    }

    fn asked(&mut self, m: &str) -> String {
        let requests = &mut self.world.requests;
        let (field, kind) = match self.dice.roll(24) {
            0..=11 => (&mut requests.switchover_to, "a switchover to"),
            12..=15 => (&mut requests.rebuild, "a rebuild of"),
            16..=19 => (&mut requests.replace, "another member instead of"),
            20..=21 => (&mut requests.discard_tail, "the discarding of the tail of"),
            _ if self.world.parked.is_some() => (&mut requests.switchover_to, "a switchover to"),
            _ => {
                self.excused = true;
                (&mut requests.promote_with_data_loss, "promotion with data loss of")
            }
        };
        *field = Some(m.to_owned());
        format!("a person asks for {kind} {m}")
    }
}

fn flip(flag: &mut bool, member: &str, on: &str, off: &str) -> String {
    *flag = !*flag;
    format!("{} {member}", if *flag { on } else { off })
}
