use std::time::Duration;

use crate::error::Result;
use crate::url::StorageUrl;

use super::TableName;

/// Settings that all storages with a table have.
#[derive(Clone, Debug)]
pub(crate) struct TableOptions {
    pub(crate) table: String,
    pub(crate) create: bool,
    pub(crate) connections: u32,
    pub(crate) acquire_timeout: Duration,
    pub(crate) purge_every: Duration,
}

impl TableOptions {
    pub(crate) fn new(connections: u32) -> Self {
        Self {
            table: TableName::DEFAULT.into(),
            create: true,
            connections,
            acquire_timeout: Duration::from_secs(2),
            purge_every: Duration::from_secs(30),
        }
    }

    /// Takes the settings that the URL has.
    pub(crate) fn take(&mut self, url: &mut StorageUrl, with_schema: bool) -> Result<()> {
        let valid = |text: &str| TableName::parse(text, with_schema).map(|_| text.to_owned());
        if let Some(table) = url.take_with("table", TableName::SYNTAX, valid)? {
            self.table = table;
        }
        if let Some(create) = url.take("create", "`true` or `false`")? {
            self.create = create;
        }
        let at_least_1 = |text: &str| text.parse().ok().filter(|&number| number > 0);
        if let Some(connections) = url.take_with("connections", "a number from 1 on", at_least_1)? {
            self.connections = connections;
        }
        if let Some(timeout) = url.take_duration("acquire_timeout")? {
            self.acquire_timeout = timeout;
        }
        if let Some(every) = url.take_duration("purge")? {
            self.purge_every = every;
        }
        Ok(())
    }
}

/// The setters of a builder whose field `options` are these, inside its `impl`. What differs is told: `table`, `create` and
/// `connections` each with its documentation.
macro_rules! table_setters {
    (
        $(#[$table:meta])* table,
        $(#[$create:meta])* create,
        $(#[$connections:meta])* connections $(,)?
    ) => {
        $(#[$table])*
        pub fn table(mut self, name: impl Into<String>) -> Self {
            self.options.table = name.into();
            self
        }

        $(#[$create])*
        pub fn create(mut self, create: bool) -> Self {
            self.options.create = create;
            self
        }

        $(#[$connections])*
        pub fn connections(mut self, connections: u32) -> Self {
            self.options.connections = connections.max(1);
            self
        }

        /// How long a call waits for a connection when all are in use.
        pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
            self.options.acquire_timeout = timeout;
            self
        }

        /// The time between two collections of expired rows.
        pub fn purge_every(mut self, every: Duration) -> Self {
            self.options.purge_every = every;
            self
        }
    };
}
pub(crate) use table_setters;
