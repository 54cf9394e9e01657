//! From projections and observed accounts to ordered changes.
