//! From projections and observed accounts to ordered changes.
//!
//! The planner is a pure, streaming fold: it is given what is desired and what is remembered,
//! it is shown accounts one by one, and it is told at the end how complete that was. Guarding
//! ([`guard()`]), a second opinion ([`check`]) and rendering ([`render`]) are apart from it and
//! from one another.

pub mod blockers;
pub mod canonical;
pub mod check;
pub mod claims;
pub mod deletion;
pub mod diff;
pub mod findings;
pub mod gate;
pub mod guard;
pub mod identity;
pub mod input;
pub mod linked;
pub mod notes;
pub mod order;
pub mod partition;
pub mod planner;
pub mod render;
pub mod silence;
pub mod states;
pub mod unlinked;
pub mod verdict;
pub mod weigh;
pub mod why;

pub use crate::plan::guard::Guards;
pub use crate::plan::guard::guard;
pub use crate::plan::guard::shares;
pub use crate::plan::identity::Known;
pub use crate::plan::input::PlanInput;
pub use crate::plan::planner::Planned;
pub use crate::plan::planner::Planner;
