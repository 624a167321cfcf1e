//! What the demo says, apart from figures.

use std::path::Path;

use anstream::println;
use anstyle::{AnsiColor, Style};
use lb_tests::Site;
use lb_tests::site::{VIP4, VIP6};

const HEADING: Style = AnsiColor::Cyan.on_default().bold();
const COMMAND: Style = Style::new().bold();

/// A new chapter.
pub(super) fn heading(text: &str) {
    println!("\n{HEADING}{text}{HEADING:#}");
}

/// A sentence.
pub(super) fn line(text: &str) {
    println!("  {text}");
}

/// A command as the user would type it, and what it printed.
pub(super) fn command(text: &str, output: &str) {
    println!("  {COMMAND}$ {text}{COMMAND:#}");
    for line in output.lines() {
        println!("    {line}");
    }
}

/// Who is where.
pub(super) fn topology(site: &Site) {
    println!(
        "
  client               balancer                     real servers
  198.51.100.2   ──▶   outside   198.51.100.1
  2001:db8:1::2        xlb
                       inside    10.0.0.1     ──▶   web1  10.0.0.11  nginx
                                                    web2  10.0.0.12  nginx
  VIP {VIP4}                                    web3  10.0.0.13  nginx
      {VIP6}

  the balancer's namespace is {}",
        site.balancer.name()
    );
}

/// The last lines of what the daemon logged.
pub(super) fn log(site: &Site) {
    let log = std::fs::read_to_string(site.directory().join("xlb.log")).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    heading("The daemon's last words");
    for line in &lines[lines.len().saturating_sub(20)..] {
        println!("  {line}");
    }
    println!();
}

/// How to go on with a demo that is left standing.
pub(super) fn what_to_try(site: &Site, program: &Path, remove: &Path) {
    let xlb = format!("{} -s {}", program.display(), site.directory().join("xlb.sock").display());
    let inside = |host: &str| format!("nsenter --net=/run/netns/{host}");
    heading("Left standing; try");
    for text in [
        format!("{} curl http://{VIP4}/", inside(site.client.name())),
        format!("{} curl 'http://[{VIP6}]/'", inside(site.client.name())),
        format!("{xlb} status"),
        format!("{xlb} weight web/web1 5"),
        format!("{} tcpdump -ni eth0", inside(site.client.name())),
        format!("sh {}    # removes all of it", remove.display()),
    ] {
        println!("  {text}");
    }
    println!();
}
