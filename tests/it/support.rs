//! What several areas of the suite need: stand-ins for the systems outside.

pub(crate) mod scim_server;
