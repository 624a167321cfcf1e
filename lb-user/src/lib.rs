//! The controller of xlb.
