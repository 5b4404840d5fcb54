use std::fmt;

/// The name of a table, checked: ASCII letters, digits and `_`, with a schema before it where `.` is allowed.
///
/// The only text from outside that becomes part of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableName {
    schema: Option<String>,
    name: String,
}

impl TableName {
    /// What a table is called when nothing else is said.
    pub(crate) const DEFAULT: &'static str = "cacheme";

    /// What to write, for messages.
    pub(crate) const SYNTAX: &'static str =
        "a table name of at most 48 ASCII letters, digits and `_`, not beginning with a digit";

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
            part.len() <= Self::LONGEST
                && part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        (valid(name) && schema.is_none_or(valid)).then(|| Self {
            schema: schema.map(Into::into),
            name: name.into(),
        })
    }

    /// The table without its schema.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the name says in which schema.
    #[cfg(feature = "mysql")]
    pub(crate) fn has_schema(&self) -> bool {
        self.schema.is_some()
    }

    /// The whole name, each part between two of `quote`.
    pub(crate) fn quoted(&self, quote: char) -> String {
        match &self.schema {
            Some(schema) => format!("{quote}{schema}{quote}.{quote}{}{quote}", self.name),
            None => format!("{quote}{}{quote}", self.name),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_pass() {
        let quoted = |text| TableName::parse(text, true).map(|table| table.quoted('"'));
        assert_eq!(quoted("app_cache").as_deref(), Some("\"app_cache\""));
        assert_eq!(quoted("app.cache").as_deref(), Some("\"app\".\"cache\""));
        for bad in [
            "",
            "1st",
            "a b",
            "a\"b",
            "a`b",
            "a;drop",
            "a.b.c",
            ".a",
            "a.",
            "größe",
            &"x".repeat(49),
        ] {
            assert_eq!(quoted(bad), None, "{bad}");
        }
        assert_eq!(TableName::parse("app.cache", false), None);
    }
}
