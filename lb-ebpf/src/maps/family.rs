//! The tables of both address families as BPF maps.
#![allow(unsafe_code, reason = "a part of the map adapter; see ARCHITECTURE.md")]

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    btf_maps::lpm_trie::Key,
};
use lb_common::{
    addr::{Protocol, V4, V6},
    concern,
    connection::{Connection, ConnectionKey, HalfOpen, NextHop},
    mark::MarkRules,
    service::{ServiceKey, VipKey, lease},
    template::{Template, TemplateKey},
};
use lb_ebpf::{
    desk::Desk,
    fragment::{FragmentKey, Ports},
    mark::Question,
    open::{Added, Pointed},
    tables::{Common, Known, Refused, Route, Tables},
};

use super::{
    CONCERNS, FRAGMENTS_V4, FRAGMENTS_V6, HALF_OPEN_V4, HALF_OPEN_V6, MARKS_V4, MARKS_V6, Maps, REVERSE_V4,
    REVERSE_V6, SERVICES_V4, SERVICES_V6, TCP_V4, TCP_V6, TEMPLATES_V4, TEMPLATES_V6, UDP_V4, UDP_V6,
    VIPS_V4, VIPS_V6, half_open,
};
use crate::{
    program,
    route::{query, route},
};

/// `E2BIG`, what a full hash map answers.
const E2BIG: i32 = -7;

#[inline(always)]
const fn refused(error: i32) -> Refused {
    if error == E2BIG { Refused::Full } else { Refused::Exists }
}

/// Whether a bit of the filter is set; so it is where there is no filter.
#[inline(always)]
fn is_marked((word, bit): (u32, u64)) -> bool {
    CONCERNS.get(word).is_none_or(|bits| bits & bit != 0)
}

macro_rules! tables {
    (
        $family:ty,
        $tcp:ident,
        $half_open:ident,
        $udp:ident,
        $vips:ident,
        $services:ident,
        $reverse:ident,
        $fragments:ident,
        $marks:ident,
        $marked:path,
        $templates:ident,
        $point:path,
        $add:path
    ) => {
        impl Tables<$family> for Maps<'_> {
            #[inline(always)]
            fn concerns(&self, source: $family, destination: $family) -> bool {
                is_marked(concern::destination(destination)) || is_marked(concern::source(source))
            }

            #[inline(always)]
            fn is_vip(&self, address: $family) -> bool {
                $vips.get_ptr(VipKey(address)).is_some()
            }

            #[inline(always)]
            fn lease_of(&self, vip: $family) -> u32 {
                // SAFETY: see the head of `maps`.
                unsafe { $vips.get(VipKey(vip)).copied() }.unwrap_or(lease::NONE)
            }

            #[inline(always)]
            fn service(&self, key: &ServiceKey<$family>) -> Option<u32> {
                // SAFETY: see the head of `maps`.
                unsafe { $services.get(key).copied() }
            }

            #[inline(always)]
            fn mark_rules(&self, destination: $family) -> Option<&MarkRules<$family>> {
                $marks.get(&Key::new(8 * size_of::<$family>() as u32, destination))
            }

            #[inline(always)]
            fn marked(&self, question: &Question<$family>) -> u32 {
                $marked(question)
            }

            #[inline(always)]
            fn point(&mut self, desk: &mut Desk<$family>, real_server: u32, attempt: u32) -> Pointed {
                Pointed::from_number($point(self.context.ctx, desk, real_server, attempt))
            }

            #[inline(always)]
            fn add(&mut self, desk: &mut Desk<$family>) -> Added {
                Added::from_number($add(desk))
            }

            #[inline(always)]
            fn template(&mut self, key: &TemplateKey<$family>) -> Option<&mut Template> {
                // SAFETY: see the head of `maps`.
                $templates.get_ptr_mut(key).map(|template| unsafe { &mut *template })
            }

            #[inline(always)]
            fn insert_template(
                &mut self,
                key: &TemplateKey<$family>,
                template: &Template,
            ) -> Result<(), Refused> {
                $templates.insert(key, template, u64::from(BPF_NOEXIST)).map_err(refused)
            }

            #[inline(always)]
            fn remove_template(&mut self, key: &TemplateKey<$family>) {
                // Not there is as good as removed.
                let _ = $templates.remove(key);
            }

            #[inline(always)]
            fn reverse(&self, real_server: &ServiceKey<$family>) -> Option<&ServiceKey<$family>> {
                // SAFETY: see the head of `maps`.
                unsafe { $reverse.get(real_server) }
            }

            #[inline(always)]
            fn connection(
                &mut self,
                protocol: Protocol,
                key: &ConnectionKey<$family>,
            ) -> Option<&mut Connection<$family>> {
                let entry = match protocol {
                    Protocol::Tcp => $tcp.get_ptr_mut(key),
                    Protocol::Udp => $udp.get_ptr_mut(key),
                };
                // SAFETY: see the head of `maps`.
                entry.map(|entry| unsafe { &mut *entry })
            }

            #[inline(always)]
            fn known(
                &mut self,
                protocol: Protocol,
                key: &ConnectionKey<$family>,
            ) -> Option<Known<'_, $family>> {
                let entry = match protocol {
                    Protocol::Tcp => $tcp.get_ptr_mut(key),
                    Protocol::Udp => $udp.get_ptr_mut(key),
                }?;
                // Both are asked for before anything is read: a call forgets what was.
                let now = self.now();
                let settings = *self.settings()?;
                // SAFETY: see the head of `maps`.
                Some(Known { entry: unsafe { &mut *entry }, settings, now })
            }

            #[inline(always)]
            fn insert(
                &mut self,
                protocol: Protocol,
                key: &ConnectionKey<$family>,
                entry: &Connection<$family>,
            ) -> Result<(), Refused> {
                match protocol {
                    Protocol::Tcp => $tcp.insert(key, entry, u64::from(BPF_NOEXIST)),
                    Protocol::Udp => $udp.insert(key, entry, u64::from(BPF_NOEXIST)),
                }
                .map_err(refused)
            }

            #[inline(always)]
            fn remove(&mut self, protocol: Protocol, key: &ConnectionKey<$family>) {
                // Not there is as good as removed.
                let _ = match protocol {
                    Protocol::Tcp => $tcp.remove(key),
                    Protocol::Udp => $udp.remove(key),
                };
            }

            #[inline(always)]
            fn half_open(&mut self, key: &ConnectionKey<$family>, into: &mut HalfOpen<$family>) -> bool {
                half_open::read(&$half_open, key, into)
            }

            #[inline(always)]
            fn change_half_open(
                &mut self,
                key: &ConnectionKey<$family>,
                change: impl FnOnce(&mut HalfOpen<$family>),
            ) {
                half_open::change(&$half_open, key, change);
            }

            #[inline(always)]
            fn insert_half_open(
                &mut self,
                key: &ConnectionKey<$family>,
                entry: &HalfOpen<$family>,
            ) -> Result<u32, Refused> {
                half_open::insert(&$half_open, key, entry)
            }

            #[inline(always)]
            fn remove_half_open(&mut self, key: &ConnectionKey<$family>) {
                half_open::remove(&$half_open, key);
            }

            #[inline(always)]
            fn fragment(&self, key: &FragmentKey<$family>) -> Option<Ports> {
                // SAFETY: see the head of `maps`.
                unsafe { $fragments.get(key).copied() }
            }

            #[inline(always)]
            fn insert_fragment(&mut self, key: &FragmentKey<$family>, ports: &Ports) {
                // What is not remembered is dropped later and sent again.
                let _ = $fragments.insert(key, ports, u64::from(BPF_ANY));
            }

            #[inline(always)]
            fn route(
                &mut self,
                protocol: Protocol,
                key: &ConnectionKey<$family>,
                interface: u32,
                next_hop: &mut NextHop,
            ) -> Route {
                match query(protocol, key, interface) {
                    Some(query) => route(self.context, query, next_hop),
                    None => Route::NotForwarded,
                }
            }
        }
    };
}

tables!(
    V4,
    TCP_V4,
    HALF_OPEN_V4,
    UDP_V4,
    VIPS_V4,
    SERVICES_V4,
    REVERSE_V4,
    FRAGMENTS_V4,
    MARKS_V4,
    program::marked_apart_v4,
    TEMPLATES_V4,
    program::xlb_point_v4,
    program::xlb_add_v4
);
tables!(
    V6,
    TCP_V6,
    HALF_OPEN_V6,
    UDP_V6,
    VIPS_V6,
    SERVICES_V6,
    REVERSE_V6,
    FRAGMENTS_V6,
    MARKS_V6,
    program::marked_apart_v6,
    TEMPLATES_V6,
    program::xlb_point_v6,
    program::xlb_add_v6
);
