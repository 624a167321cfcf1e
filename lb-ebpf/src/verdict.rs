//! How a packet ends, in one machine word.

use core::num::NonZeroU32;

use lb_common::{
    connection::TAGGED,
    outcome::{Disposition, Outcome},
};

/// In place of a verdict's word: the packet has not ended yet. As a segment or datagram it is on the desk.
pub const GOES_ON: u32 = 0;

/// The same; where it begins is on the desk, and nothing else was read.
pub const UNREAD: u32 = 1;

/// The same; it is a fragment.
pub const FRAGMENT: u32 = 2;

/// The same; it is ICMP.
pub const ICMP: u32 = 3;

/// Whether a word is a verdict's.
#[must_use]
#[inline(always)]
pub const fn is_end(word: u32) -> bool {
    word > ICMP
}

/// How a packet ends, and through which interface if it is sent.
///
/// One word, because a function in BPF returns nothing else.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Verdict(NonZeroU32);

impl Verdict {
    /// Sent through the interface with this index.
    #[must_use]
    #[inline(always)]
    pub const fn sent(outcome: Outcome, interface: u16) -> Self {
        let disposition = match outcome.disposition() {
            Disposition::Pass => 1,
            Disposition::Kernel => 2,
            Disposition::Send => 3,
            Disposition::Drop => 4,
        };
        Self(NonZeroU32::MIN.saturating_add((interface as u32) << 16 | disposition << 8 | outcome as u32))
    }

    /// The same, through the interface with this index.
    #[must_use]
    #[inline(always)]
    pub const fn through(self, interface: u16) -> Self {
        Self(NonZeroU32::MIN.saturating_add(self.bits() & 0xffff | (interface as u32) << 16))
    }

    #[inline(always)]
    const fn bits(self) -> u32 {
        self.0.get() - 1
    }

    /// What becomes of the frame.
    #[must_use]
    #[inline(always)]
    pub const fn disposition(self) -> Disposition {
        match self.bits() >> 8 & 0xff {
            2 => Disposition::Kernel,
            3 => Disposition::Send,
            4 => Disposition::Drop,
            _ => Disposition::Pass,
        }
    }

    /// Index of the egress interface, with [`TAGGED`] that of a VLAN device; 0 unless the packet is sent.
    #[must_use]
    #[inline(always)]
    pub const fn interface(self) -> u16 {
        (self.bits() >> 16) as u16
    }

    /// Whether it leaves through a VLAN device whose tags it does not have yet.
    #[must_use]
    #[inline(always)]
    pub const fn is_tagged(self) -> bool {
        self.interface() & TAGGED != 0
    }

    /// The number of the outcome.
    #[must_use]
    #[inline(always)]
    pub const fn number(self) -> u32 {
        self.bits() & 0xff
    }

    /// The end.
    #[must_use]
    #[cfg(not(target_arch = "bpf"))]
    pub fn outcome(self) -> Outcome {
        // Made from an outcome, so it has a number of one.
        Outcome::ALL.get(self.number() as usize).copied().unwrap_or(Outcome::Unwritable)
    }

    /// From the word of [`Verdict::to_word`]; a word that is none is a defect and drops the packet.
    #[must_use]
    #[inline(always)]
    pub fn from_word(word: u32) -> Self {
        match NonZeroU32::new(word) {
            Some(bits) if is_end(word) => Self(bits),
            _ => Outcome::Unwritable.into(),
        }
    }

    /// As one word, never 0.
    #[must_use]
    #[inline(always)]
    pub const fn to_word(self) -> u32 {
        self.0.get()
    }
}

impl From<Outcome> for Verdict {
    #[inline(always)]
    fn from(outcome: Outcome) -> Self {
        Self::sent(outcome, 0)
    }
}

#[cfg(not(target_arch = "bpf"))]
impl core::fmt::Debug for Verdict {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?}", self.outcome())?;
        if self.interface() != 0 {
            write!(f, " through {}", self.interface())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_gives_back_what_it_was_made_of() {
        for &outcome in Outcome::ALL {
            for interface in [0, 1, 7, u16::MAX] {
                let verdict = Verdict::sent(outcome, interface);
                assert_eq!(verdict.outcome(), outcome);
                assert_eq!(verdict.interface(), interface);
                assert_eq!(verdict.disposition(), outcome.disposition());
                assert_eq!(Verdict::from_word(verdict.to_word()), verdict);
                assert!(is_end(verdict.to_word()));
            }
        }
    }
}
