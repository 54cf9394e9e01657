//! The template and expression engine: check and evaluate.
