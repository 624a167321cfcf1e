//! Harness of the tests that need root.
