//! A frame in the XDP context.
#![allow(unsafe_code, reason = "the packet adapter; see ARCHITECTURE.md")]

use core::ptr::read_volatile;

use aya_ebpf::{
    EbpfContext,
    helpers::generated::{
        bpf_csum_diff, bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes,
    },
    programs::XdpContext,
};
use lb_ebpf::{
    checksum::fold,
    packet::{Header, Packet, REACH},
};

use crate::{maps, program};

/// The frame of one run of the program.
pub struct Frame {
    context: XdpContext,
}

/// Less than half of the 65,535 bytes that the verifier lets a header lie behind the frame's first byte.
const MASK: usize = 0x7fff;

/// Most drivers fill the first buffer before they take a second; mlx5 puts that much there (`MLX5E_RX_MAX_HEAD`).
const FIRST_BUFFER: usize = 256;

/// Bytes summed at a time: what `bpf_csum_diff` took at once before Linux 6.13.
const CHUNK: usize = 512;

/// A chunk, and room for what the verifier takes a length rounded up to 4 for.
pub type Scratch = [u64; CHUNK / 8 + 1];

/// Chunks of the longest packet that is summed.
const CHUNKS: usize = 9216 / CHUNK;

impl Frame {
    #[inline(always)]
    pub fn new(context: &XdpContext) -> Self {
        Self { context: XdpContext::new(context.ctx) }
    }

    /// Length of the whole frame, in bytes. Of one in several buffers the first has [`FIRST_BUFFER`] bytes at least, so short
    /// frames need not ask the kernel.
    #[inline(always)]
    pub fn whole_length(&self) -> u64 {
        let first = self.length();
        if first < FIRST_BUFFER {
            return first as u64;
        }
        // SAFETY: the context is the one this run was started with.
        unsafe { bpf_xdp_get_buff_len(self.context.as_ptr().cast()) }
    }

    #[inline(always)]
    fn at<T>(&self, offset: usize) -> Option<*mut T> {
        // The verifier wants offsets bounded. That of Linux 6.1 forgets a comparison when the compiler reads a copy of the
        // offset from the stack; a mask holds for every copy. No parsed offset comes near it.
        let offset = offset & MASK;
        if offset > REACH {
            return None;
        }
        // Volatile: the verifier knows a pointer to be safe only after it was compared itself. The compiler would take the
        // comparison of a later header for that of an earlier one.
        // SAFETY: the context is this run's.
        let (data, end) = unsafe {
            let context = self.context.ctx;
            (
                read_volatile(&raw const (*context).data) as usize,
                read_volatile(&raw const (*context).data_end) as usize,
            )
        };
        let start = data + offset;
        if start + size_of::<T>() > end {
            return None;
        }
        Some(start as *mut T)
    }
}

impl Packet for Frame {
    #[inline(always)]
    fn interface(&self) -> u32 {
        self.context.ingress_ifindex() as u32
    }

    #[inline(always)]
    fn length(&self) -> usize {
        self.context.data_end() - self.context.data()
    }

    #[inline(always)]
    fn holds(&self, length: usize) -> bool {
        // SAFETY: the context is the one this run was started with.
        length <= self.length()
            || length as u64 <= unsafe { bpf_xdp_get_buff_len(self.context.as_ptr().cast()) }
    }

    #[inline(always)]
    fn get<T: Header>(&self, offset: usize) -> Option<&T> {
        // SAFETY: `at` has checked that `size_of::<T>()` bytes from there are in the frame; any bytes are a header, and the
        // address is even as headers want it: frames begin behind a headroom of 256 bytes (XDP_PACKET_HEADROOM). The frame is this run's alone, and a shared borrow of it forbids changes.
        self.at(offset).map(|header| unsafe { &*header })
    }

    #[inline(always)]
    fn get_mut<T: Header>(&mut self, offset: usize) -> Option<&mut T> {
        // SAFETY: as in `get`; the borrow is exclusive.
        self.at(offset).map(|header| unsafe { &mut *header })
    }

    #[inline(always)]
    fn sum(&self, offset: usize, length: usize) -> Option<u16> {
        let sum = program::xlb_sum(self.context.ctx, offset as u64, length as u64);
        if sum == NO_SUM { None } else { Some(sum as u16) }
    }

    #[inline(always)]
    fn truncate(&mut self, length: usize) -> bool {
        let context = self.context.as_ptr().cast();
        // SAFETY: the context is this run's; no reference into the frame outlives this exclusive borrow.
        unsafe {
            let now = bpf_xdp_get_buff_len(context);
            length as u64 <= now
                && bpf_xdp_adjust_tail(context, (length as u64).wrapping_sub(now) as i32) == 0
        }
    }

    #[inline(always)]
    fn shrink(&mut self, length: usize) -> bool {
        // SAFETY: as in `grow`.
        unsafe { bpf_xdp_adjust_head(self.context.as_ptr().cast(), length as i32) == 0 }
    }

    #[inline(always)]
    fn grow(&mut self, length: usize) -> bool {
        // SAFETY: the context is this run's; no reference into the frame outlives this exclusive borrow.
        unsafe { bpf_xdp_adjust_head(self.context.as_ptr().cast(), (length as i32).wrapping_neg()) == 0 }
    }
}

/// What [`sum`] answers when there is none.
const NO_SUM: u32 = u32::MAX;

/// [`Packet::sum`], as a number.
#[inline(always)]
pub fn sum(context: &XdpContext, offset: usize, length: usize) -> u32 {
    let Some(scratch) = maps::scratch() else { return NO_SUM };
    let mut sum = 0u32;
    for chunk in 0..=CHUNKS {
        let done = chunk * CHUNK;
        if done >= length {
            return u32::from(fold(sum));
        }
        // Linux 6.1's verifier forgets what a comparison says of a copy, and the compiler leaves out a mask that a
        // comparison makes needless: through memory, of which neither knows anything, the mask stays and is seen.
        let last = core::cmp::min(length - done, CHUNK) - 1;
        // SAFETY: a word of our own.
        let size = (unsafe { (&raw const last).read_volatile() } & (CHUNK - 1)) + 1;
        // SAFETY: `scratch` points to a chunk and a word of this CPU's own, `size` is at most a chunk; the helpers check
        // the rest themselves. The last word is zero before its first bytes are overwritten: that pads the chunk to the
        // multiple of 4 that `bpf_csum_diff` wants.
        unsafe {
            scratch.cast::<u32>().add(size / 4).write(0);
            let context = context.as_ptr().cast();
            if bpf_xdp_load_bytes(context, (offset + done) as u32, scratch.cast(), size as u32) != 0 {
                return NO_SUM;
            }
            let padded = (size as u32 + 3) & !3;
            let partial = bpf_csum_diff(core::ptr::null_mut(), 0, scratch.cast(), padded, sum);
            if partial < 0 {
                return NO_SUM;
            }
            sum = u32::from(fold(partial as u32));
        }
    }
    NO_SUM
}
