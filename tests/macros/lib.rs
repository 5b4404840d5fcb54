//! What the macros make of right and wrong items: see `tests/ui.rs`.
