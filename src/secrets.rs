//! Secret values: where they come from and which origins may see them.
