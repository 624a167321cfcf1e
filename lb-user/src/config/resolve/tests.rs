//! What configurations without mistakes mean.

use std::time::Duration;

use crate::config::{
    Host,
    model::{CheckKind, Config, Listen, Persistence, TlsVerify, VirtualServer},
    parse,
};

fn config(text: &str) -> Config {
    let text = format!("global.interfaces = [\"eth0\"]\n{text}");
    let (config, diagnostics) = parse(&text, &Host::imagined("lb1"));
    assert_eq!(diagnostics, []);
    config.unwrap()
}

/// The only virtual server of a file with these lines in it, and with these before it.
fn server_after(before: &str, lines: &str) -> VirtualServer {
    let text = format!("{before}\n[[virtual_server]]\nname = \"web\"\naddress = \"192.0.2.10:80\"\n{lines}");
    config(&text).virtual_servers.remove(0)
}

fn server(lines: &str) -> VirtualServer {
    server_after("", lines)
}

const TWO: &str = "real_server = [{ address = \"10.0.0.11:8080\" }, { address = \"10.0.0.12\" }]\n";

#[test]
fn a_real_server_is_named_by_its_address_as_written() {
    let server = server("real_server = { address = \"10.0.0.12\" }");
    assert_eq!(server.real_servers[0].name, "10.0.0.12");
    assert_eq!(server.real_servers[0].address.to_string(), "10.0.0.12:0");
}

#[test]
fn real_servers_written_as_blocks_are_those_of_a_list() {
    let blocks = "[[virtual_server.real_server]]\naddress = \"10.0.0.11:8080\"\n\
                  [[virtual_server.real_server]]\naddress = \"10.0.0.12\"\n";
    assert_eq!(server(blocks), server(TWO));
}

#[test]
fn a_group_of_addresses_is_one_virtual_server_in_the_order_written() {
    let text = "[[virtual_server]]\nname = \"web\"\naddress = [\"192.0.2.20\", \"192.0.2.9-11:80\"]\n";
    let Listen::Addresses(addresses) = config(&format!("{text}{TWO}")).virtual_servers.remove(0).listen
    else {
        panic!("not by address");
    };
    let shown: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["192.0.2.20:0", "192.0.2.9:80", "192.0.2.10:80", "192.0.2.11:80"]);
}

#[test]
fn what_defaults_set_holds_unless_a_virtual_server_says_otherwise() {
    let defaults = "[defaults]\npersistence_timeout = \"5m\"\ntimeouts.fin = \"9s\"\nslow_start = \"1m\"\n";
    let inherits = server_after(defaults, TWO);
    let five_minutes = Persistence { timeout: Duration::from_secs(300), prefix_v4: 32, prefix_v6: 128 };
    assert_eq!(inherits.persistence, Some(five_minutes));
    assert_eq!(inherits.timeouts.fin, Duration::from_secs(9));

    let own = format!("persistence_timeout = \"off\"\ntimeouts.udp = \"8s\"\n{TWO}");
    let own = server_after(defaults, &own);
    assert_eq!((own.persistence, own.slow_start), (None, Duration::from_secs(60)));
    assert_eq!((own.timeouts.fin, own.timeouts.udp), (Duration::from_secs(9), Duration::from_secs(8)));
}

#[test]
fn a_granularity_is_for_the_family_it_fits() {
    for (written, prefixes) in [
        ("\"/24\"", (24, 128)),
        ("\"255.255.255.0\"", (24, 128)),
        ("\"/64\"", (32, 64)),
        ("\"ffff:ffff:ffff::\"", (32, 48)),
        ("[\"/16\", \"/32\"]", (16, 32)),
    ] {
        let lines = format!("persistence_timeout = \"5m\"\npersistence_granularity = {written}\n{TWO}");
        let persistence = server(&lines).persistence.unwrap();
        assert_eq!((persistence.prefix_v4, persistence.prefix_v6), prefixes, "{written}");
    }
}

/// Where the checks of the two real servers go.
fn targets(server: &VirtualServer) -> Vec<Vec<String>> {
    let targets = |real: &crate::config::model::RealServer| {
        real.checks.iter().map(|one| one.target.to_string()).collect()
    };
    server.real_servers.iter().map(targets).collect()
}

#[test]
fn a_check_goes_to_the_port_of_the_check_the_real_server_or_the_virtual_server() {
    for (check, expected) in [
        ("{ type = \"tcp\" }", ["10.0.0.11:8080", "10.0.0.12:80"]),
        ("{ type = \"tcp\", port = 81 }", ["10.0.0.11:81", "10.0.0.12:81"]),
        ("{ type = \"tcp\", address = \"10.0.0.50:81\" }", ["10.0.0.50:81", "10.0.0.50:81"]),
        ("{ type = \"tcp\", address = \"10.0.0.50\" }", ["10.0.0.50:8080", "10.0.0.50:80"]),
        ("{ type = \"ping\" }", ["10.0.0.11:0", "10.0.0.12:0"]),
    ] {
        let server = server(&format!("check = {check}\n{TWO}"));
        assert_eq!(targets(&server), expected.map(|target| vec![target.to_owned()]), "{check}");
    }
}

#[test]
fn a_real_servers_own_checks_take_the_place_of_the_virtual_servers() {
    let server = server(
        "check = { type = \"tcp\" }\nreal_server = [\n\
         { address = \"10.0.0.11:80\" },\n\
         { address = \"10.0.0.12:80\", check = [{ type = \"ping\" }, { type = \"tcp\", port = 22 }] },\n\
         { address = \"10.0.0.13:80\", check = [] },\n]",
    );
    let none: [&str; 0] = [];
    assert_eq!(targets(&server)[0], ["10.0.0.11:80"]);
    assert_eq!(targets(&server)[1], ["10.0.0.12:0", "10.0.0.12:22"]);
    assert_eq!(targets(&server)[2], none);
}

#[test]
fn a_default_check_without_type_only_sets_times() {
    let defaults = "[defaults.check]\nrise = 2\ninterval = \"1s\"\n";
    assert!(server_after(defaults, TWO).real_servers.iter().all(|real| real.checks.is_empty()));
    let server = server_after(defaults, &format!("check.type = \"tcp\"\n{TWO}"));
    let check = &server.real_servers[0].checks[0];
    assert_eq!((check.rise, check.fall), (2, 3));
    // A timeout that nobody wrote does not outlast the interval.
    assert_eq!((check.interval, check.timeout), (Duration::from_secs(1), Duration::from_secs(1)));
}

#[test]
fn a_default_check_with_type_is_every_servers_and_lends_its_keys_to_checks_of_its_kind() {
    let defaults = "[defaults.check]\ntype = \"http\"\npath = \"/up\"\n";
    let kind = |lines: &str| {
        let server = server_after(defaults, &format!("{lines}\n{TWO}"));
        server.real_servers[0].checks[0].kind.clone()
    };
    let path = |kind: &CheckKind| match kind {
        CheckKind::Http(http) => Some((http.path.clone(), http.tls.clone())),
        _ => None,
    };
    assert_eq!(path(&kind("")), Some(("/up".to_owned(), None)));
    assert_eq!(path(&kind("check.host = \"a\"")), Some(("/up".to_owned(), None)));
    assert_eq!(path(&kind("check.type = \"https\"")), Some(("/up".to_owned(), Some(TlsVerify::System))));
    assert_eq!(kind("check.type = \"tcp\""), CheckKind::Tcp);
}

#[test]
fn the_port_nearest_to_the_check_counts() {
    for (default, own, target) in [
        ("port = 81", "port = 82", "10.0.0.11:82"),
        ("port = 81", "address = \"10.0.0.50:82\"", "10.0.0.50:82"),
        ("port = 81", "address = \"10.0.0.50\"", "10.0.0.50:81"),
        ("address = \"10.0.0.50:81\"", "port = 82", "10.0.0.50:82"),
    ] {
        let defaults = format!("[defaults.check]\ntype = \"tcp\"\n{default}\n");
        let server = server_after(&defaults, &format!("check = {{ {own} }}\n{TWO}"));
        assert_eq!(targets(&server)[0], [target], "{default}, {own}");
    }
}

#[test]
fn an_smtp_check_introduces_itself_by_the_router_id() {
    let check = |before: &str| {
        let server = server_after(before, &format!("check.type = \"smtp\"\n{TWO}"));
        server.real_servers[0].checks[0].kind.clone()
    };
    assert_eq!(check(""), CheckKind::Smtp { helo: "lb1".to_owned() });
    assert_eq!(check("global.router_id = \"edge\""), CheckKind::Smtp { helo: "edge".to_owned() });
}

#[test]
fn an_empty_listener_turns_the_tcp_api_off() {
    let listen = |lines: &str| config(lines).api.listen.map(|address| address.to_string());
    assert_eq!(listen(""), Some("127.0.0.1:9440".to_owned()));
    assert_eq!(listen("api.listen = \"\""), None);
    assert_eq!(listen("api.listen = \"[::1]:1\""), Some("[::1]:1".to_owned()));
}
