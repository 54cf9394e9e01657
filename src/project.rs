//! From users, roles, mappings and a time to projections.
