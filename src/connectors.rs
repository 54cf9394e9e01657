//! The connectors, by the key that names them under `spec.connector`.

pub mod directory;
pub mod scim;
