//! The decision function of the data plane.
#![no_std]
#![forbid(unsafe_code)]
