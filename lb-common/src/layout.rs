//! Names of the maps, and the version of what is in them.

/// Raised whenever a key, a value or the meaning of a field changes. Pinned maps of another version are not adopted.
pub const VERSION: u32 = 4;

/// Names of the maps, the same in the object, in the pin directory and in `bpftool`.
pub mod map {
    /// `Settings`, one element.
    pub const SETTINGS: &str = "SETTINGS";
    /// Interface index -> `Interface`.
    pub const INTERFACES: &str = "INTERFACES";
    /// The filter of [`crate::concern`].
    pub const CONCERNS: &str = "CONCERNS";
    /// `VlanKey` -> index of the VLAN device.
    pub const VLANS: &str = "VLANS";
    /// `VirtualMacKey` -> slot of the lease of the virtual router's master.
    pub const VIRTUAL_MACS: &str = "VIRTUAL_MACS";
    /// Interface slot and outcome -> `Counter`, per CPU.
    pub const OUTCOMES: &str = "OUTCOMES";
    /// `VipKey<V4>` -> slot of its lease, 0 when it needs none.
    pub const VIPS_V4: &str = "VIPS_V4";
    /// `VipKey<V6>` -> slot of its lease, 0 when it needs none.
    pub const VIPS_V6: &str = "VIPS_V6";
    /// Slot -> the tick at which the lease of an elected owner ends.
    pub const LEASES: &str = "LEASES";
    /// `ServiceKey<V4>` -> virtual server index.
    pub const SERVICES_V4: &str = "SERVICES_V4";
    /// `ServiceKey<V6>` -> virtual server index.
    pub const SERVICES_V6: &str = "SERVICES_V6";
    /// Virtual server index -> `VirtualServer`.
    pub const VIRTUAL_SERVERS: &str = "VIRTUAL_SERVERS";
    /// Virtual server index -> its name, for the controller alone: after a restart it knows which is which.
    pub const NAMES: &str = "NAMES";
    /// Virtual server index -> its scheduling table.
    pub const SCHEDULING: &str = "SCHEDULING";
    /// When the established tables were last found full, one element.
    pub const PRESSURE: &str = "PRESSURE";
    /// Virtual server index -> position in its sequence.
    pub const CURSORS: &str = "CURSORS";
    /// Real server index -> `RealServer`.
    pub const REAL_SERVERS: &str = "REAL_SERVERS";
    /// Real server index -> `Load`.
    pub const LOADS: &str = "LOADS";
    /// Real server index and row -> `Counter`, per CPU.
    pub const TRAFFIC: &str = "TRAFFIC";
    /// Established TCP connections.
    pub const TCP_V4: &str = "TCP_V4";
    /// Established TCP connections.
    pub const TCP_V6: &str = "TCP_V6";
    /// TCP connections without a proven handshake.
    pub const HALF_OPEN_V4: &str = "HALF_OPEN_V4";
    /// TCP connections without a proven handshake.
    pub const HALF_OPEN_V6: &str = "HALF_OPEN_V6";
    /// Where keys belong in these two, one element.
    pub const PLACEMENT: &str = "PLACEMENT";
    /// UDP connections.
    pub const UDP_V4: &str = "UDP_V4";
    /// UDP connections.
    pub const UDP_V6: &str = "UDP_V6";
    /// `ServiceKey<V4>` of a real server -> what its replies come from.
    pub const REVERSE_V4: &str = "REVERSE_V4";
    /// `ServiceKey<V6>` of a real server -> what its replies come from.
    pub const REVERSE_V6: &str = "REVERSE_V6";
    /// Destination prefix -> `MarkRules<V4>`.
    pub const MARKS_V4: &str = "MARKS_V4";
    /// Destination prefix -> `MarkRules<V6>`.
    pub const MARKS_V6: &str = "MARKS_V6";
    /// `TemplateKey<V4>` -> `Template`.
    pub const TEMPLATES_V4: &str = "TEMPLATES_V4";
    /// `TemplateKey<V6>` -> `Template`.
    pub const TEMPLATES_V6: &str = "TEMPLATES_V6";
    /// `DroppedFrame`s, while somebody watches.
    pub const DROPS: &str = "DROPS";
    /// Since when somebody watches, one element; 0 while nobody does.
    pub const DROPS_WATCHED: &str = "DROPS_WATCHED";
}
