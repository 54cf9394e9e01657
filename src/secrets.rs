//! Secret values: where they come from and which origins may see them.
//!
//! # Guarantees
//! - A [`secret::Secret`] prints as `***` and cannot be serialised: it has no such implementation.
//! - A [`vault::Vault`] gives a secret out only together with an origin that the operator bound it
//!   to, so a document that names a secret and a foreign URL gets nothing (L7).
//! - [`keys::Keys`] lie outside the store: who can write the store can neither read its sealed
//!   parts nor sign an audit head (L8).

pub mod credential;
pub mod keys;
pub mod secret;
pub mod vault;
