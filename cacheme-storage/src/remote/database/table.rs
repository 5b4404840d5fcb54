//! The table of a storage with SQL: its name, and the settings that every such storage has.

use std::fmt;
use std::time::Duration;

use crate::error::Result;
use crate::url::StorageUrl;

/// The name of a table, with a schema before it where `.` is allowed.
///
/// The only text from outside that becomes part of a statement: always between quotes, and with those in it doubled, so that
/// nothing in a name ends it. Every database here takes whatever stands between its quotes for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableName {
    schema: Option<String>,
    name: String,
}

impl TableName {
    /// The name of a table by default.
    pub(crate) const DEFAULT: &'static str = "cacheme";

    /// The syntax of a name, for messages.
    pub(crate) const SYNTAX: &'static str =
        "a table name of at most 48 bytes, without dots and control characters";

    /// Leaves room for the suffix of the index within the 63 bytes that PostgreSQL allows.
    const LONGEST: usize = 48;

    /// The name in `text`: `table`, or `schema.table` if `with_schema`.
    pub(crate) fn parse(text: &str, with_schema: bool) -> Option<Self> {
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) if with_schema => (Some(schema), name),
            Some(_) => return None,
            None => (None, text),
        };
        let valid = |part: &str| {
            (1..=Self::LONGEST).contains(&part.len())
                && !part.contains('.')
                && !part.contains(char::is_control)
        };
        (valid(name) && schema.is_none_or(valid)).then(|| Self {
            schema: schema.map(Into::into),
            name: name.into(),
        })
    }

    /// The table without its schema.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Says whether the name says in which schema.
    #[cfg(feature = "mysql")]
    pub(crate) fn has_schema(&self) -> bool {
        self.schema.is_some()
    }

    /// The whole name, each part between two of `quote`.
    pub(crate) fn quoted(&self, quote: char) -> String {
        let name = quoted(&self.name, quote);
        match &self.schema {
            Some(schema) => format!("{}.{name}", quoted(schema, quote)),
            None => name,
        }
    }

    /// The name of its index, between two of `quote`.
    pub(crate) fn quoted_index(&self, quote: char) -> String {
        quoted(&format!("{}_expiry", self.name), quote)
    }
}

fn quoted(part: &str, quote: char) -> String {
    let doubled = part.replace(quote, &format!("{quote}{quote}"));
    format!("{quote}{doubled}{quote}")
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

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

/// The setters of a builder whose field `options` are these, inside its `impl`. The caller gives the
/// documentation of `table`, `create` and `connections`.
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

        /// Sets how long a call waits for a connection when all are in use.
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

/// Repeats `what` with commas between, for a statement's list.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub(crate) fn repeat(what: &str, times: usize) -> String {
    let mut list = String::with_capacity((what.len() + 2) * times);
    for at in 0..times {
        if at > 0 {
            list.push_str(", ");
        }
        list.push_str(what);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_between_their_quotes() {
        let quoted = |text| TableName::parse(text, true).map(|table| table.quoted('"'));
        assert_eq!(quoted("app_cache").as_deref(), Some("\"app_cache\""));
        assert_eq!(quoted("app.cache").as_deref(), Some("\"app\".\"cache\""));
        assert_eq!(quoted("1 größe;%").as_deref(), Some("\"1 größe;%\""));
        assert_eq!(quoted("a\"\"b.\"").as_deref(), Some("\"a\"\"\"\"b\".\"\"\"\""));
        let table = TableName::parse("a`b", false).unwrap();
        assert_eq!(table.quoted('`'), "`a``b`");
        assert_eq!(table.quoted_index('`'), "`a``b_expiry`");
        for bad in [
            "",
            "a\0b",
            "a\nb",
            "a.b.c",
            ".a",
            "a.",
            &"x".repeat(49),
            &"ö".repeat(25),
        ] {
            assert_eq!(quoted(bad), None, "{bad}");
        }
        assert_eq!(TableName::parse("app.cache", false), None);
    }
}
