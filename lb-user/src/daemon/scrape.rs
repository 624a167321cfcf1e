//! What metrics show, read at the moment they are asked for.

use aya::maps::MapError;

use super::{Daemon, failed, now, view};
use crate::{
    control::{Failure, status::Vrrp},
    dataplane::counters,
    metrics::{self, Scrape},
};

impl Daemon {
    pub(super) async fn metrics(&self) -> Result<String, Failure> {
        let vrrp = self.vrrp().await;
        let scrape = self.scrape(vrrp).map_err(|error| failed(&error))?;
        metrics::text(scrape).map_err(|error| failed(&error))
    }

    fn scrape(&self, vrrp: Vec<Vrrp>) -> Result<Scrape, MapError> {
        let packets = self.attached.iter().map(|interface| {
            let outcomes = counters::outcomes(&self.engine.maps, interface.slot)?;
            let outcomes = outcomes.into_iter().map(|(outcome, counter)| (outcome, counter.packets));
            Ok((interface.name.clone(), outcomes.collect()))
        });
        Ok(Scrape {
            packets: packets.collect::<Result<_, MapError>>()?,
            status: view::status(
                &self.engine,
                (&self.attached, &self.reconciled),
                self.generation,
                None,
                vrrp,
                now(),
            )?,
            checks: self.health.counters().counts(),
            reloaded: self.reloaded,
        })
    }
}
