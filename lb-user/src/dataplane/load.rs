//! Loads the kernel object: onto the maps that are pinned already, when they fit it, else onto new ones.

use std::{
    collections::{BTreeMap, hash_map::RandomState},
    fs,
    hash::BuildHasher as _,
    io,
};

use aya::{
    Ebpf, EbpfError, EbpfLoader, VerifierLogLevel,
    maps::{Array, MapData, MapError, MapInfo},
    programs::{ProgramError, Xdp},
};
use aya_obj::Object;
use lb_common::{half_open::Placement, layout::map};

use super::{
    maps::open,
    object::OBJECT,
    pins::{PinError, Pins},
    sizes::Sizes,
};

/// The program for packets, in the object.
pub const PROGRAM: &str = "xlb";
/// The program that tells the time, in the object.
pub const CLOCK: &str = "xlb_clock";

/// Why the data plane was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Built without `cargo xtask build-ebpf`.
    #[error("this xlb was built without its kernel object; build it with `cargo xtask build`")]
    NoObject,
    /// No right to use BPF.
    #[error(
        "no right to load BPF programs: run as root, or with CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW and CAP_PERFMON; \
         in a container its seccomp profile must allow bpf(2), too"
    )]
    NotPermitted,
    /// The kernel has no BPF, or not enough of it.
    #[error(
        "this kernel cannot load the program (Linux 6.1 or newer with CONFIG_BPF_SYSCALL and CONFIG_BPF_JIT is needed)"
    )]
    Unsupported(#[source] io::Error),
    /// The object in this program is damaged.
    #[error("the kernel object cannot be read")]
    Object(#[source] EbpfError),
    /// A pinned map was made by another version or with other sizes.
    #[error(
        "pinned map {path} has {}; nothing was changed. Go back to the version and the maximums in [global] that made \
         it, or run `xlb unload -c FILE` first: that stops forwarding and forgets all connections",
        pinned.unlike(needed)
    )]
    Layout {
        /// Where it is pinned.
        path: String,
        /// Its shape.
        pinned: Shape,
        /// The shape that this program with this configuration needs.
        needed: Shape,
    },
    /// Pinning.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// A map of the object is not there.
    #[error("the kernel object has no {0}")]
    Missing(&'static str),
    /// A map was not created or opened.
    #[error("cannot create or open the maps")]
    Map(#[source] EbpfError),
    /// A map answered with an error.
    #[error(transparent)]
    MapAccess(#[from] MapError),
    /// The verifier or the kernel refused the program.
    #[error("the kernel refused the program")]
    Program(#[from] ProgramError),
}

/// What makes two maps interchangeable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// `enum bpf_map_type`.
    pub kind: u32,
    /// Bytes of a key.
    pub key: u32,
    /// Bytes of a value.
    pub value: u32,
    /// Capacity.
    pub entries: u32,
}

impl Shape {
    /// What of it is not as in `needed`.
    fn unlike(&self, needed: &Self) -> String {
        let both = [
            ("type", self.kind, needed.kind),
            ("key size", self.key, needed.key),
            ("value size", self.value, needed.value),
            ("capacity", self.entries, needed.entries),
        ];
        let unlike = both.into_iter().filter(|(_, pinned, needed)| pinned != needed);
        let words = unlike.map(|(what, pinned, needed)| format!("{what} {pinned} where {needed} is needed"));
        words.collect::<Vec<_>>().join(", ")
    }
}

/// The object in the kernel: maps created or adopted, programs verified, nothing attached.
#[derive(Debug)]
pub struct Loaded {
    /// Programs and maps.
    pub ebpf: Ebpf,
    /// Whether the maps were pinned by an earlier run.
    pub adopted: bool,
}

/// Looks whether this process may use BPF and the network's configuration, before anything is touched.
///
/// # Errors
///
/// [`LoadError::NotPermitted`].
pub fn ensure_permitted() -> Result<(), LoadError> {
    // The kernel has the last word; where it does not tell, it is asked by trying.
    let permitted = fs::read_to_string("/proc/thread-self/status").map_or(true, |status| may_load(&status));
    permitted.then_some(()).ok_or(LoadError::NotPermitted)
}

/// Whether a process with this /proc/PID/status may load and attach: see capabilities(7).
fn may_load(status: &str) -> bool {
    const NET_ADMIN: u64 = 1 << 12;
    const SYS_ADMIN: u64 = 1 << 21;
    const BPF: u64 = 1 << 39;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    effective.is_none_or(|effective| effective & NET_ADMIN != 0 && effective & (BPF | SYS_ADMIN) != 0)
}

/// Loads the object with its maps pinned under `pins`.
///
/// # Errors
///
/// See [`LoadError`]; pinned maps stay as they were, and none is left pinned by a load that failed on new ones.
pub fn load(sizes: &Sizes, pins: &Pins) -> Result<Loaded, LoadError> {
    let bytes = OBJECT.ok_or(LoadError::NoObject)?;
    let object = Object::parse(bytes).map_err(|error| LoadError::Object(error.into()))?;
    let needed = shapes(&object, sizes);
    let mut adopted = 0;
    for (name, &needed) in &needed {
        let path = pins.map(name);
        if !path.exists() {
            continue;
        }
        let info = MapInfo::from_pin(&path).map_err(|error| from_kernel(error.into(), LoadError::Map))?;
        let pinned = shape(&info)?;
        if pinned != needed {
            return Err(LoadError::Layout { path: path.display().to_string(), pinned, needed });
        }
        adopted += 1;
    }
    let mut loader = EbpfLoader::new();
    loader.verifier_log_level(VerifierLogLevel::STATS);
    for (name, shape) in &needed {
        loader.map_max_entries(name, shape.entries);
        loader.map_pin_path(name, pins.map(name));
    }
    let mut ebpf = match loader.load(bytes) {
        Ok(ebpf) => ebpf,
        Err(error) => {
            if adopted == 0 {
                pins.remove_maps();
            }
            return Err(from_kernel(error, LoadError::Map));
        }
    };
    for name in [PROGRAM, CLOCK] {
        let program: &mut Xdp = ebpf.program_mut(name).ok_or(LoadError::Missing("program"))?.try_into()?;
        if let Err(error) = program.load() {
            if adopted == 0 {
                pins.remove_maps();
            }
            return Err(from_kernel(error, LoadError::Program));
        }
    }
    let placed = needed.get(map::HALF_OPEN_V4).map_or(Ok(()), |shape| place(pins, shape.entries));
    if let Err(error) = placed {
        if adopted == 0 {
            pins.remove_maps();
        }
        return Err(error.into());
    }
    Ok(Loaded { ebpf, adopted: adopted > 0 })
}

/// Says where keys belong in tables of so many sets, unless that was said before. Nobody can know it: which keys share a set
/// is everybody's secret.
fn place(pins: &Pins, sets: u32) -> Result<(), MapError> {
    let mut map: Array<MapData, Placement> = open(pins, map::PLACEMENT)?;
    if map.get(&0, 0)?.sets != 0 {
        return Ok(());
    }
    let random = RandomState::new();
    let last = random.hash_one(0);
    let secret = std::array::from_fn(|word| random.hash_one(word + 1) as u32);
    map.set(0, Placement { last, secret, sets, reserved: 0 }, 0)
}

/// The maps the object wants, with the sizes the configuration gives them.
fn shapes(object: &Object, sizes: &Sizes) -> BTreeMap<String, Shape> {
    object
        .maps
        .iter()
        // Data sections are the loader's affair.
        .filter(|(name, _)| !name.starts_with('.'))
        .map(|(name, map)| {
            let entries = sizes.of(name).unwrap_or_else(|| map.max_entries());
            (
                name.clone(),
                Shape { kind: map.map_type(), key: map.key_size(), value: map.value_size(), entries },
            )
        })
        .collect()
}

fn shape(info: &MapInfo) -> Result<Shape, MapError> {
    Ok(Shape {
        kind: info.map_type()? as u32,
        key: info.key_size(),
        value: info.value_size(),
        entries: info.max_entries(),
    })
}

/// The errors a user can do something about, told apart from all `other` ones.
fn from_kernel<E: std::error::Error + 'static>(error: E, other: fn(E) -> LoadError) -> LoadError {
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = cause {
        match error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            Some(libc::EPERM) => return LoadError::NotPermitted,
            Some(code @ libc::ENOSYS) => return LoadError::Unsupported(io::Error::from_raw_os_error(code)),
            _ => cause = error.source(),
        }
    }
    other(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loading_needs_the_network_and_bpf() {
        for (effective, expected) in [
            ("000001ffffffffff", true),
            ("0000000000000000", false),
            ("0000008000001000", true),
            ("0000000000201000", true),
            ("0000008000000000", false),
            ("0000000000001000", false),
        ] {
            let status = format!("Name:\txlb\nCapPrm:\t0\nCapEff:\t{effective}\n");
            assert_eq!(may_load(&status), expected, "{effective}");
        }
    }
}
