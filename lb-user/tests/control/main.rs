//! The control API and the commands, with a fake daemon behind them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api;
mod cli;
mod fake;
