//! Cacheme
