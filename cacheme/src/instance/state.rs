//! The application's state, which its loaders use: one value of a type.

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::Arc;

use crate::node::policy::StateType;

/// Read by loads, so reading takes no lock: it does not change after an instance is built.
#[derive(Clone, Default)]
pub(crate) struct State(Vec<StateValue>);

#[derive(Clone)]
struct StateValue {
    of: StateType,
    value: Arc<dyn Any + Send + Sync>,
}

impl State {
    /// Adds a value, in place of one of the same type.
    pub(crate) fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        let of = StateType::of::<T>();
        self.0.retain(|known| known.of.id != of.id);
        let value = Arc::new(value);
        self.0.push(StateValue { of, value });
    }

    pub(crate) fn get<T: 'static>(&self) -> Option<&T> {
        let id = TypeId::of::<T>();
        let known = self.0.iter().find(|known| known.of.id == id)?;
        known.value.downcast_ref()
    }

    pub(crate) fn contains(&self, of: &StateType) -> bool {
        self.0.iter().any(|known| known.of.id == of.id)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.0.iter().map(|known| known.of.name))
            .finish()
    }
}
