//! The commands as their users see them: output and exit codes.

use std::{path::Path, process::Output, time::Duration};

use lb_user::control::{Scope, Write};
use tokio::process::Command;

use super::fake::{Fake, SILENT};

/// A row of `xlb connections`.
const CONNECTION: &str = "tcp    198.51.100.7:40000     192.0.2.10:80          10.0.0.11:8080         SYN_RECV         2s      58s  half-open\n";

/// What `xlb drops` prints.
const DROPS: &str = "\
2026-01-01T00:00:00.123Z  eth0        bad_tcp_flags        vlan 7 tcp 198.51.100.7:40000 > 192.0.2.10:80 SYN,FIN fragment 9 at 0+, 58 bytes
2026-01-01T00:00:00.123Z  eth0        bad_tcp_flags        vlan 7 tcp 198.51.100.7:40000 > 192.0.2.10:80 SYN,FIN fragment 9 at 0+, 58 bytes  (3 before it are not shown)
";

/// What `xlb explain` prints.
const EXPLANATION: &str = "\
packet          tcp 198.51.100.7:40000 -> 192.0.2.10:80 on eth0
virtual server  web
real server     web1 10.0.0.11:8080
outcome         new_connection
why
  next in turn now: web1
";

async fn xlb(socket: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xlb"));
    command.arg("-s").arg(socket).args(arguments).env_remove("RUST_LOG").kill_on_drop(true);
    tokio::time::timeout(Duration::from_secs(20), command.output()).await.unwrap().unwrap()
}

async fn expect(socket: &Path, arguments: &[&str], code: i32, stdout: &str, stderr: &str) {
    let output = xlb(socket, arguments).await;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {out}{err}");
    assert!(out.contains(stdout), "{arguments:?}: {out}");
    assert!(err.contains(stderr), "{arguments:?}: {err}");
    assert!(code != 0 || err.is_empty(), "{arguments:?}: {err}");
}

#[tokio::test]
async fn status_reads_well() {
    let fake = Fake::start().await;
    let output = xlb(&fake.socket, &["status"]).await;
    insta::assert_snapshot!(String::from_utf8(output.stdout).unwrap());
}

#[tokio::test]
async fn status_is_stable_for_programs() {
    let fake = Fake::start().await;
    let output = xlb(&fake.socket, &["status", "--json"]).await;
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    insta::assert_json_snapshot!(value);
}

#[tokio::test]
async fn every_verb_exits_with_the_code_of_what_happened() {
    let fake = Fake::start().await;
    for (arguments, code, stdout, stderr) in [
        (&["weight", "web/web1", "50"][..], 0, "~ web/web1  weight web/web1 50\n", ""),
        (&["weight", "web/web1", "70000"], 2, "", "70000 is not in 0..=65535"),
        (&["weight", "web/web1", "-1"], 2, "", "-1"),
        (&["weight", "web1", "1"], 2, "", "expected VIRTUAL_SERVER/REAL_SERVER"),
        (&["weight", "web/", "1"], 2, "", "expected VIRTUAL_SERVER/REAL_SERVER"),
        (&["weight", "nope/web1", "1"], 5, "", "xlb: no virtual server named nope\n"),
        (&["weight", "web/web1", "1", "--generation", "99"], 1, "", "the generation is 2, not 99"),
        (&["disable", "web/web1"], 0, "disable web/web1", ""),
        (&["enable", "web/web1"], 0, "enable web/web1", ""),
        (&["revert"], 0, "revert", ""),
        (&["revert", "web"], 0, "revert web", ""),
        (&["revert", "web/web1"], 0, "revert web/web1", ""),
        (&["add", "web", "10.0.0.9"], 0, "add web 10.0.0.9:0 --weight 1", ""),
        (&["add", "web", "[2001:db8::9]:80", "--weight", "3"], 0, "add web [2001:db8::9]:80 --weight 3", ""),
        (&["add", "web", "web9:80"], 2, "", "expected an address such as"),
        (&["remove", "web/10.0.0.9:0"], 0, "remove web/10.0.0.9:0", ""),
        (&["drain", "web/web2", "--wait"], 0, "web/web2 is drained\n", ""),
        (&["drain", "web/10.0.0.12:8080", "--wait"], 0, "is drained\n", ""),
        (&["drain", "web/web1", "--timeout", "5m"], 0, "drain web/web1 --timeout 5m", ""),
        (&["drain", "web/web1", "--timeout", "soon"], 2, "", "--timeout"),
        (
            &["drain", "web/web1", "--wait", "--timeout", "1ms"],
            4,
            "",
            "xlb: 12 connections left at web/web1 after 1ms\n",
        ),
        (&["reload"], 2, "", "did you mean `address`?"),
        (&["diff"], 0, "nothing to change\n", ""),
        (&["diff", "--json"], 0, r#""changes":[]"#, ""),
        (&["status", "web"], 0, "web3", ""),
        (&["status", "nope"], 5, "", "no virtual server named nope"),
        (&["events"], 0, "2026-01-01T00:00:00Z  state    web/web1  one\n", ""),
        (&["events", "--json"], 0, r#"[{"at":"2026-01-01T00:00:00Z","kind":"state""#, ""),
        (&["connections"], 0, CONNECTION, ""),
        (
            &["connections", "web", "--state", "syn_recv", "--json"],
            0,
            r#""state":"SYN_RECV","idle_seconds":2"#,
            "",
        ),
        (&["connections", "--state", "SLEEPY"], 2, "", "TIME_WAIT"),
        (&["connections", "--client", "somebody"], 2, "", "invalid IP address"),
        (&["drops", "-n", "2"], 0, DROPS, ""),
        (
            &["drops", "-n", "1", "--json"],
            0,
            r#""outcome":"bad_tcp_flags","length":58,"packet":{"vlans":[7]"#,
            "",
        ),
        (&["drops"], 1, DROPS, "the daemon at "),
        (&["explain", "198.51.100.7:40000", "192.0.2.10:80"], 0, EXPLANATION, ""),
        (
            &["explain", "2001:db8::7", "[2001:db8::10]:53", "--protocol", "udp", "--interface", "eth1"],
            0,
            "packet          udp [2001:db8::7]:1 -> [2001:db8::10]:53 on eth1\n",
            "",
        ),
        (&["explain", "somebody", "192.0.2.10:80"], 2, "", "expected an address such as"),
        (&["unload"], 1, "", "nothing was unloaded: 12 connections are open"),
        (&["unload", "--yes"], 0, "unload", ""),
        (&["completions", "bash"], 0, "COMPLETE", ""),
        (&["completions", "tcsh"], 2, "", "possible values: bash"),
        (&["man"], 0, ".TH xlb", ""),
        (&["man", "weight"], 0, "65535", ""),
        (&["man", "nope"], 1, "", "no verb named nope"),
        (&["nope"], 2, "", "unrecognized subcommand"),
        (&[], 2, "", "Usage"),
        (&["run", "-c", "/nonexistent/xlb.toml"], 2, "", "/nonexistent/xlb.toml"),
        (&["check", "-c", "/nonexistent/xlb.toml"], 2, "", "/nonexistent/xlb.toml"),
        (&["doctor", "-c", "/nonexistent/xlb.toml"], 2, "", "/nonexistent/xlb.toml"),
    ] {
        expect(&fake.socket, arguments, code, stdout, stderr).await;
    }
    assert!(fake.writes().contains(&Write::Revert(Scope::Everything)));
}

#[tokio::test]
async fn connections_beyond_the_limit_are_not_shown_but_mentioned() {
    let fake = Fake::start().await;
    for (limit, lines, hint) in [("2", 2, "there are more than 2 connections"), ("3", 3, ""), ("0", 3, "")] {
        let output = xlb(&fake.socket, &["connections", "--json", "--limit", limit]).await;
        let (out, err) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(out.lines().count(), lines, "{out}");
        assert!(err.contains(hint) && err.is_empty() == hint.is_empty(), "{err}");
    }
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_said_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("xlb.sock");
    let dead = directory.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    for verb in [&["status"][..], &["weight", "web/web1", "1"], &["events", "-f"], &["reload"]] {
        let no_socket =
            format!("xlb: cannot reach the daemon at {}: there is no such socket", missing.display());
        expect(&missing, verb, 3, "", &no_socket).await;
        let no_daemon = format!("xlb: cannot reach the daemon at {}: the daemon that made", dead.display());
        expect(&dead, verb, 3, "", &no_daemon).await;
        let output = xlb(&missing, verb).await;
        assert_eq!(output.stderr.iter().filter(|byte| **byte == b'\n').count(), 1);
    }
}

/// A configuration whose directories are in `directory`, with one mistake if `mistake` is not empty.
fn configuration(directory: &Path, mistake: &str) -> String {
    let file = directory.join("xlb.toml");
    let text = format!(
        r#"
[global]
interfaces = ["lo", "nowhere0"]
state_dir = "{0}/state"
pin_dir = "{0}/pins"
{mistake}
[[virtual_server]]
name = "web"
address = "192.0.2.10:80"
real_server = [ {{ address = "10.0.0.11:8080" }}, {{ address = "10.0.0.12:8080" }} ]
"#,
        directory.display()
    );
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn check_says_what_is_wrong_where_or_what_a_valid_file_means() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("xlb.sock");
    let file = configuration(directory.path(), "");
    let check = ["check", "-c", &file];
    expect(&socket, &check, 0, "warning: this machine has no interface nowhere0 (global.interfaces)\n", "")
        .await;
    let valid = format!("\n{file} is valid: 1 virtual server, 2 real servers; the connection tables take ");
    expect(&socket, &check, 0, &valid, "").await;
    let output = xlb(&socket, &["check", "--json", "-c", &file]).await;
    let mut value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    value["file"] = "FILE".into();
    // Follows from the layout of the tables.
    value["connection_memory_bytes"].take().as_u64().unwrap();
    insta::assert_json_snapshot!("check_valid", value);

    let mark = "[[fwmark]]\nmark = 7\nmatch = [ { destination = \"192.0.2.20/32\", protocol = \"tcp\" } ]";
    let file = configuration(directory.path(), mark);
    let carried = "packets that go up to the kernel do not carry them\n";
    expect(&socket, &["check", "-c", &file], 0, carried, "").await;

    let file = configuration(directory.path(), "xdp_mod = 1\nsysctl = 2");
    for mistake in ["unknown-key", "xdp_mod = 1\n", "sysctl = 2\n", "xlb.toml: 2 errors, 0 warnings\n"] {
        expect(&socket, &["check", "-c", &file], 2, "", mistake).await;
        expect(&socket, &["run", "-c", &file], 2, "", mistake).await;
    }
    let output = xlb(&socket, &["check", "--json", "-c", &file]).await;
    assert_eq!(output.status.code(), Some(2));
    let mut value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    value["file"] = "FILE".into();
    insta::assert_json_snapshot!("check_invalid", value);
}

#[tokio::test]
async fn unload_without_a_daemon_is_for_root_and_goes_by_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("xlb.sock");
    let file = configuration(directory.path(), "");
    let unload = ["unload", "-c", &file];
    if !nix::unistd::geteuid().is_root() {
        return expect(&socket, &unload, 3, "", "only root can unload without the daemon").await;
    }
    expect(&socket, &unload, 0, "nothing is loaded\n", "").await;
    expect(&socket, &["unload", "-c", "/nonexistent/xlb.toml"], 2, "", "/nonexistent/xlb.toml").await;
    assert!(!directory.path().join("pins").exists());
}

#[tokio::test]
async fn a_write_that_was_cut_short_is_said_to_be_uncertain() {
    let fake = Fake::start().await;
    let target = format!("web/{SILENT}");
    let arguments = ["weight", target.as_str(), "1"];
    let (output, ()) = tokio::join!(xlb(&fake.socket, &arguments), async {
        while fake.writes().is_empty() {
            tokio::task::yield_now().await;
        }
        fake.shutdown.cancel();
    });
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert!(error.contains("a change may be applied"), "{error}");
}

#[tokio::test]
async fn the_shell_completes_verbs_and_the_names_that_the_daemon_knows() {
    let fake = Fake::start().await;
    let socket = fake.socket.to_str().unwrap();
    for (typed, candidates) in [
        (&["we"][..], "weight"),
        (&["weight", "web/"], "web/web1\nweb/web2\nweb/web3"),
        (&["add", "w"], "web"),
        (&["revert", "web"], "web\nweb/web1\nweb/web2\nweb/web3"),
        (&["weight", "nope/"], ""),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xlb"));
        command.args(["--", "xlb", "-s", socket]).args(typed).env("COMPLETE", "fish");
        let output = command.output().await.unwrap();
        let answer = String::from_utf8(output.stdout).unwrap();
        // Fish wants each candidate's help behind a tabulator.
        let names: Vec<_> = answer.lines().map(|line| line.split('\t').next().unwrap()).collect();
        assert_eq!(names.join("\n"), candidates, "{typed:?}");
    }
}
