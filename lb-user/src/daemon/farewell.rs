//! Both ends of a connection that ends with a reset learn it at once, not when they next have something to say.
//!
//! Nobody but the two ends knows the sequence number at which a reset is believed. So each is prompted for a segment, and the
//! data plane answers that one with the reset, as it would any other.

use std::{collections::HashSet, io, ops::ControlFlow, sync::Arc, time::Duration};

use lb_common::connection::flags;
use tokio::{task::spawn_blocking, time::sleep};

use super::Daemon;
use crate::{
    dataplane::{connections::while_each, maps::Maps, sweep::Which},
    host::prompt::Prompter,
};

/// Pauses before the ends are prompted: once more for those whose segment was lost.
const PAUSES: [Duration; 2] = [Duration::ZERO, Duration::from_millis(400)];

impl Daemon {
    /// Prompts both ends of every connection of these real servers, by index, until they were reset.
    pub(super) fn part(&self, real_servers: HashSet<u32>) {
        let Some(pins) = &self.pins else { return };
        let maps = match Maps::open(pins) {
            Ok(maps) => maps,
            Err(error) => return tracing::warn!("connections learn of their reset late: {error}"),
        };
        let lost = Arc::new((maps, real_servers));
        tokio::spawn(async move {
            for pause in PAUSES {
                sleep(pause).await;
                let lost = Arc::clone(&lost);
                if let Ok(Err(error)) = spawn_blocking(move || prompt(&lost.0, &lost.1)).await {
                    tracing::warn!("connections learn of their reset late: {error}");
                }
            }
        });
    }
}

fn prompt(maps: &Maps, real_servers: &HashSet<u32>) -> io::Result<()> {
    let prompter = Prompter::open()?;
    while_each(
        maps,
        |index, _| real_servers.contains(&index),
        |entry| {
            // Who cannot be reached learns when it speaks.
            if entry.which == Which::Tcp && entry.request & flags::RST == 0 {
                let _ = prompter.prompt(entry.vip, entry.client);
            }
            if entry.which == Which::Tcp && entry.reply & flags::RST == 0 {
                let _ = prompter.prompt(entry.sender, entry.real_server);
            }
            ControlFlow::Continue(())
        },
    )
}
