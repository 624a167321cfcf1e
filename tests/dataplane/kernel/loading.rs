//! Loading: what the verifier makes of the program, and what becomes of maps that are pinned already.

use std::collections::BTreeMap;

use aya::maps::MapInfo;
use lb_common::{
    layout::{VERSION, map},
    service::Settings,
};
use lb_user::dataplane::{
    load::{CLOCK, LoadError, PROGRAM, load},
    maps::Maps,
    pins::Pins,
};

use super::{sizes, with_the_world};

/// Half of what the kernel allows (`BPF_COMPLEXITY_LIMIT_INSNS` in linux/bpf.h).
const VERIFIED: u32 = 500_000;

const SETTINGS: Settings = Settings {
    hash_key: [3, 5],
    generation: 9,
    ticks_per_second: 250,
    version: VERSION,
    flags: 0,
    lease: 0,
    reserved: 0,
};

#[test]
fn the_verifier_looks_at_less_than_half_of_what_it_allows() {
    with_the_world(|pins| {
        let loaded = load(&sizes(100), pins).unwrap();
        for name in [PROGRAM, CLOCK] {
            let program = loaded.ebpf.program(name).unwrap();
            let verified = program.info().unwrap().verified_instruction_count();
            println!("{name}: instructions verified: {verified:?}");
            assert!(verified.is_some_and(|count| count < VERIFIED), "{name}: {verified:?}");
        }
    });
}

#[test]
fn a_second_load_finds_what_the_first_has_left() {
    with_the_world(|pins| {
        leave_settings(pins);
        let before = ids(pins);
        let second = load(&sizes(100), pins).unwrap();
        assert!(second.adopted);
        assert_eq!(ids(pins), before);
        assert_eq!(Maps::open(pins).unwrap().settings.get(&0, 0).unwrap(), SETTINGS);
    });
}

#[test]
fn maps_of_another_size_are_refused_and_stay() {
    with_the_world(|pins| {
        leave_settings(pins);
        let before = ids(pins);
        let error = load(&sizes(101), pins).unwrap_err();
        assert!(matches!(error, LoadError::Layout { .. }), "{error}");
        let message = error.to_string();
        let path = pins.map(map::TCP_V4).display().to_string();
        for part in [path.as_str(), map::TCP_V4, "capacity 200", "where 202 is needed", "nothing was changed"]
        {
            assert!(message.contains(part), "no {part:?} in: {message}");
        }
        assert_eq!(ids(pins), before);
        load(&sizes(100), pins).unwrap();
        assert_eq!(Maps::open(pins).unwrap().settings.get(&0, 0).unwrap(), SETTINGS);
    });
}

/// Loads, writes settings and lets go of everything but the pins.
fn leave_settings(pins: &Pins) {
    let first = load(&sizes(100), pins).unwrap();
    assert!(!first.adopted);
    Maps::open(pins).unwrap().settings.set(0, SETTINGS, 0).unwrap();
}

/// The kernel's numbers of the pinned maps: another map has another number.
fn ids(pins: &Pins) -> BTreeMap<String, u32> {
    let directory = pins.map(map::SETTINGS);
    std::fs::read_dir(directory.parent().unwrap())
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), MapInfo::from_pin(entry.path()).unwrap().id())
        })
        .collect()
}
