//! Dropped packets for those who watch: read while there are any, and sent to each as lines.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use hyper::body::Bytes;
use lb_common::{drops::DroppedFrame, outcome::Outcome};
use nix::net::if_::if_indextoname;
use tokio::{
    io::unix::AsyncFd,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{MissedTickBehavior, interval},
};

use super::{headers, now};
use crate::{
    control::{Code, Failure, Reply, drops::Dropped},
    dataplane::drops::{Drops, age},
};

/// Watchers at one time.
const WATCHERS: usize = 8;

/// Lines that wait for a watcher who is slower than packets are dropped; what is beyond is counted.
const LINES: usize = 256;

/// Time between two looks whether watchers are still there.
const LOOK: Duration = Duration::from_secs(1);

/// Where watchers are let in.
#[derive(Debug)]
pub(super) struct Door {
    room: Arc<Semaphore>,
    watchers: mpsc::UnboundedSender<Watcher>,
}

impl Door {
    /// Reads while somebody watches, until the door is dropped.
    pub(super) fn open(drops: Drops) -> io::Result<Self> {
        #[expect(
            deprecated,
            reason = "what replaces it is unsafe, and the descriptor is the ring buffer's own"
        )]
        let drops = AsyncFd::new(drops)?;
        let (watchers, arrivals) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            if let Err(error) = serve(drops, arrivals).await {
                tracing::error!("dropped packets cannot be watched any more: {error:#}");
            }
        });
        Ok(Self { room: Arc::new(Semaphore::new(WATCHERS)), watchers })
    }

    /// Dropped packets from now on.
    pub(super) fn enter(&self) -> Result<Reply, Failure> {
        let busy = |_| Failure::new(Code::Refused, format!("{WATCHERS} others watch already"));
        let permit = Arc::clone(&self.room).try_acquire_owned().map_err(busy)?;
        let (lines, receiver) = mpsc::channel(LINES);
        let watcher = Watcher { lines, missed: 0, _permit: permit };
        let ended = |_| Failure::new(Code::Unavailable, "dropped packets cannot be watched any more");
        self.watchers.send(watcher).map_err(ended)?;
        Ok(Reply::Lines(receiver))
    }
}

/// Somebody who watches.
struct Watcher {
    lines: mpsc::Sender<io::Result<Bytes>>,
    /// Dropped packets that it was not told of since the last one it was.
    missed: u64,
    _permit: OwnedSemaphorePermit,
}

impl Watcher {
    fn tell(&mut self, dropped: &Dropped) {
        let dropped = Dropped { missed: self.missed + dropped.missed, ..dropped.clone() };
        // A dropped packet has nothing that JSON cannot say.
        let mut line = serde_json::to_vec(&dropped).unwrap_or_default();
        line.push(b'\n');
        self.missed = match self.lines.try_send(Ok(line.into())) {
            Ok(()) => 0,
            Err(_) => dropped.missed + 1,
        };
    }
}

async fn serve(
    mut drops: AsyncFd<Drops>,
    mut arrivals: mpsc::UnboundedReceiver<Watcher>,
) -> anyhow::Result<()> {
    while let Some(first) = arrivals.recv().await {
        drops.get_mut().watch()?;
        let served = show(&mut drops, &mut arrivals, vec![first]).await;
        drops.get_mut().unwatch()?;
        served?;
    }
    Ok(())
}

/// Until nobody watches any more, or the daemon ends.
async fn show(
    drops: &mut AsyncFd<Drops>,
    arrivals: &mut mpsc::UnboundedReceiver<Watcher>,
    mut watchers: Vec<Watcher>,
) -> io::Result<()> {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !watchers.is_empty() {
        tokio::select! {
            arrival = arrivals.recv() => match arrival {
                Some(watcher) => watchers.push(watcher),
                None => return Ok(()),
            },
            readable = drops.readable_mut() => {
                let mut readable = readable?;
                readable.clear_ready();
                let (_, wall) = now();
                while let Some(frame) = readable.get_inner_mut().take() {
                    let dropped = dropped(&frame, wall);
                    watchers.iter_mut().for_each(|watcher| watcher.tell(&dropped));
                }
            }
            _ = looks.tick() => watchers.retain(|watcher| !watcher.lines.is_closed()),
        }
    }
    Ok(())
}

fn dropped(frame: &DroppedFrame, wall: SystemTime) -> Dropped {
    let bytes = frame.bytes();
    Dropped {
        at: wall.checked_sub(age(frame.at)).unwrap_or(wall),
        interface: if_indextoname(frame.interface)
            .map_or_else(|_| frame.interface.to_string(), |name| name.to_string_lossy().into_owned()),
        outcome: Outcome::ALL
            .get(usize::from(frame.outcome))
            .map_or_else(|| frame.outcome.to_string(), |outcome| outcome.name().to_owned()),
        length: frame.length,
        packet: headers::read(bytes),
        headers: bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        missed: frame.missed.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::drops::Packet;

    #[test]
    fn a_watcher_who_is_too_slow_learns_how_many_were_missed() {
        let (lines, mut receiver) = mpsc::channel(1);
        let room = Arc::new(Semaphore::new(1));
        let mut watcher = Watcher { lines, missed: 0, _permit: room.try_acquire_owned().unwrap() };
        let dropped = Dropped {
            at: SystemTime::UNIX_EPOCH,
            interface: "eth0".to_owned(),
            outcome: "land".to_owned(),
            length: 60,
            packet: Packet::default(),
            headers: String::new(),
            missed: 2,
        };
        let mut missed = || {
            let line = receiver.try_recv().unwrap().unwrap();
            serde_json::from_slice::<Dropped>(&line).unwrap().missed
        };
        watcher.tell(&dropped);
        watcher.tell(&dropped);
        watcher.tell(&dropped);
        assert_eq!(missed(), 2);
        watcher.tell(&dropped);
        // The two that found no room, and two before each of the three.
        assert_eq!(missed(), 2 + 3 * 2);
    }
}
