//! Feeds the election of every unit and does what it asks for. Decides nothing.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::UnboundedSender;

use crate::{
    config::vrrp::{Authentication, Kind, Priority, Vrrp, VrrpInstance},
    host::{addresses::Change, interfaces::Interfaces},
    vrrp::{
        accept::{Datagram, accept},
        advert::{Advert, GROUP_V4, GROUP_V6, Packet, Path},
        alarms::Alarms,
        keeper::{Order, lifetime},
        links::{LinkId, Links, is_on, link_of},
        notify::{Notifier, Whose},
        reject::Reject,
        router::{Action, MISSED},
        script::ScriptUser,
        state::State,
        task::{Command, Event, wall_clock},
        tracker::Reading,
        trailer,
        unit::{Member, Unit, split},
        watch::{Readings, Report, Watchers},
    },
};

/// What somebody else removed is put back after this, together with what went with it.
const PUT_BACK: Duration = Duration::from_millis(20);

/// Everything that runs.
#[derive(Debug)]
pub(super) struct Driver {
    config: Vrrp,
    units: Vec<Unit>,
    interfaces: Interfaces,
    own: Vec<IpAddr>,
    virtual_ones: Vec<IpAddr>,
    readings: Readings,
    ready: bool,
    /// When the start-up delay is over.
    ready_at: Option<Instant>,
    links: Links,
    orders: UnboundedSender<Order>,
    events: UnboundedSender<Event>,
    notifier: Notifier,
    watchers: Watchers,
    alarms: Alarms,
}

impl Driver {
    pub(super) fn new(
        links: Links,
        orders: UnboundedSender<Order>,
        events: UnboundedSender<Event>,
        watchers: Watchers,
        script_user: Option<ScriptUser>,
    ) -> Self {
        Self {
            config: Vrrp::default(),
            units: Vec::new(),
            interfaces: Interfaces::default(),
            own: Vec::new(),
            virtual_ones: Vec::new(),
            readings: Readings::default(),
            ready: false,
            ready_at: None,
            links,
            orders,
            events,
            notifier: Notifier::new(script_user),
            watchers,
            alarms: Alarms::default(),
        }
    }

    /// Takes a configuration; what is the same in both is not touched.
    pub(super) fn apply(&mut self, config: Vrrp, now: Instant) {
        let mut before = std::mem::take(&mut self.units);
        for instances in split(&config) {
            let Some(same) = before.iter().position(|unit| unit.is(&instances)) else {
                self.units.push(Unit::new(instances));
                continue;
            };
            let mut unit = before.swap_remove(same);
            let changed = unit.replace(&instances, now);
            self.units.push(unit);
            if changed {
                self.hold_again(self.units.len() - 1);
            }
        }
        for mut unit in before {
            unit.group.stop(now);
            self.flush(&mut unit, now);
        }
        self.order(Order::Devices(config.virtual_macs().cloned().collect()));
        self.virtual_ones = addresses(&config).collect();
        self.config = config;
        self.watchers.follow(&self.config, &mut self.readings);
        self.refresh(self.interfaces.clone(), now);
    }

    /// Looks at everything that instances depend on.
    pub(super) fn refresh(&mut self, interfaces: Interfaces, now: Instant) {
        self.own = interfaces.addresses().collect();
        self.interfaces = interfaces;
        let wanted: Vec<LinkId> = self.config.instances.iter().map(link_of).collect();
        self.links.refresh(&wanted, &self.interfaces);
        for unit in &mut self.units {
            unit.refresh((&self.interfaces, &self.readings, &self.virtual_ones), self.ready, now);
        }
    }

    /// Elections begin when the start-up delay is over.
    fn begin(&mut self, now: Instant) {
        if self.ready_at.is_some_and(|due| due <= now) {
            self.ready_at = None;
            self.ready = true;
            self.refresh_trackers(now);
        }
    }

    fn refresh_trackers(&mut self, now: Instant) {
        self.refresh(self.interfaces.clone(), now);
    }

    /// Whether the interfaces have to be looked at. What is gone and should be there is put back.
    pub(super) fn is_of_interest(&mut self, change: Change, now: Instant) -> bool {
        match change {
            Change::Interface => true,
            Change::PathGone => {
                let has = |member: &Member| {
                    let VrrpInstance { virtual_routes, virtual_rules, .. } = &*member.instance;
                    !virtual_routes.is_empty() || !virtual_rules.is_empty()
                };
                self.renew_soon(has, now);
                false
            }
            Change::Put(address) => !self.virtual_ones.contains(&address),
            Change::Gone(address) => {
                let has = |member: &Member| {
                    member.instance.virtual_ipaddress.iter().any(|v| v.address.addr() == address)
                };
                self.renew_soon(has, now);
                !self.virtual_ones.contains(&address)
            }
        }
    }

    /// What masters hold is looked at and put back.
    fn renew_soon(&mut self, concerned: impl Fn(&Member) -> bool, now: Instant) {
        for member in self.units.iter_mut().flat_map(|unit| &mut unit.members) {
            if concerned(member)
                && let Some(renewal) = &mut member.renewal
            {
                *renewal = (*renewal).min(now + PUT_BACK);
            }
        }
    }

    pub(super) fn on_report(&mut self, report: Report, now: Instant) {
        let Report { kind, name, reading, said } = report;
        if let Some(said) = said {
            self.publish(Event::Tracker { kind, name: name.clone(), reading, said });
        }
        self.readings.set(kind, name, reading);
        self.refresh_trackers(now);
    }

    pub(super) fn on_command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Ready => {
                self.ready_at = Some(now + self.config.startup_delay);
                self.begin(now);
            }
            Command::VirtualServer { name, up } => {
                let reading = if up { Reading::Up } else { Reading::Down };
                self.readings.set(Kind::VirtualServer, name, reading);
                self.refresh_trackers(now);
            }
            Command::Release { name, known } => {
                let is = |unit: &Unit| {
                    let mut members = unit.members.iter();
                    name.as_ref().is_none_or(|name| members.any(|each| each.instance.name == *name))
                };
                let mut found = name.is_none();
                for unit in self.units.iter_mut().filter(|unit| is(unit)) {
                    found = true;
                    unit.group.hand_over(now);
                }
                // Who asked may have gone.
                let _ = known.send(found);
            }
            Command::Status(reply) => {
                let mut all: Vec<_> = self.units.iter().flat_map(Unit::status).collect();
                let place = |name: &str| self.config.instances.iter().position(|each| each.name == name);
                all.sort_by_key(|status| place(&status.name));
                let _ = reply.send(all);
            }
            // The task itself does these.
            Command::Apply(_) | Command::Stop => {}
        }
    }

    /// A packet came in: at every instance it is meant for it is checked, then heard or counted.
    pub(super) fn on_packet(&mut self, link: &LinkId, datagram: &Datagram<'_>, now: Instant) {
        let id = datagram.virtual_router_id();
        let peer = datagram.path.source;
        for unit in &mut self.units {
            for index in 0..unit.members.len() {
                let instance = &unit.members[index].instance;
                if !is_on(instance, link) || id.is_some_and(|id| id != instance.virtual_router_id) {
                    continue;
                }
                let instance = Arc::clone(instance);
                let mut alarm = |reason: String| {
                    raise((&mut self.alarms, &self.events), &instance.name, peer, reason, now);
                };
                let member = &mut unit.members[index];
                let accepted = accept(&instance, &self.own, datagram)
                    .and_then(|heard| member.admit(&heard, peer, wall_clock()).map(|()| heard));
                match accepted {
                    Ok(heard) => {
                        heard.mismatches.iter().for_each(|mismatch| alarm(mismatch.to_string()));
                        unit.on_heard(index, &heard, peer, now);
                    }
                    Err(reason) => {
                        unit.members[index].refused(reason);
                        alarm(refusal(reason));
                    }
                }
            }
        }
    }

    /// When [`Driver::on_deadline`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.units.iter().filter_map(Unit::deadline).chain(self.ready_at).min()
    }

    /// Does what is due, and what the elections ask for.
    pub(super) fn on_deadline(&mut self, now: Instant) {
        self.begin(now);
        let mut units = std::mem::take(&mut self.units);
        for unit in &mut units {
            unit.group.on_deadline(now);
            self.flush(unit, now);
            for index in 0..unit.members.len() {
                if unit.members[index].renewal.is_some_and(|due| due <= now) {
                    self.own_addresses(unit, index, now);
                }
            }
        }
        self.units = units;
    }

    /// Gives up all roles and waits for the scripts that say so.
    pub(super) async fn stop(mut self, now: Instant) {
        for mut unit in std::mem::take(&mut self.units) {
            unit.group.stop(now);
            self.flush(&mut unit, now);
        }
        self.notifier.finish().await;
    }

    fn flush(&mut self, unit: &mut Unit, now: Instant) {
        while let Some((index, action)) = unit.group.next_action() {
            let instance = Arc::clone(&unit.members[index].instance);
            match action {
                Action::Advertise(priority) => self.advertise(unit, index, priority, now),
                Action::Hold => self.own_addresses(unit, index, now),
                Action::Release => {
                    unit.members[index].renewal = None;
                    self.order(Order::Release(instance));
                }
                Action::Announce => self.order(Order::Announce(instance)),
                Action::Entered(state) => {
                    let priority = unit.priority(index);
                    unit.members[index].entered(state);
                    self.notifier.notify(&instance.notify, Whose::Instance(&instance.name, priority), state);
                    let name = instance.name.clone();
                    self.publish(Event::State { instance: name, state, priority });
                }
            }
        }
        if let Some((first, state)) = unit.agreed()
            && let Some(group) = self.config.group_of(first)
        {
            self.notifier.notify(&group.notify, Whose::Group(&group.name), state);
        }
    }

    fn advertise(&mut self, unit: &mut Unit, index: usize, priority: Priority, now: Instant) {
        let is_master = unit.state(index) == State::Master;
        let member = &mut unit.members[index];
        let instance = Arc::clone(&member.instance);
        if is_master {
            let until = now + instance.advert_interval * MISSED;
            self.publish(Event::Owns { instance: instance.name.clone(), until });
        }
        let Some(source) = member.source else { return };
        let authentication = instance.authentication.as_ref();
        let password = match authentication {
            Some(Authentication::Pass(password)) => Some(*password),
            Some(Authentication::Hmac(_)) | None => None,
        };
        let signing = authentication.and_then(Authentication::signing);
        let signing = signing.map(|key| (key, member.next_sequence(wall_clock())));
        let sign = |message: &[u8]| {
            signing.map_or_else(Vec::new, |(key, sequence)| trailer::sign(key, sequence, source, message))
        };
        let packet = Packet {
            version: instance.version,
            virtual_router_id: instance.virtual_router_id,
            advert: Advert { priority, interval: instance.advert_interval },
            addresses: instance.advertised().collect(),
            checksum: instance.checksum,
            password,
        };
        let group = if instance.is_ipv6() { IpAddr::V6(GROUP_V6) } else { IpAddr::V4(GROUP_V4) };
        let everyone = [group];
        let to = if instance.unicast_peers.is_empty() { &everyone[..] } else { &instance.unicast_peers };
        for destination in to {
            let path = Path { source, destination: *destination };
            match self.links.send(&instance, path, &packet.encode_signed(path, sign)) {
                Ok(()) => member.adverts.sent += 1,
                Err(error) => {
                    member.adverts.failed += 1;
                    let reason = format!("cannot send to it: {error}");
                    raise((&mut self.alarms, &self.events), &instance.name, *destination, reason, now);
                }
            }
        }
    }

    /// One more lifetime for the addresses of a master.
    fn own_addresses(&mut self, unit: &mut Unit, index: usize, now: Instant) {
        let member = &mut unit.members[index];
        let lifetime = lifetime(member.instance.advert_interval);
        member.renewal = Some(now + lifetime / 4);
        let instance = Arc::clone(&member.instance);
        self.order(Order::Hold(instance));
    }

    /// A master whose configuration changed: new addresses are put and announced, others removed.
    fn hold_again(&self, unit: usize) {
        let unit = &self.units[unit];
        for (index, member) in unit.members.iter().enumerate() {
            if unit.state(index) == State::Master {
                self.order(Order::Hold(Arc::clone(&member.instance)));
                self.order(Order::Announce(Arc::clone(&member.instance)));
            }
        }
    }

    fn order(&self, order: Order) {
        // The keeper ends only after us.
        let _ = self.orders.send(order);
    }

    fn publish(&self, event: Event) {
        // A daemon that no longer listens ends us with the next command.
        let _ = self.events.send(event);
    }
}

fn addresses(config: &Vrrp) -> impl Iterator<Item = IpAddr> {
    config.instances.iter().flat_map(|each| each.virtual_ipaddress.iter().map(|v| v.address.addr()))
}

fn refusal(reason: Reject) -> String {
    let hint = if reason.is_mismatch() { "; two masters are likely" } else { "" };
    format!("packet dropped: {reason}{hint}")
}

fn raise(
    (alarms, events): (&mut Alarms, &UnboundedSender<Event>),
    instance: &str,
    peer: IpAddr,
    reason: String,
    now: Instant,
) {
    if alarms.raise(instance, &reason, now) {
        let _ = events.send(Event::Alarm { instance: instance.to_owned(), peer, reason });
    }
}
