//! What becomes of a load: accepted, refused or held, and what narrows meanwhile.
