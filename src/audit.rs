//! Hash chains over audit events, and their signed heads.
