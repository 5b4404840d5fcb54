//! The promises by their numbers, as a user sees them. One binary, since linking is slow.
//!
//! Time is tokio's and stands still; whatever must happen in between is held at a gate. Nothing sleeps.

#[path = "promises/any_error.rs"]
mod any_error;
#[path = "promises/bad_input.rs"]
mod bad_input;
#[path = "promises/bus.rs"]
mod bus;
#[path = "promises/changes.rs"]
mod changes;
#[path = "promises/circles.rs"]
mod circles;
#[path = "promises/closing.rs"]
mod closing;
#[path = "promises/consistency.rs"]
mod consistency;
#[path = "promises/dropped_kinds.rs"]
mod dropped_kinds;
#[path = "promises/drops.rs"]
mod drops;
#[path = "promises/errors.rs"]
mod errors;
#[path = "promises/extremes.rs"]
mod extremes;
#[path = "promises/fences.rs"]
mod fences;
#[path = "promises/kinds.rs"]
mod kinds;
#[path = "promises/large_calls.rs"]
mod large_calls;
#[path = "promises/large_values.rs"]
mod large_values;
#[path = "promises/loading.rs"]
mod loading;
#[path = "promises/logged.rs"]
mod logged;
#[path = "promises/memoized.rs"]
mod memoized;
#[path = "promises/messages.rs"]
mod messages;
#[path = "promises/metrics.rs"]
mod metrics;
#[path = "promises/not_stored.rs"]
mod not_stored;
#[path = "promises/original.rs"]
mod original;
#[path = "promises/reading.rs"]
mod reading;
#[path = "promises/registering.rs"]
mod registering;
#[path = "promises/runtimes.rs"]
mod runtimes;
#[path = "promises/single_loads.rs"]
mod single_loads;
#[path = "promises/spans.rs"]
mod spans;
#[path = "promises/state.rs"]
mod state;
#[path = "promises/surface.rs"]
mod surface;
#[path = "promises/switching.rs"]
mod switching;
#[path = "promises/trouble.rs"]
mod trouble;
#[path = "promises/values.rs"]
mod values;
#[path = "promises/world.rs"]
mod world;
