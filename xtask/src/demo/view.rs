//! The live table: who answers how much while requests run.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use anstream::println;
use anyhow::Result;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use lb_tests::daemon::real_servers;
use lb_tests::load::Answers;
use lb_tests::site::VIP4;
use lb_tests::{Load, Site, wait_until};
use serde_json::Value;

/// Waits for so many answers while showing, on a terminal, whose they are; then prints the table once.
pub(super) fn watch(load: &Load, requests: u64, status: Option<(&Site, &Value)>) -> Result<Answers> {
    let before = load.answers();
    let rows = MultiProgress::new();
    let bars: BTreeMap<String, ProgressBar> =
        before.by_server.keys().map(|server| (server.clone(), rows.add(bar(server, requests)))).collect();
    let shown = Cell::new(0);
    wait_until(&format!("{requests} requests to end"), Duration::from_secs(30), || {
        let now = load.answers().since(&before);
        for (server, answers) in &now.by_server {
            if let Some(bar) = bars.get(server) {
                bar.set_position(*answers);
            }
        }
        shown.set(now.total() + now.failures.len() as u64);
        shown.get() >= requests
    })?;
    rows.clear()?;
    let answers = load.answers().since(&before);
    print(&answers, status);
    Ok(answers)
}

fn bar(server: &str, requests: u64) -> ProgressBar {
    let bar = ProgressBar::new(requests);
    if let Ok(style) = ProgressStyle::with_template("  {prefix:8} {bar:40} {pos:>6} answers") {
        bar.set_style(style.progress_chars("█▌ "));
    }
    bar.set_prefix(server.to_owned());
    bar
}

/// The table.
pub(super) fn print(answers: &Answers, status: Option<(&Site, &Value)>) {
    for (server, count) in &answers.by_server {
        let share = answers.share(server);
        // A share is at most 1, so the bar has at most 40 characters.
        let bar = "█".repeat((share * 40.0).round() as usize);
        let (state, weight) =
            status.and_then(|(site, status)| seen(site, status, server)).unwrap_or_default();
        println!("  {server:6} {state:6} {weight:9} {bar:40} {count:>6} answers {:5.1} %", share * 100.0);
    }
    println!("  {} requests over new connections, {} failed", answers.total(), answers.failures.len());
}

/// State and weight of a real server as the daemon reports them.
fn seen(site: &Site, status: &Value, server: &str) -> Option<(String, String)> {
    let address = site.servers.iter().find(|other| other.name == server)?.address(VIP4.into()).to_string();
    let found = real_servers(status).find(|entry| entry["address"].as_str() == Some(&address))?;
    Some((found["state"].as_str()?.to_owned(), format!("weight {}", found["weight"])))
}
