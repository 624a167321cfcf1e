//! `[[fwmark]]`: the packet classifier.

use toml::Spanned;

use crate::config::{
    address::prefix,
    diagnostic::{Diagnostic, Span},
    file::Section,
    model::{Fwmark, MarkMatch, Protocol},
    value::{choice, interface, number, range},
};

pub(super) const PROTOCOLS: &[(&str, Protocol)] = &[("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];

/// A mark whose parts may be missing.
pub(super) struct Draft {
    pub(super) mark: Option<Spanned<u32>>,
    pub(super) matches: Vec<MatchDraft>,
}

/// A usable match and the places that rules point at.
pub(super) struct MatchDraft {
    pub(super) model: MarkMatch,
    pub(super) span: Span,
    pub(super) interface_at: Span,
}

impl Draft {
    pub(super) fn into_model(self) -> Option<Fwmark> {
        let matches = self.matches.into_iter().map(|one| one.model).collect();
        Some(Fwmark { mark: self.mark?.into_inner(), matches })
    }
}

pub(super) fn read(section: &mut Section<'_>) -> Draft {
    let mark = section.required("mark", number(1, u32::MAX));
    let items = section.require("match").map(|node| {
        node.some_items("write at least { destination = \"ADDRESS/LENGTH\", protocol = \"tcp\" }")
    });
    let matches = items.into_iter().flatten().filter_map(|item| item.section(read_match)).flatten().collect();
    Draft { mark, matches }
}

fn read_match(section: &mut Section<'_>) -> Option<MatchDraft> {
    let destination = section.required("destination", prefix);
    let protocol = section.required("protocol", choice(PROTOCOLS));
    let ports = section.list("ports", range("a port", 1, u16::MAX)).unwrap_or_default();
    let source = section.value("source", prefix);
    let interface = section.value("interface", interface).map(Spanned::into_inner);
    let (destination, protocol) = (destination?, protocol?.into_inner());

    if let Some(source) = source.as_ref()
        && source.get_ref().addr().is_ipv4() != destination.get_ref().addr().is_ipv4()
    {
        let mixed = "source and destination are of different address families";
        section.push(
            Diagnostic::error("mixed-families", source.span(), mixed)
                .place(destination.span(), "the destination"),
        );
    }
    let model = MarkMatch {
        destination: destination.into_inner(),
        protocol,
        ports: ports.into_iter().map(Spanned::into_inner).collect(),
        source: source.map(Spanned::into_inner),
        interface,
    };
    Some(MatchDraft { model, span: section.span(), interface_at: section.key_span("interface") })
}
