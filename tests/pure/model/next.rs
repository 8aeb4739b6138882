//! What can happen in a state, and what follows.

use shardpair::simulation::server::{Receiver, Server};
use shardpair::simulation::set::Set;

use super::Pair;
use super::state::State;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The leading operator reads the newest record, and makes every older write fail.
    Claim,
    /// It looks (time seen: short, long, very long), and decides.
    Pass(u8),
    /// It looked at this member earlier than at the other.
    Peek(u8),
    /// It carries out its next command.
    Do,
    /// Its next command gets no answer.
    Lose,
    /// A command that was on its way takes effect.
    Late(u8),
    /// The other operator leads from here on.
    TakeOver,
    /// A client writes there.
    Write(u8),
    /// Waiting commits are answered with OK.
    Acknowledge(u8),
    Connect(u8),
    Receive(u8),
    /// The receiver notices that its source is gone.
    Notice(u8),
    Apply(u8),
    CloneDone(u8),
    Kill(u8),
    Boot(u8),
    Hang(u8),
    Wake(u8),
    PowerCut(u8),
    /// Its volume is replaced by an empty one.
    Empty(u8),
    Cut,
    Mend,
    Blind(u8),
    See(u8),
    /// A person asks for a switchover.
    Ask,
}

/// Processes and pods of a member are told apart for so many generations.
pub const PROCESSES: u8 = 6;

impl Event {
    pub fn words(self) -> String {
        match self {
            Event::Claim => "the leading operator claims the record".into(),
            Event::Pass(_) => "the leading operator looks and decides".into(),
            Event::Peek(m) => format!("the leading operator looks at m{m} (and at the other one later)"),
            Event::Do => "it does".into(),
            Event::Lose => "it sends, and gets no answer".into(),
            Event::Late(o) => format!("a late command of operator {o} takes effect"),
            Event::TakeOver => "the leading operator is paused, the other one leads".into(),
            Event::Write(m) => format!("a client writes on m{m}"),
            Event::Acknowledge(m) => format!("m{m} hears the acknowledgement: OK to the client"),
            Event::Connect(m) => format!("the receiver of m{m} connects"),
            Event::Receive(m) => format!("m{m} receives what it lacks"),
            Event::Notice(m) => format!("the receiver of m{m} notices that its source is gone"),
            Event::Apply(m) => format!("m{m} applies what it received"),
            Event::CloneDone(m) => format!("the clone on m{m} is complete"),
            Event::Kill(m) => format!("m{m} is killed"),
            Event::Boot(m) => format!("m{m} starts again"),
            Event::Hang(m) => format!("m{m} hangs"),
            Event::Wake(m) => format!("m{m} goes on"),
            Event::PowerCut(m) => format!("the node of m{m} loses power"),
            Event::Empty(m) => format!("m{m} comes back on an empty volume"),
            Event::Cut => "the link between the members is cut".into(),
            Event::Mend => "the link between the members heals".into(),
            Event::Blind(m) => format!("the operators no longer reach m{m}"),
            Event::See(m) => format!("the operators reach m{m} again"),
            Event::Ask => "a person asks for a switchover".into(),
        }
    }
}

/// A counter goes down; None: it is used up.
fn spend(left: &mut u8) -> Option<()> {
    *left = left.checked_sub(1)?;
    Some(())
}

impl Pair {
    /// Everything that can happen now.
    pub fn events(&self, state: &State, all: &mut Vec<Event>) {
        let lead = state.lead();
        match (lead.must_claim, lead.plan) {
            (true, None) => all.push(Event::Claim),
            (_, Some(_)) => all.push(Event::Do),
            (false, None) => {
                let most = if self.patient(state) { 2 } else { 0 };
                all.extend((0..=most).map(Event::Pass));
            }
        }
        for operator in [0, 1] {
            if state.operators[operator as usize].late.is_some() {
                all.push(Event::Late(operator));
            }
        }
        for member in state.names() {
            self.natural(state, member, all);
        }
        if state.cut {
            all.push(Event::Mend);
        }
        for member in [0, 1] {
            let left = &state.left;
            if state.blind[member as usize] {
                all.push(Event::See(member));
            }
            if state.member(member).open() && left.writes > 0 && state.member(member).runs() {
                all.push(Event::Write(member));
            }
            if left.faults > 0 {
                faults(state, member, all);
            }
        }
        if state.left.faults > 0 {
            let left = &state.left;
            let once = [(left.takeovers, Event::TakeOver), (left.cuts, Event::Cut), (left.asks, Event::Ask)];
            all.extend(once.iter().filter(|(n, _)| *n > 0).map(|(_, event)| *event).filter(|e| *e != Event::Cut || !state.cut));
            if left.losses > 0 && lead.plan.is_some() && lead.late.is_none() {
                all.push(Event::Lose);
            }
        }
    }

    /// What a member does by itself.
    fn natural(&self, state: &State, member: u8, all: &mut Vec<Event>) {
        let server = state.member(member);
        if !server.alive {
            all.push(Event::Boot(member));
            return;
        }
        if server.hung {
            all.push(Event::Wake(member));
            return;
        }
        if !server.pending.is_empty() && !state.ackers(member).is_empty() {
            all.push(Event::Acknowledge(member));
        }
        if server.applies() && !server.undrained().is_empty() {
            all.push(Event::Apply(member));
        }
        if server.cloning.is_some() {
            all.push(Event::CloneDone(member));
        }
        if let Some(source) = server.source {
            match (server.receiver, state.linked(member, source)) {
                (Receiver::Connecting, true) => all.push(Event::Connect(member)),
                (Receiver::On, true) if !server.news(state.member(source)).is_empty() => all.push(Event::Receive(member)),
                (Receiver::On, false) => all.push(Event::Notice(member)),
                _ => {}
            }
        }
    }

    /// What follows; None: nothing new.
    pub fn follow(&self, state: &State, event: Event) -> Option<State> {
        let mut next = state.clone();
        match event {
            Event::Claim => return Some(self.claimed(state)),
            Event::Pass(patience) => return self.pass(state, patience),
            Event::Do => return self.carry_on(state),
            Event::Late(operator) => return self.late(state, operator),
            Event::Lose => {
                let mut next = self.unanswered(state)?;
                spend(&mut next.left.losses)?;
                return spend(&mut next.left.faults).map(|()| next);
            }
            Event::TakeOver => {
                let mut next = self.taken_over(state);
                spend(&mut next.left.takeovers)?;
                return spend(&mut next.left.faults).map(|()| next);
            }
            Event::Connect(m) | Event::Receive(m) | Event::Notice(m) => self.replicate(&mut next, m, event),
            Event::Acknowledge(m) => {
                let ackers: Vec<Server> = state.ackers(m).into_iter().copied().collect();
                let done = next.member_mut(m).acknowledged(&ackers.iter().collect::<Vec<_>>());
                next.acked = next.acked.union(done);
            }
            Event::Apply(m) => next.member_mut(m).apply(),
            Event::Write(m) => write(&mut next, m)?,
            Event::CloneDone(m) => {
                let donor = state.member(m).cloning.filter(|d| state.linked(m, *d) && state.member(*d).pending.is_empty())?;
                next.member_mut(m).cloned(state.member(donor));
                self.disconnected(&mut next, m);
            }
            Event::Boot(m) => {
                match self.mutant {
                    Some(mutant) => mutant.boot(next.member_mut(m)),
                    None => next.member_mut(m).boot(),
                }
                // Numbers come round: that a process is taken for an older one costs one more kill.
                let server = next.member_mut(m);
                server.process = (server.process - 1) % PROCESSES + 1;
                self.disconnected(&mut next, m);
                next.maybe_contact(m);
            }
            Event::Wake(m) => {
                next.member_mut(m).hung = false;
                next.maybe_contact(m);
            }
            Event::Mend => next.cut = false,
            Event::See(m) => {
                next.blind[m as usize] = false;
                next.maybe_contact(m);
            }
            Event::Peek(_) | Event::Kill(_) | Event::Hang(_) | Event::PowerCut(_) | Event::Empty(_) | Event::Cut | Event::Blind(_) | Event::Ask => {
                spend(&mut next.left.faults)?;
                fault(&mut next, event)?;
                if let Event::Empty(m) = event {
                    self.disconnected(&mut next, m);
                }
            }
        }
        (next != *state).then_some(next)
    }

    /// Connections to a process that has ended are gone; so are the commands that were on their way to it.
    fn disconnected(&self, next: &mut State, member: u8) {
        for follower in next.names() {
            let server = next.member_mut(follower);
            if follower != member && server.source == Some(member) && server.receiver == Receiver::On {
                server.receiver = Receiver::Connecting;
            }
        }
        let lead = next.lead_mut();
        if let Some(changed) = lead.changed.get_mut(member as usize).filter(|_| lead.plan.is_some()) {
            *changed = true;
        }
        for operator in &mut next.operators {
            operator.late = operator.late.filter(|late| self.target(late.plan) != Some(member));
        }
    }

    fn replicate(&self, next: &mut State, member: u8, event: Event) {
        let Some(source) = next.member(member).source else { return };
        let from = *next.member(source);
        let server = next.member_mut(member);
        match event {
            Event::Connect(_) => {
                server.connect(&from);
            }
            Event::Receive(_) => server.receive(server.news(&from), false),
            _ => server.receiver = Receiver::Connecting,
        }
    }
}

fn faults(state: &State, member: u8, all: &mut Vec<Event>) {
    let (left, server) = (&state.left, state.member(member));
    let mut may = |left: u8, holds: bool, event: Event| {
        if left > 0 && holds {
            all.push(event);
        }
    };
    may(left.kills, server.alive, Event::Kill(member));
    may(left.hangs, server.runs(), Event::Hang(member));
    may(left.powers, server.alive, Event::PowerCut(member));
    may(left.empties, true, Event::Empty(member));
    may(left.blinds, !state.blind[member as usize], Event::Blind(member));
    let lead = state.lead();
    may(left.peeks, state.peek.is_none() && lead.plan.is_none() && !lead.must_claim && state.reaches(member), Event::Peek(member));
}

fn fault(next: &mut State, event: Event) -> Option<()> {
    match event {
        Event::Kill(m) => {
            spend(&mut next.left.kills)?;
            next.lost_contact(m);
            next.member_mut(m).die();
        }
        Event::Hang(m) => {
            spend(&mut next.left.hangs)?;
            next.lost_contact(m);
            next.member_mut(m).hung = true;
        }
        Event::PowerCut(m) => {
            spend(&mut next.left.powers)?;
            next.lost_contact(m);
            next.member_mut(m).power_cut();
        }
        Event::Empty(m) => {
            spend(&mut next.left.empties)?;
            emptied(next, m);
        }
        Event::Cut => {
            spend(&mut next.left.cuts)?;
            next.cut = true;
        }
        Event::Blind(m) => {
            spend(&mut next.left.blinds)?;
            next.lost_contact(m);
            next.blind[m as usize] = true;
        }
        Event::Ask => {
            spend(&mut next.left.asks)?;
            next.asked = Some(next.record.standby);
        }
        Event::Peek(m) => {
            spend(&mut next.left.peeks)?;
            let clients = next.ackers(m).len() as u32;
            next.peek = Some(Box::new((m, super::tables::visible(next.member(m)), clients)));
        }
        _ => return None,
    }
    Some(())
}

fn write(next: &mut State, member: u8) -> Option<()> {
    spend(&mut next.left.writes)?;
    let at = next.writes as usize;
    *next.origins.get_mut(at)? = next.member(member).volume;
    next.writes += 1;
    let id = next.writes;
    if member != next.record.primary {
        next.dead = next.dead.union(Set::one(id));
    }
    if next.member_mut(member).write(id) {
        next.acked = next.acked.union(Set::one(id));
    }
    Some(())
}

/// Another volume, and with it another server. What nobody else was promised to hold is gone with it.
fn emptied(next: &mut State, member: u8) {
    let other = 1 - member;
    let record = next.record;
    let promised = record.sync && next.member(record.standby).kernel == record.boot && record.standby == other;
    if !promised && record.primary == member {
        next.acked = next.acked.and(next.member(other).holds().union(next.member(other).pending));
    }
    next.volumes += 1;
    let volume = next.volumes;
    next.lost_contact(member);
    next.member_mut(member).emptied(volume);
    next.maybe_contact(member);
}
