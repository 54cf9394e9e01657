//! Views of one canonical plan: text for terminals, markdown for pull requests.
//!
//! Both are made from the plan alone and say the same; the JSON is what is hashed.

mod markdown;
mod text;
mod words;

pub use crate::plan::canonical::digest;
pub use crate::plan::canonical::essence;
pub use crate::plan::canonical::json as canonical_json;
pub use crate::plan::render::markdown::markdown;
pub use crate::plan::render::text::text;
pub use crate::plan::render::words::membership;
pub use crate::plan::render::words::totals;
