//! The table of the machine, row by row, with a clock that only moves when it is told to.

use super::*;
use crate::vrrp::group::Group;

const OWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 99, 0, 2));
const BELOW: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 99, 0, 1));
const ABOVE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 99, 0, 3));
const SECOND: Duration = Duration::from_secs(1);

/// A router, its clock, and a peer that can be made to speak.
struct Bench {
    group: Group,
    now: Instant,
}

impl Bench {
    fn new(change: impl Fn(&mut Settings)) -> Self {
        let mut settings = Settings {
            priority: Priority(100),
            interval: SECOND,
            version: Version::V3,
            source: OWN,
            preempt: true,
            preempt_delay: Duration::ZERO,
            announce: Announce::default(),
        };
        change(&mut settings);
        #[expect(clippy::disallowed_methods, reason = "any beginning will do")]
        let now = Instant::now();
        Self { group: Group::new([settings]), now }
    }

    fn backup() -> Self {
        let mut bench = Self::new(|_| {});
        bench.group.start(bench.now);
        bench.actions();
        bench
    }

    fn master() -> Self {
        let mut bench = Self::backup();
        bench.pass(Duration::from_secs(20));
        assert_eq!(bench.state(), State::Master);
        bench
    }

    fn state(&self) -> State {
        self.group.routers().next().unwrap().state()
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.group.next_action()).map(|(_, action)| action).collect()
    }

    fn hear(&mut self, priority: u8, source: IpAddr) -> Vec<Action> {
        let advert = Advert { priority: Priority(priority), interval: SECOND };
        self.group.on_advert(0, &advert, source, self.now);
        self.actions()
    }

    /// Lets time pass; every timer fires when it is due.
    fn pass(&mut self, time: Duration) -> Vec<Action> {
        let end = self.now + time;
        while let Some(due) = self.group.deadline().filter(|due| *due <= end) {
            self.now = due;
            self.group.on_deadline(due);
        }
        self.now = end;
        self.actions()
    }

    /// The process stands still: nothing fires until it is over.
    fn sleep(&mut self, time: Duration) -> Vec<Action> {
        self.now += time;
        self.group.on_deadline(self.now);
        self.actions()
    }

    /// How long the state lasts when nothing is heard.
    fn silence(&mut self) -> Duration {
        let (began, state) = (self.now, self.state());
        while self.state() == state {
            self.now = self.group.deadline().unwrap();
            self.group.on_deadline(self.now);
        }
        self.now - began
    }
}

fn became_master(priority: u8) -> Vec<Action> {
    vec![
        Action::Advertise(Priority(priority)),
        Action::Hold,
        Action::Announce,
        Action::Entered(State::Master),
    ]
}

fn gave_way() -> Vec<Action> {
    [vec![Action::Advertise(Priority(100))], fell_silent()].concat()
}

fn fell_silent() -> Vec<Action> {
    vec![Action::Release, Action::Entered(State::Backup)]
}

fn resigned(state: State) -> Vec<Action> {
    vec![Action::Advertise(Priority::RESIGN), Action::Release, Action::Entered(state)]
}

#[test]
fn an_owner_is_master_at_once() {
    let mut bench = Bench::new(|settings| settings.priority = Priority::OWNER);
    bench.group.start(bench.now);
    assert_eq!(bench.actions()[1..], became_master(255));
}

#[test]
fn others_wait_for_the_master_down_timer() {
    let cases = [(Version::V3, 1000, 100, 3609), (Version::V3, 1000, 50, 3804), (Version::V3, 10, 100, 36)];
    let v2 = [(Version::V2, 1000, 100, 3609), (Version::V2, 2000, 128, 6500)];
    for (version, interval, priority, millis) in cases.into_iter().chain(v2) {
        let mut bench = Bench::new(|settings| {
            settings.version = version;
            settings.interval = Duration::from_millis(interval);
            settings.priority = Priority(priority);
        });
        bench.group.start(bench.now);
        assert_eq!(bench.silence().as_millis(), millis, "{version:?} {interval} {priority}");
        assert_eq!(bench.actions()[1..], became_master(priority));
    }
}

#[test]
fn nothing_happens_before_it_is_started() {
    let mut bench = Bench::new(|_| {});
    assert_eq!(bench.hear(0, BELOW), []);
    assert_eq!(bench.pass(Duration::from_secs(100)), []);
    assert_eq!(bench.state(), State::Init);
}

#[test]
fn a_backup_follows_every_master_it_does_not_outrank() {
    for (priority, source) in [(101, BELOW), (100, BELOW), (100, ABOVE), (255, ABOVE)] {
        let mut bench = Bench::backup();
        bench.pass(Duration::from_secs(3));
        assert_eq!(bench.hear(priority, source), []);
        assert_eq!(bench.silence().as_millis(), 3609, "{priority} {source}");
    }
}

#[test]
fn a_backup_replaces_a_lower_master_without_a_gap() {
    let mut bench = Bench::backup();
    bench.pass(Duration::from_secs(3));
    assert_eq!(bench.hear(99, ABOVE), []);
    assert_eq!(bench.silence().as_millis(), 609);
}

#[test]
fn without_preempt_a_lower_master_stays() {
    let mut bench = Bench::new(|settings| settings.preempt = false);
    bench.group.start(bench.now);
    bench.pass(Duration::from_secs(3));
    bench.hear(1, BELOW);
    assert_eq!(bench.silence().as_millis(), 3609);
}

#[test]
fn a_lower_master_stays_for_the_preempt_delay() {
    let mut bench = Bench::new(|settings| settings.preempt_delay = Duration::from_secs(10));
    bench.group.start(bench.now);
    let began = bench.now;
    for _ in 0..60 {
        bench.pass(SECOND);
        bench.hear(1, BELOW);
        if bench.state() == State::Master {
            break;
        }
    }
    let lasted = bench.now - began;
    assert!(lasted > Duration::from_secs(13) && lasted < Duration::from_secs(16), "{lasted:?}");
}

#[test]
fn a_master_that_resigns_is_replaced_within_the_skew() {
    let mut bench = Bench::backup();
    bench.hear(200, ABOVE);
    bench.hear(0, ABOVE);
    assert_eq!(bench.silence().as_millis(), 609);
}

#[test]
fn the_interval_is_learned_within_bounds() {
    for (heard, master_down) in [(500, 1804), (2000, 7218), (40_950, 14_437), (10, 902)] {
        let mut bench = Bench::backup();
        let advert = Advert { priority: Priority(200), interval: Duration::from_millis(heard) };
        bench.group.on_advert(0, &advert, ABOVE, bench.now);
        assert_eq!(bench.silence().as_millis(), master_down, "{heard} ms");
    }
}

#[test]
fn a_master_gives_way_to_a_higher_one_or_a_tie_with_a_higher_address() {
    assert_eq!(Bench::master().hear(101, BELOW), gave_way());
    assert_eq!(Bench::master().hear(100, ABOVE), gave_way());
}

#[test]
fn a_master_answers_a_lower_one_at_once_and_announces_again() {
    for (priority, source) in [(99, ABOVE), (100, BELOW)] {
        let mut bench = Bench::master();
        let answer = [Action::Advertise(Priority(100)), Action::Announce];
        assert_eq!(bench.hear(priority, source), answer, "{priority} {source}");
    }
}

#[test]
fn a_master_that_is_poked_answers_once_an_interval_and_announces_once_in_five_seconds() {
    let mut bench = Bench::master();
    let mut done = Vec::new();
    for _ in 0..900 {
        done.extend(bench.hear(99, BELOW));
        done.extend(bench.pass(Duration::from_millis(10)));
    }
    let adverts = done.iter().filter(|action| matches!(action, Action::Advertise(_))).count();
    let bursts = done.iter().filter(|action| **action == Action::Announce).count();
    assert!((9..=18).contains(&adverts), "{adverts} in 9 s");
    assert_eq!(bursts, 2);
}

#[test]
fn a_master_answers_a_resignation_and_stays() {
    let mut bench = Bench::master();
    assert_eq!(bench.hear(0, ABOVE), [Action::Advertise(Priority(100))]);
    assert_eq!(bench.state(), State::Master);
}

#[test]
fn a_new_master_announces_twice_five_seconds_apart() {
    let mut bench = Bench::backup();
    bench.silence();
    bench.actions();
    let at = |bench: &mut Bench, secs| bench.pass(Duration::from_secs(secs)).contains(&Action::Announce);
    assert!(!at(&mut bench, 4));
    assert!(at(&mut bench, 1));
    assert!(!at(&mut bench, 100));
}

#[test]
fn a_master_announces_at_the_pace_that_is_configured() {
    let announce = Announce { repeat: 1, delay: Duration::from_secs(2), refresh: Duration::from_secs(60) };
    let mut bench = Bench::new(|settings| settings.announce = announce);
    bench.group.start(bench.now);
    bench.silence();
    bench.actions();
    let mut at = |secs| {
        let announced = (0..secs).filter(|_| bench.pass(SECOND).contains(&Action::Announce)).count();
        (secs, announced)
    };
    assert_eq!([1, 1, 59, 1, 59, 1].map(&mut at), [(1, 0), (1, 1), (59, 0), (1, 1), (59, 0), (1, 1)]);
}

#[test]
fn a_fault_resigns_and_its_end_begins_again() {
    let mut bench = Bench::master();
    bench.group.set_faulty(true, bench.now);
    assert_eq!(bench.actions(), resigned(State::Fault));
    assert_eq!(bench.pass(Duration::from_secs(100)), []);
    bench.group.set_faulty(false, bench.now);
    assert_eq!(bench.actions(), [Action::Entered(State::Backup)]);
    assert_eq!(bench.silence().as_millis(), 3609);
}

#[test]
fn a_stop_resigns_a_master_and_only_a_master() {
    let mut master = Bench::master();
    master.group.stop(master.now);
    assert_eq!(master.actions(), resigned(State::Init));
    let mut backup = Bench::backup();
    backup.group.stop(backup.now);
    assert_eq!(backup.actions(), [Action::Entered(State::Init)]);
}

#[test]
fn a_role_that_was_handed_over_is_not_taken_back_from_a_living_peer() {
    let mut bench = Bench::master();
    bench.group.hand_over(bench.now);
    assert_eq!(bench.actions(), resigned(State::Backup));
    for _ in 0..60 {
        assert_eq!(bench.hear(50, BELOW), []);
        assert_eq!(bench.pass(SECOND), []);
    }
    assert_eq!(bench.silence().as_millis(), 2609);
}

#[test]
fn a_master_that_stood_still_listens_before_it_speaks() {
    let mut bench = Bench::master();
    assert_eq!(bench.sleep(Duration::from_secs(4)), fell_silent());
    assert_eq!(bench.silence().as_millis(), 1609);
}

#[test]
fn a_master_that_was_late_by_less_than_an_election_goes_on() {
    let mut bench = Bench::master();
    assert_eq!(bench.sleep(Duration::from_secs(2)), [Action::Advertise(Priority(100))]);
}

#[test]
fn a_backup_that_stood_still_listens_before_it_speaks() {
    let mut bench = Bench::backup();
    assert_eq!(bench.sleep(Duration::from_secs(60)), []);
    assert_eq!(bench.hear(200, ABOVE), []);
    assert_eq!(bench.silence().as_millis(), 3609);
}
