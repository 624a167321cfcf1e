//! Waiting for a condition; the only place of the harness that reads the clock.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Returns when `condition` holds; fails when it does not within `limit`, naming what was waited for.
#[expect(clippy::disallowed_methods, reason = "this is the driver that waits, so that tests do not")]
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !condition() {
        if Instant::now() >= deadline {
            bail!("waited {limit:?} in vain for: {what}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
