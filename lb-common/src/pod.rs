//! Leave for aya to copy the types as plain bytes.
#![cfg(feature = "user")]
#![allow(unsafe_code, reason = "one of the four addresses of unsafe code: see ARCHITECTURE.md")]

use crate::{
    addr::{V4, V6},
    connection::{Connection, ConnectionKey},
    counter::Counter,
    half_open::{Placement, Set},
    mark::MarkRules,
    script::Script,
    service::{Interface, Load, RealServer, ServiceKey, Settings, VipKey, VirtualServer},
    template::{Template, TemplateKey},
    virtual_mac::VirtualMacKey,
    vlan::VlanKey,
};

macro_rules! pod {
    ($($type:ty),+ $(,)?) => {$(
        // SAFETY: `repr(C)` integers only, every bit pattern is valid, and the size assertion beside the type proves that
        // there is no padding.
        unsafe impl aya::Pod for $type {}
    )+};
}

pod!(
    V4,
    V6,
    ConnectionKey<V4>,
    ConnectionKey<V6>,
    Connection<V4>,
    Connection<V6>,
    Counter,
    Interface,
    Load,
    MarkRules<V4>,
    MarkRules<V6>,
    Placement,
    RealServer,
    Script,
    ServiceKey<V4>,
    ServiceKey<V6>,
    Set<V4>,
    Set<V6>,
    Settings,
    Template,
    TemplateKey<V4>,
    TemplateKey<V6>,
    VipKey<V4>,
    VipKey<V6>,
    VirtualMacKey,
    VirtualServer,
    VlanKey,
);
