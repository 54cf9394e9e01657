//! The only HTTP client: time limits, bound origins, redaction.
