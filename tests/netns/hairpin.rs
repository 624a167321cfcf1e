//! Clients on the real servers' own link, the real servers among them.

use anyhow::Result;
use lb_tests::{Shape, Site, http, wait_until};

use crate::given::{PATIENCE, daemon, vips, virtual_server};

/// The last server of the site is not in the pool: to the balancer it is a client like any other.
const POOL: u32 = 3;

const REQUESTS: u32 = 30;

#[test]
fn who_is_on_the_real_servers_link_reaches_all_of_them_through_the_vip_itself_included() -> Result<()> {
    let site = Site::create(Shape { servers: POOL as u8 + 1, ..Shape::default() })?;
    let mut configuration = String::new();
    for (name, vip) in ["web4", "web6"].into_iter().zip(vips()) {
        configuration += &virtual_server(&site, name, vip, &[1; POOL as usize], "scheduler = \"rr\"")?;
    }
    let daemon = daemon(&site, &configuration)?;
    for vip in vips() {
        for server in &site.servers {
            let answers = server.namespace.inside(|| http::count(vip, REQUESTS))??;
            eprintln!("{} asks {vip}: {answers:?}", server.name);
            assert_eq!(answers.values().sum::<u32>(), REQUESTS);
            // Where a port is taken the next in turn takes the connection.
            let even = REQUESTS / POOL;
            assert!(answers.len() == POOL as usize && answers.values().all(|&it| it.abs_diff(even) <= 2));
        }
    }
    let asked = vips().len() * site.servers.len() * REQUESTS as usize;
    wait_until("the status to show all of them", PATIENCE, || {
        daemon.status().is_ok_and(|status| status["data_plane"]["connections"]["source_nat"] == asked)
    })
}
