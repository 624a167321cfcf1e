//! What aya has no call for: reading a hash map by batches, filling an array through a mapping, putting many maps into an
//! array of maps.
#![allow(unsafe_code, reason = "a part of the map adapter; see ARCHITECTURE.md")]

use std::{
    io,
    mem::MaybeUninit,
    num::NonZeroUsize,
    ops::ControlFlow,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
};

use aya::Pod;
use aya_obj::generated::{bpf_attr, bpf_cmd};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// Entries read by one call.
const BATCH: usize = 16_384;

/// Calls `visit` with every entry of a hash map. Entries that come or go meanwhile may be seen or not; none is seen twice
/// (kernel/bpf/hashtab.c reads bucket by bucket).
///
/// # Errors
///
/// That of the system call.
pub fn for_each<K: Pod, V: Pod>(map: impl AsFd, mut visit: impl FnMut(K, V)) -> io::Result<()> {
    while_each(map, |key, value| {
        visit(key, value);
        ControlFlow::Continue(())
    })
}

/// [`for_each`], until `visit` has seen enough.
///
/// # Errors
///
/// That of the system call.
pub fn while_each<K: Pod, V: Pod>(
    map: impl AsFd,
    mut visit: impl FnMut(K, V) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut keys = Vec::<MaybeUninit<K>>::with_capacity(BATCH);
    let mut values = Vec::<MaybeUninit<V>>::with_capacity(BATCH);
    // SAFETY: uninitialised elements are what `MaybeUninit` is for.
    unsafe {
        keys.set_len(BATCH);
        values.set_len(BATCH);
    }
    let mut position = 0u64;
    let mut started = false;
    loop {
        // SAFETY: integers and pointers; all zero is what the kernel wants for what is not said.
        let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
        attr.batch.map_fd = map.as_fd().as_raw_fd().cast_unsigned();
        attr.batch.in_batch = if started { &raw mut position as u64 } else { 0 };
        attr.batch.out_batch = &raw mut position as u64;
        attr.batch.keys = keys.as_mut_ptr() as u64;
        attr.batch.values = values.as_mut_ptr() as u64;
        attr.batch.count = BATCH as u32;
        // SAFETY: the buffers have room for `count` elements of the map's own key and value types, which `K` and `V` are by
        // the checks at load; `position` holds the kernel's cursor of up to 8 bytes.
        let result = unsafe {
            libc::syscall(libc::SYS_bpf, bpf_cmd::BPF_MAP_LOOKUP_BATCH, &raw mut attr, size_of::<bpf_attr>())
        };
        let end = match (result, io::Error::last_os_error()) {
            (0, _) => false,
            // The end of the map: `count` entries were still read.
            (_, error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            (_, error) => return Err(error),
        };
        // SAFETY: written by the kernel, for either outcome above.
        let count = unsafe { attr.batch.count } as usize;
        for (key, value) in keys.iter().zip(&values).take(count) {
            // SAFETY: the kernel has written the first `count` elements, and any bytes are a value of a `Pod` type.
            let (key, value) = unsafe { (key.assume_init_read(), value.assume_init_read()) };
            if visit(key, value).is_break() {
                return Ok(());
            }
        }
        if end {
            return Ok(());
        }
        started = true;
    }
}

/// Writes `values` to the beginning of an array map that was created with `BPF_F_MMAPABLE`. Elements lie 8 bytes apart:
/// `V` has exactly that size.
///
/// # Errors
///
/// That of the mapping.
pub fn fill(map: impl AsFd, values: &[[u32; 2]]) -> io::Result<()> {
    let Some(length) = NonZeroUsize::new(size_of_val(values)) else { return Ok(()) };
    // SAFETY: a new mapping of the map's elements; it is as long as what is written and is unmapped before anybody else can
    // know of it. The kernel refuses a length beyond the map.
    unsafe {
        let memory = mmap(
            None,
            length,
            ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
            MapFlags::MAP_SHARED,
            map.as_fd(),
            0,
        )?;
        memory
            .cast::<[u32; 2]>()
            .copy_from_nonoverlapping(std::ptr::NonNull::from(values).cast(), values.len());
        munmap(memory, length.get())?;
    }
    Ok(())
}

/// Puts `inner` maps into an array of maps at `indices`, of which there are as many. Each takes the place of its predecessor
/// at once. The call waits until no packet uses those any more: once (before Linux 6.8 once for each of them).
///
/// # Errors
///
/// That of the system call; some of the maps may have been put.
pub fn put(map: impl AsFd, indices: &[u32], inner: &[BorrowedFd<'_>]) -> io::Result<()> {
    let count = indices.len().min(inner.len());
    if count == 0 {
        return Ok(());
    }
    // SAFETY: integers and pointers; all zero is what the kernel wants for what is not said.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.batch.map_fd = map.as_fd().as_raw_fd().cast_unsigned();
    attr.batch.keys = indices.as_ptr() as u64;
    attr.batch.values = inner.as_ptr() as u64;
    attr.batch.count = count as u32;
    // SAFETY: the kernel reads `count` keys and values of 4 bytes: indices, and descriptors, which is what `BorrowedFd` is in
    // memory.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, bpf_cmd::BPF_MAP_UPDATE_BATCH, &raw mut attr, size_of::<bpf_attr>())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
