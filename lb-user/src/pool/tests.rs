use std::{collections::HashMap, time::Duration};

use super::*;
use crate::{
    config::model::{
        Check, CheckKind, InitialState, Listen, OnDown, Protocol, Scheduler, Timeouts, WithoutState,
    },
    health::{Carried, Health, Start, Status},
};

const UP: RealHealth = RealHealth { health: Health::Up, up_since: None, weight: None };
const DOWN: RealHealth = RealHealth { health: Health::Down, ..UP };
const NOTHING: Override = Override { weight: None, admin: None };

#[expect(clippy::disallowed_methods, reason = "any moment will do to count from")]
fn epoch() -> Instant {
    Instant::now()
}

fn real(number: u8, weight: u16) -> RealServer {
    RealServer {
        name: number.to_string(),
        address: ([10, 0, 0, number], 80).into(),
        weight,
        max_connections: None,
        checks: Vec::new(),
    }
}

/// A virtual server whose real servers have these weights.
fn server(weights: &[u16]) -> VirtualServer {
    let minute = Duration::from_secs(60);
    VirtualServer {
        name: "web".into(),
        listen: Listen::Fwmark(1),
        protocol: Protocol::Tcp,
        scheduler: Scheduler::Wlc,
        persistence: None,
        quorum: 1,
        hysteresis: 0,
        sorry_server: None,
        initial_state: InitialState::Down,
        on_down: OnDown::Reset,
        without_state: WithoutState::Adopt,
        drain_timeout: minute,
        slow_start: Duration::ZERO,
        timeouts: Timeouts::default(),
        passive: None,
        real_servers: (1..).zip(weights).map(|(number, weight)| real(number, *weight)).collect(),
    }
}

fn evaluate_all(
    server: &VirtualServer,
    members: &[(RealHealth, Override)],
    was_up: bool,
    now: Instant,
) -> Pool {
    let member = |real: &RealServer| {
        let index = server.real_servers.iter().position(|each| each == real).expect("one of its own");
        Member { health: members[index].0, operator: members[index].1, suspect: false }
    };
    evaluate(server, member, was_up, now)
}

#[test]
fn operators_come_before_checks_and_checks_before_the_configuration() {
    use RealServerState::{Disabled, Down, Drain, Up};
    let now = epoch();
    let weighs = |weight| Override { weight: Some(weight), admin: None };
    let disabled = Override { weight: None, admin: Some(Admin::Disabled) };
    let until = now + Duration::from_secs(9);
    let drain = Override { weight: None, admin: Some(Admin::Drain { until }) };
    let script = RealHealth { weight: Some(30), ..UP };
    let cases = [
        ("nothing said", UP, NOTHING, Up, 10, 10),
        ("checks fail", DOWN, NOTHING, Down, 10, 0),
        ("an operator's weight", UP, weighs(50), Up, 50, 50),
        ("an operator's weight 0", UP, weighs(0), Drain, 0, 0),
        ("a script's weight", script, NOTHING, Up, 30, 30),
        ("an operator against a script", script, weighs(50), Up, 50, 50),
        ("a script's weight 0", RealHealth { weight: Some(0), ..UP }, NOTHING, Drain, 0, 0),
        ("drained", UP, drain, Drain, 10, 0),
        ("drained and failing", DOWN, drain, Down, 10, 0),
        ("disabled", UP, disabled, Disabled, 10, 0),
        ("disabled and failing", DOWN, disabled, Disabled, 10, 0),
    ];
    for (case, health, operator, state, full_weight, weight) in cases {
        let pool = evaluate_all(&server(&[10]), &[(health, operator)], true, now);
        let seen = pool.real_servers[0];
        assert_eq!(seen, PoolMember { state, full_weight, weight, drained: false, suspect: false }, "{case}");
        assert_eq!(pool.quorum.have, u32::from(weight), "{case}");
    }
}

#[test]
fn a_drain_asks_to_be_looked_at_when_it_ends() {
    let now = epoch();
    let until = now + Duration::from_secs(9);
    let members = [(UP, NOTHING), (UP, Override { weight: None, admin: Some(Admin::Drain { until }) })];
    let before = evaluate_all(&server(&[1, 1]), &members, true, now);
    assert_eq!((before.next, before.real_servers[1].drained), (Some(until), false));
    let after = evaluate_all(&server(&[1, 1]), &members, true, until);
    assert_eq!((after.next, after.real_servers[1].drained), (None, true));
}

#[test]
fn who_serves_follows_from_the_quorum_and_the_sorry_server() {
    let sorry: SocketAddr = ([10, 0, 0, 99], 80).into();
    let cases = [
        ("enough", [UP, UP], None, true, Serving::RealServers),
        ("enough, with a sorry server", [UP, UP], Some(sorry), true, Serving::RealServers),
        ("too few, better than none", [UP, DOWN], None, false, Serving::RealServers),
        ("too few, with a sorry server", [UP, DOWN], Some(sorry), false, Serving::SorryServer(sorry)),
        ("none", [DOWN, DOWN], None, false, Serving::Nobody),
        ("none, with a sorry server", [DOWN, DOWN], Some(sorry), false, Serving::SorryServer(sorry)),
    ];
    for (case, health, sorry_server, up, serving) in cases {
        let server = VirtualServer { quorum: 2, sorry_server, ..server(&[1, 1]) };
        let pool = evaluate_all(&server, &health.map(|health| (health, NOTHING)), true, epoch());
        assert_eq!((pool.up, pool.serving), (up, serving), "{case}");
    }
}

#[test]
fn a_recovered_real_server_grows_to_its_full_share() {
    let start = epoch();
    let server = VirtualServer { slow_start: Duration::from_secs(20), ..server(&[1, 2]) };
    let members = [(UP, NOTHING), (RealHealth { up_since: Some(start), ..UP }, NOTHING)];
    let mut now = start;
    let mut shares = Vec::new();
    loop {
        let pool = evaluate_all(&server, &members, true, now);
        assert_eq!(pool.quorum.have, 3, "the quorum counts full weights");
        shares.push((pool.real_servers[0].weight, pool.real_servers[1].weight));
        match pool.next {
            Some(next) => now = next,
            None => break,
        }
    }
    assert_eq!(now - start, Duration::from_secs(20));
    assert_eq!(shares.len(), 21);
    assert_eq!(shares[..3], [(20, 1), (20, 2), (20, 4)]);
    assert_eq!(shares[10], (20, 20), "half of the time, half of the weight");
    assert_eq!(shares[19..], [(20, 38), (1, 2)]);
}

#[test]
fn slow_start_leaves_alone_what_it_must_not_scale() {
    let now = epoch();
    let recovered = (RealHealth { up_since: Some(now), ..UP }, NOTHING);
    let weights = |scheduler, weights: &[u16; 2]| {
        let server = VirtualServer { slow_start: Duration::from_secs(20), scheduler, ..server(weights) };
        let pool = evaluate_all(&server, &[(UP, NOTHING), recovered], true, now);
        [pool.real_servers[0].weight, pool.real_servers[1].weight]
    };
    assert_eq!(weights(Scheduler::Ovf, &[500, 500]), [500, 1], "overflow counts connections");
    assert_eq!(weights(Scheduler::Wlc, &[u16::MAX, 10]), [u16::MAX, 1], "a weight has 16 bits");
}

#[test]
fn all_checks_of_a_real_server_must_pass() {
    let now = epoch();
    let check = |port| Check {
        kind: CheckKind::Tcp,
        target: ([10, 0, 0, 1], port).into(),
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        rise: 1,
        fall: 1,
    };
    let status = |health, seconds, weight| {
        let age = Duration::from_secs(seconds);
        Status::starting(Start::Carried(Carried { health, weight, age }), now)
    };
    let real = RealServer { checks: vec![check(1), check(2)], ..real(1, 1) };
    let of = |first: Option<Status>, second: Option<Status>, initial| {
        let known = [(check(1), first), (check(2), second)];
        let statuses: HashMap<_, _> =
            known.into_iter().filter_map(|(check, status)| Some((check, status?))).collect();
        RealHealth::of(&real, initial, &statuses, &Guard::default())
    };
    let up = |seconds, weight| Some(status(Health::Up, seconds, weight));
    let both = of(up(9, Some(7)), up(3, Some(5)), InitialState::Down);
    let came_up = now.checked_sub(Duration::from_secs(3));
    assert_eq!(both, RealHealth { health: Health::Up, up_since: came_up, weight: Some(5) });
    let one_down = of(up(9, None), Some(status(Health::Down, 3, None)), InitialState::Up);
    assert_eq!(one_down.health, Health::Down);
    assert_eq!(of(up(9, None), None, InitialState::Down).health, Health::Down);
    assert_eq!(of(up(9, None), None, InitialState::Up).health, Health::Up);
    let unchecked = RealServer { checks: Vec::new(), ..real };
    let always = RealHealth::of(&unchecked, InitialState::Down, &HashMap::new(), &Guard::default());
    assert_eq!(always, UP);
}

#[test]
fn one_that_passive_health_suspects_gets_nothing_new_and_keeps_what_it_has() {
    let server = server(&[1, 1]);
    let member = |real: &RealServer| Member { health: UP, operator: NOTHING, suspect: real.name == "1" };
    let pool = evaluate(&server, member, true, epoch());
    let seen = pool.real_servers.iter().map(|member| (member.state, member.weight, member.suspect));
    let wanted = [(RealServerState::Down, 0, true), (RealServerState::Up, 1, false)];
    assert_eq!(seen.collect::<Vec<_>>(), wanted);
    let checked = |real: &RealServer| Member { health: DOWN, operator: NOTHING, suspect: real.name == "1" };
    assert!(!evaluate(&server, checked, true, epoch()).real_servers[0].suspect, "its check says so too");
}
