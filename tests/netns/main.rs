//! End to end: real clients, real servers, real connections, in network namespaces.

mod bad_input;
mod site;
