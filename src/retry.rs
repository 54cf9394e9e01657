//! From an error and the number of attempts to a delay.
