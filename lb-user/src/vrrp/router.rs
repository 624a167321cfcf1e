//! The state machine of one virtual router: RFC 9568 section 6, without a clock and without I/O.
//!
//! A router alone never becomes master by itself: it becomes a candidate, and its [`Group`](super::group::Group)
//! elects all members or none.

use std::{
    collections::VecDeque,
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::{
    config::vrrp::{Announce, Priority, Version},
    vrrp::{advert::Advert, bursts::Bursts, rank::Rank, state::State},
};

/// A silent master is gone after this many of its intervals, and the skew.
pub(super) const MISSED: u32 = 3;
/// A peer's interval is believed up to this many times ours, and down to as small a part: a forged one must
/// neither leave the addresses without an owner nor make a living master seem dead.
const BELIEVED: u32 = 4;

/// What a router is told once.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The priority it starts with.
    pub priority: Priority,
    /// Between two of its own advertisements.
    pub interval: Duration,
    /// Decides the unit of the skew.
    pub version: Version,
    /// Breaks ties: the higher address wins.
    pub source: IpAddr,
    /// Whether a master of lower priority is replaced.
    pub preempt: bool,
    /// How long it is left in place first.
    pub preempt_delay: Duration,
    /// When its addresses are announced.
    pub announce: Announce,
}

/// What has to be done, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// An advertisement is sent.
    Advertise(Priority),
    /// The virtual addresses are added.
    Hold,
    /// The virtual addresses are removed.
    Release,
    /// The virtual addresses are announced to the neighbours.
    Announce,
    /// The state is now this one.
    Entered(State),
}

/// What can happen to a router.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// Everything it needs is there.
    Start,
    /// The process ends, or the instance does.
    Stop,
    /// Something tracked went down.
    Fail,
    /// Nothing tracked is down any more.
    Clear,
    /// The timer ran out.
    Timer,
    /// Every member of the group is a candidate.
    Elected,
    /// Another member of the group lost its role.
    Demoted,
    /// A member of the group has heard another master, which has to give way.
    Contested,
    /// The role is to be given to the peer.
    HandOver,
    /// A valid advertisement was heard.
    Heard(Advert, IpAddr),
}

/// One virtual router.
#[derive(Clone, Debug)]
pub struct Router {
    settings: Settings,
    priority: Priority,
    state: State,
    /// Backup: the master is gone when it runs out. Master: the next advertisement.
    timer: Option<Instant>,
    /// The timer ran out; the role is this router's as soon as the group agrees.
    candidate: bool,
    /// Of the master, as learned.
    interval: Duration,
    /// Masters of lower priority are left in place until then.
    patience: Option<Instant>,
    /// The role was handed over: whoever took it keeps it.
    handed_over: bool,
    /// When a peer last made us send out of turn.
    answered: Option<Instant>,
    bursts: Bursts,
    actions: VecDeque<Action>,
}

impl Router {
    /// A router in [`State::Init`].
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            priority: settings.priority,
            state: State::Init,
            timer: None,
            candidate: false,
            interval: settings.interval,
            patience: None,
            handed_over: false,
            answered: None,
            bursts: Bursts::default(),
            actions: VecDeque::new(),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// The priority it advertises.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// When its timer or an announcement is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match (self.timer, self.bursts.deadline()) {
            (Some(timer), Some(burst)) => Some(timer.min(burst)),
            (timer, burst) => timer.or(burst),
        }
    }

    /// What has to be done next.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Other settings while it runs; the state stays.
    pub(super) fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// The priority after trackers. It is advertised with the next advertisement.
    pub(super) fn set_priority(&mut self, priority: Priority) {
        self.priority = priority;
    }

    pub(super) fn is_candidate(&self) -> bool {
        self.candidate
    }

    /// Whether this advertisement is from a master of the same priority.
    pub(super) fn ties_with(&self, advert: &Advert) -> bool {
        self.state == State::Master && advert.priority == self.priority
    }

    /// From the last advertisement of a master to the moment it counts as gone.
    pub(super) fn master_down(&self) -> Duration {
        self.interval * MISSED + self.skew()
    }

    /// Does what is due.
    pub(super) fn on_deadline(&mut self, now: Instant) {
        if self.timer.is_some_and(|due| due <= now) {
            self.step(Event::Timer, now);
        }
        if self.bursts.take(self.settings.announce, now) {
            self.actions.push_back(Action::Announce);
        }
    }

    /// The table of the machine.
    pub(super) fn step(&mut self, event: Event, now: Instant) {
        use Event::{Clear, Contested, Demoted, Elected, Fail, HandOver, Heard, Start, Stop, Timer};
        use State::{Backup, Fault, Init, Master};

        if self.overslept(now) {
            self.listen_again(now);
            if matches!(event, Timer) {
                return;
            }
        }
        match (self.state, event) {
            (Init, Start) | (Fault, Clear) => self.begin(now),
            (Init | Backup, Fail) => self.enter(Fault),
            (Master, Fail) => {
                self.resign();
                self.enter(Fault);
            }
            (Backup | Fault, Stop) => self.enter(Init),
            (Master, Stop) => {
                self.resign();
                self.enter(Init);
            }
            (Backup, Timer) => {
                self.timer = None;
                self.candidate = true;
            }
            (Master, Timer) => self.advertise(now),
            (Backup, Elected) => self.become_master(now),
            (Master, Demoted) => self.give_way(now),
            (Master, Contested) => self.announce_again(now),
            (Master, HandOver) => {
                self.resign();
                self.become_backup(now);
                self.handed_over = true;
            }
            (Backup, Heard(advert, source)) => self.hear_as_backup(&advert, source, now),
            (Master, Heard(advert, source)) => self.hear_as_master(&advert, source, now),
            (Init, Stop | Clear | Timer | Elected | Demoted | Contested | HandOver | Heard(..))
            | (Backup, Start | Clear | Demoted | Contested | HandOver)
            | (Master, Start | Clear | Elected)
            | (Fault, Start | Fail | Timer | Elected | Demoted | Contested | HandOver | Heard(..)) => {}
        }
    }

    fn hear_as_backup(&mut self, advert: &Advert, source: IpAddr, now: Instant) {
        match self.rank(advert, source) {
            Rank::Resigned if self.candidate => {}
            Rank::Resigned => self.timer = Some(now + self.skew()),
            Rank::Lower if !self.yields(now) => {}
            Rank::Lower => self.follow(advert, now),
            Rank::TieWon | Rank::TieLost | Rank::Higher => {
                self.patience = None;
                self.follow(advert, now);
            }
        }
    }

    fn hear_as_master(&mut self, advert: &Advert, source: IpAddr, now: Instant) {
        match self.rank(advert, source) {
            Rank::Resigned => self.answer(now),
            Rank::Lower | Rank::TieWon => {
                self.answer(now);
                self.announce_again(now);
            }
            Rank::TieLost | Rank::Higher => {
                self.give_way(now);
                self.follow(advert, now);
            }
        }
    }

    /// The neighbours may send to another master.
    fn announce_again(&mut self, now: Instant) {
        if self.bursts.again(self.settings.announce, now) {
            self.actions.push_back(Action::Announce);
        }
    }

    fn rank(&self, advert: &Advert, source: IpAddr) -> Rank {
        Rank::of((advert.priority, source), (self.priority, self.settings.source))
    }

    /// Whether a master of lower priority is left in place.
    fn yields(&mut self, now: Instant) -> bool {
        if self.priority == Priority::OWNER {
            return false;
        }
        let delay = self.settings.preempt_delay;
        !self.settings.preempt || self.handed_over || now < *self.patience.get_or_insert_with(|| now + delay)
    }

    /// The role is somebody else's until that one is silent.
    fn follow(&mut self, advert: &Advert, now: Instant) {
        let own = self.settings.interval;
        self.interval = advert.interval.clamp(own / BELIEVED, own * BELIEVED);
        self.candidate = false;
        self.timer = Some(now + self.master_down());
    }

    fn begin(&mut self, now: Instant) {
        self.interval = self.settings.interval;
        self.become_backup(now);
        if self.priority == Priority::OWNER {
            self.timer = None;
            self.candidate = true;
        }
    }

    fn become_backup(&mut self, now: Instant) {
        self.enter(State::Backup);
        self.timer = Some(now + self.master_down());
    }

    fn become_master(&mut self, now: Instant) {
        self.forget();
        self.state = State::Master;
        self.advertise(now);
        self.bursts.begin(self.settings.announce, now);
        self.actions.extend([Action::Hold, Action::Announce, Action::Entered(State::Master)]);
    }

    /// Another master is there. After a split it does not know that there were two and the neighbours may still send
    /// to this one: it hears so now, and announces the addresses again.
    fn give_way(&mut self, now: Instant) {
        self.actions.push_back(Action::Advertise(self.priority));
        self.step_down(now);
    }

    /// From master to backup without a word.
    fn step_down(&mut self, now: Instant) {
        self.actions.push_back(Action::Release);
        self.become_backup(now);
    }

    /// The peers are told, so that they need not wait for the master-down timer.
    fn resign(&mut self) {
        self.actions.extend([Action::Advertise(Priority::RESIGN), Action::Release]);
    }

    fn enter(&mut self, state: State) {
        self.forget();
        self.state = state;
        self.actions.push_back(Action::Entered(state));
    }

    /// What belongs to a state does not outlive it.
    fn forget(&mut self) {
        self.timer = None;
        self.candidate = false;
        self.patience = None;
        self.handed_over = false;
        self.answered = None;
        self.bursts.end();
    }

    fn advertise(&mut self, now: Instant) {
        self.actions.push_back(Action::Advertise(self.priority));
        self.timer = Some(now + self.settings.interval);
        self.interval = self.settings.interval;
    }

    /// Out of turn, once an interval: a peer that talks nonsense must not make us talk more.
    fn answer(&mut self, now: Instant) {
        if self.answered.is_none_or(|last| now >= last + self.settings.interval) {
            self.answered = Some(now);
            self.advertise(now);
        }
    }

    /// Whether the process stood still for so long that others may have elected a master.
    fn overslept(&self, now: Instant) -> bool {
        let limit = match self.state {
            State::Init | State::Fault => return false,
            State::Backup => self.interval,
            // The last advertisement was one interval before the timer.
            State::Master => self.settings.interval * (MISSED - 1),
        };
        self.timer.is_some_and(|due| now > due + limit)
    }

    /// A living master is heard within an interval.
    fn listen_again(&mut self, now: Instant) {
        if self.state == State::Master {
            self.step_down(now);
        }
        self.timer = Some(now + self.interval + self.skew());
    }

    /// The lower the priority, the later.
    fn skew(&self) -> Duration {
        let unit = match self.settings.version {
            Version::V2 => Duration::from_secs(1),
            Version::V3 => self.interval,
        };
        unit * (256 - u32::from(self.priority.0)) / 256
    }
}

#[cfg(test)]
mod tests;
