//! What moves as a whole: the instances of a sync group, or an instance alone, with all that is known of them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Instant, SystemTime},
};

use crate::{
    config::vrrp::{Kind, Priority, Tracked, Vrrp, VrrpInstance},
    host::interfaces::Interfaces,
    vrrp::{
        accept::Heard,
        group::Group,
        reject::Reject,
        router::{Router, Settings},
        state::State,
        status::{Adverts, InstanceStatus, Peer, TrackerStatus},
        tracker::{Effect, Reading, Standing, standing},
        trailer::{Marks, Sequence, window},
        watch::Readings,
    },
};

/// Routers remembered for the status; more are on no real link.
const PEERS: usize = 16;

/// An instance while it runs.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) instance: Arc<VrrpInstance>,
    /// None while the interface has no address to speak from.
    pub(super) source: Option<IpAddr>,
    /// When the lifetime of its addresses is to be renewed; none while it is not master.
    pub(super) renewal: Option<Instant>,
    pub(super) adverts: Adverts,
    /// Of the last advertisement that was signed.
    signed: Option<Sequence>,
    marks: Marks,
    /// As last published.
    state: State,
    master: Option<IpAddr>,
    transitions: u64,
    peers: BTreeMap<IpAddr, Peer>,
    standing: Standing,
    trackers: Vec<TrackerStatus>,
}

/// Members and their election.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) members: Vec<Member>,
    pub(super) group: Group,
    /// What all members were last in.
    agreed: State,
}

/// The instances of every unit: sync groups first, then those that are in none.
pub(super) fn split(config: &Vrrp) -> Vec<Vec<Arc<VrrpInstance>>> {
    let find = |name: &String| config.instances.iter().find(|instance| instance.name == *name);
    let grouped =
        |instance: &VrrpInstance| config.sync_groups.iter().any(|group| group.group.contains(&instance.name));
    let groups = config
        .sync_groups
        .iter()
        .map(|group| group.group.iter().filter_map(find).cloned().map(Arc::new).collect());
    let alone = config.instances.iter().filter(|instance| !grouped(instance));
    groups.chain(alone.map(|instance| vec![Arc::new(instance.clone())])).collect()
}

impl Member {
    fn new(instance: Arc<VrrpInstance>) -> Self {
        Self {
            source: None,
            renewal: None,
            adverts: Adverts::default(),
            signed: None,
            marks: Marks::default(),
            state: State::Init,
            master: None,
            transitions: 0,
            peers: BTreeMap::new(),
            standing: Standing { known: false, faulty: false, priority: instance.priority },
            trackers: Vec::new(),
            instance,
        }
    }

    pub(super) fn entered(&mut self, state: State) {
        if (state == State::Master) != (self.state == State::Master) {
            self.transitions += 1;
        }
        self.state = state;
        self.master = self.source.filter(|_| state == State::Master);
    }

    /// For the trailer of the next advertisement.
    pub(super) fn next_sequence(&mut self, wall: SystemTime) -> Sequence {
        let next = Sequence::after(self.signed, wall, window(self.instance.advert_interval));
        self.signed = Some(next);
        next
    }

    /// Whether what was heard is new, as far as it says when it was sent.
    pub(super) fn admit(&mut self, heard: &Heard, source: IpAddr, wall: SystemTime) -> Result<(), Reject> {
        let Some(sequence) = heard.sequence else { return Ok(()) };
        self.marks.admit(source, sequence, wall, window(self.instance.advert_interval))
    }

    pub(super) fn refused(&mut self, reason: Reject) {
        *self.adverts.rejected.entry(reason).or_default() += 1;
    }

    fn heard(&mut self, heard: &Heard, source: IpAddr, state: State) {
        self.adverts.received += 1;
        let priority = heard.packet.advert.priority;
        if state == State::Backup {
            self.master = (priority != Priority::RESIGN).then_some(source);
        }
        if self.peers.len() < PEERS || self.peers.contains_key(&source) {
            self.peers.insert(source, Peer { priority, mismatches: heard.mismatches.clone() });
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            priority: self.instance.priority,
            interval: self.instance.advert_interval,
            version: self.instance.version,
            source: self.source.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            preempt: self.instance.preempt,
            preempt_delay: self.instance.preempt_delay,
            announce: self.instance.announce,
        }
    }

    /// Looks at everything this instance depends on.
    fn refresh(&mut self, interfaces: &Interfaces, readings: &Readings, virtual_ones: &[IpAddr]) {
        let instance = &self.instance;
        let up = |name: &str| interfaces.get(name).is_some_and(|interface| interface.up);
        let own = interfaces.get(&instance.interface);
        let primary = own.and_then(|own| own.primary(instance.is_ipv6(), virtual_ones));
        self.source = instance.source_address.or(primary);
        let usable = up(&instance.interface) && self.source.is_some();
        let reading = |tracked: &Tracked| match tracked.kind {
            Kind::Interface => Some(if up(&tracked.name) { Reading::Up } else { Reading::Down }),
            kind => readings.get(kind, &tracked.name),
        };
        let own = if usable { Effect::Adds(0) } else { Effect::Fault };
        self.trackers =
            instance.trackers.iter().map(|each| TrackerStatus::new(each, reading(each))).collect();
        let effects = instance.trackers.iter().map(|each| Effect::of(each.weight, reading(each)));
        self.standing = standing(instance.priority, std::iter::once(own).chain(effects));
    }
}

impl Unit {
    pub(super) fn new(instances: Vec<Arc<VrrpInstance>>) -> Self {
        let members: Vec<_> = instances.into_iter().map(Member::new).collect();
        let group = Group::new(members.iter().map(Member::settings));
        Self { members, group, agreed: State::Init }
    }

    /// The state that all members have entered, and the name of the first; none when it is as it was.
    pub(super) fn agreed(&mut self) -> Option<(&str, State)> {
        let first = self.members.first()?;
        let news =
            first.state != self.agreed && self.members.iter().all(|member| member.state == first.state);
        if !news {
            return None;
        }
        self.agreed = first.state;
        Some((&first.instance.name, first.state))
    }

    /// Whether `instances` can take the place of its members while it runs: the same virtual routers.
    pub(super) fn is(&self, instances: &[Arc<VrrpInstance>]) -> bool {
        let id = |instance: &VrrpInstance| {
            let VrrpInstance { name, interface, virtual_router_id, version, .. } = instance;
            (name.clone(), interface.clone(), *virtual_router_id, *version, instance.is_ipv6())
        };
        self.members.iter().map(|member| id(&member.instance)).eq(instances.iter().map(|each| id(each)))
    }

    /// Another configuration of the same virtual routers; says whether anything differs.
    pub(super) fn replace(&mut self, instances: &[Arc<VrrpInstance>], now: Instant) -> bool {
        let mut changed = false;
        for (member, instance) in self.members.iter_mut().zip(instances) {
            if member.instance != *instance {
                changed = true;
                member.instance = Arc::clone(instance);
                member.renewal = member.renewal.and(Some(now));
            }
        }
        changed
    }

    /// Looks at everything the members depend on; starts the election when all of it is known.
    pub(super) fn refresh(
        &mut self,
        (interfaces, readings, virtual_ones): (&Interfaces, &Readings, &[IpAddr]),
        ready: bool,
        now: Instant,
    ) {
        for (index, member) in self.members.iter_mut().enumerate() {
            member.refresh(interfaces, readings, virtual_ones);
            self.group.set(index, member.settings());
            self.group.set_priority(index, member.standing.priority);
        }
        self.group.set_faulty(self.members.iter().any(|member| member.standing.faulty), now);
        if ready && self.members.iter().all(|member| member.standing.known) {
            self.group.start(now);
        }
    }

    pub(super) fn state(&self, member: usize) -> State {
        self.group.routers().nth(member).map_or(State::Init, Router::state)
    }

    pub(super) fn priority(&self, member: usize) -> Priority {
        self.group.routers().nth(member).map_or(Priority::RESIGN, Router::priority)
    }

    pub(super) fn on_heard(&mut self, member: usize, heard: &Heard, source: IpAddr, now: Instant) {
        let state = self.state(member);
        self.members[member].heard(heard, source, state);
        self.group.on_advert(member, &heard.packet.advert, source, now);
    }

    /// When something is due: in the election, or a renewal.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.members.iter().filter_map(|member| member.renewal).chain(self.group.deadline()).min()
    }

    pub(super) fn status(&self) -> impl Iterator<Item = InstanceStatus> {
        self.members.iter().zip(self.group.routers()).map(|(member, router)| InstanceStatus {
            name: member.instance.name.clone(),
            state: router.state(),
            priority: router.priority(),
            master: member.master,
            addresses: member
                .instance
                .virtual_ipaddress
                .iter()
                .map(|each| each.address.to_string())
                .collect(),
            virtual_mac: member.instance.virtual_mac.as_ref().map(Into::into),
            routes: member.instance.virtual_routes.iter().map(ToString::to_string).collect(),
            rules: member.instance.virtual_rules.iter().map(ToString::to_string).collect(),
            transitions: member.transitions,
            trackers: member.trackers.clone(),
            blocked: member.standing.faulty || !member.standing.known,
            adverts: member.adverts.clone(),
            peers: member.peers.clone(),
        })
    }
}
