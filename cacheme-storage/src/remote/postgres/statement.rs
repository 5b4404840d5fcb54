//! Statements with their arguments, and how they are written where the arguments have to be within the text.

use std::fmt::Write as _;
use std::sync::Arc;

use sqlx::{AssertSqlSafe, Postgres as Driver};

use crate::remote::database::{Encode, Encoded, Protocol};

/// A statement whose text is made of constants and the table's quoted name, with its arguments.
pub(super) struct Statement<'a> {
    sql: Arc<str>,
    arguments: Vec<Argument<'a>>,
    persistent: bool,
}

/// An argument of a statement, which stands for `$1`, `$2` and so on in its text.
pub(super) enum Argument<'a> {
    Bytes(Option<&'a [u8]>),
    Id([u8; 16]),
    Number(Option<i64>),
    Text(String),
    BytesList(Vec<&'a [u8]>),
    Numbers(Vec<Option<i64>>),
}

pub(super) fn query(sql: &Arc<str>) -> Statement<'static> {
    Statement {
        sql: Arc::clone(sql),
        arguments: Vec::new(),
        persistent: true,
    }
}

impl<'a> Statement<'a> {
    /// With one argument more.
    pub(super) fn bind<'b>(self, argument: impl Into<Argument<'b>>) -> Statement<'b>
    where
        'a: 'b,
    {
        let mut arguments: Vec<Argument<'b>> = self.arguments;
        arguments.push(argument.into());
        Statement {
            sql: self.sql,
            arguments,
            persistent: self.persistent,
        }
    }

    /// Says whether the connection keeps the prepared statement for the next time.
    pub(super) fn persistent(mut self, persistent: bool) -> Self {
        self.persistent = persistent;
        self
    }
}

impl Encode<Driver> for Statement<'_> {
    fn encode(self, protocol: &Protocol) -> Encoded<Driver> {
        match protocol {
            Protocol::Prepared => {
                let query = sqlx::query(AssertSqlSafe(self.sql)).persistent(self.persistent);
                let query = self
                    .arguments
                    .into_iter()
                    .fold(query, |query, argument| match argument {
                        Argument::Bytes(bytes) => query.bind(bytes),
                        Argument::Id(bytes) => query.bind(bytes),
                        Argument::Number(number) => query.bind(number),
                        Argument::Text(text) => query.bind(text),
                        Argument::BytesList(list) => query.bind(list),
                        Argument::Numbers(list) => query.bind(list),
                    });
                Encoded::Prepared(query)
            }
            Protocol::Text(settings) => Encoded::Text(text(settings, &self.sql, &self.arguments)),
        }
    }
}

/// The statement behind what comes before it, with its arguments in their places.
///
/// A place in a quoted name is none; nothing else in our statements is quoted and has a `$`.
fn text(settings: &str, sql: &str, arguments: &[Argument<'_>]) -> String {
    let mut text = String::with_capacity(settings.len() + sql.len() + 2 * size(arguments));
    text.push_str(settings);
    let mut is_quoted = false;
    let mut rest = sql;
    while let Some(at) = rest.find(['"', '$']) {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        let (sign, behind) = from.split_at(1);
        let digits = behind.len() - behind.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: Option<usize> = behind[..digits].parse().ok();
        let argument = number.and_then(|number| arguments.get(number.checked_sub(1)?));
        is_quoted ^= sign == "\"";
        rest = match argument {
            Some(argument) if sign == "$" && !is_quoted => {
                argument.write_to(&mut text);
                &behind[digits..]
            }
            _ => {
                text.push_str(sign);
                behind
            }
        };
    }
    text.push_str(rest);
    text
}

/// About how many bytes the arguments have.
fn size(arguments: &[Argument<'_>]) -> usize {
    let sizes = arguments.iter().map(|argument| match argument {
        Argument::Bytes(bytes) => bytes.map_or(0, <[u8]>::len) + 16,
        Argument::Id(_) | Argument::Number(_) | Argument::Text(_) => 32,
        Argument::BytesList(list) => list.iter().map(|bytes| bytes.len() + 8).sum(),
        Argument::Numbers(list) => 8 * list.len(),
    });
    sizes.sum()
}

impl Argument<'_> {
    /// Writes it as a constant with its type. `E'…'` means the same whatever the session thinks of backslashes.
    fn write_to(&self, text: &mut String) {
        match self {
            Self::Bytes(Some(bytes)) => constant(text, "bytea", |text| {
                text.push_str(r"\\x");
                hex(text, bytes);
            }),
            Self::Id(bytes) => Argument::Bytes(Some(bytes)).write_to(text),
            Self::Bytes(None) => text.push_str("NULL::bytea"),
            Self::Number(None) => text.push_str("NULL::bigint"),
            Self::Number(Some(number)) => constant(text, "bigint", |text| push(text, number)),
            Self::Text(value) => constant(text, "text", |text| {
                text.push_str(&value.replace('\\', r"\\").replace('\'', "''"));
            }),
            Self::BytesList(list) => constant(text, "bytea[]", |text| {
                elements(text, list, |text, bytes| {
                    // The list takes one of two backslashes as well.
                    text.push_str(r#""\\\\x"#);
                    hex(text, bytes);
                    text.push('"');
                });
            }),
            Self::Numbers(list) => constant(text, "bigint[]", |text| {
                elements(text, list, |text, number| match number {
                    Some(number) => push(text, number),
                    None => text.push_str("NULL"),
                });
            }),
        }
    }
}

fn constant(text: &mut String, kind: &str, write: impl FnOnce(&mut String)) {
    text.push_str("E'");
    write(text);
    text.push_str("'::");
    text.push_str(kind);
}

fn elements<T>(text: &mut String, list: &[T], write: impl Fn(&mut String, &T)) {
    text.push('{');
    for (at, element) in list.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        write(text, element);
    }
    text.push('}');
}

fn push(text: &mut String, number: &i64) {
    write!(text, "{number}").expect("a string takes everything");
}

fn hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

impl<'a> From<&'a [u8]> for Argument<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(Some(bytes))
    }
}

impl<'a> From<Option<&'a [u8]>> for Argument<'a> {
    fn from(bytes: Option<&'a [u8]>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<[u8; 16]> for Argument<'_> {
    fn from(bytes: [u8; 16]) -> Self {
        Self::Id(bytes)
    }
}

impl From<i64> for Argument<'_> {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<Option<i64>> for Argument<'_> {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

impl From<String> for Argument<'_> {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<Vec<&'a [u8]>> for Argument<'a> {
    fn from(list: Vec<&'a [u8]>) -> Self {
        Self::BytesList(list)
    }
}

impl From<Vec<Option<i64>>> for Argument<'_> {
    fn from(list: Vec<Option<i64>>) -> Self {
        Self::Numbers(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(sql: &str, bind: impl Fn(Statement<'static>) -> Statement<'_>) -> String {
        let statement = bind(query(&Arc::from(sql)));
        match statement.encode(&Protocol::Text(Arc::from("SET x = 1; "))) {
            Encoded::Text(text) => text,
            Encoded::Prepared(_) => panic!("it is text"),
        }
    }

    #[test]
    fn arguments_come_to_stand_in_their_places() {
        let text = written("SELECT $2, $1, $2::bigint + $3 FROM \"t\"", |statement| {
            statement.bind(&b"\x00'\\\xff"[..]).bind(-5).bind(None::<i64>)
        });
        assert_eq!(
            text,
            r#"SET x = 1; SELECT E'-5'::bigint, E'\\x00275cff'::bytea, E'-5'::bigint::bigint + NULL::bigint FROM "t""#
        );
        let lists = written("$1 $2 $3", |statement| {
            let statement = statement.bind(vec![&b"ab"[..], b""]).bind(vec![Some(1), None]);
            statement.bind(r"it's \ two".to_owned())
        });
        assert_eq!(
            lists,
            r#"SET x = 1; E'{"\\\\x6162","\\\\x"}'::bytea[] E'{1,NULL}'::bigint[] E'it''s \\ two'::text"#
        );
    }

    #[test]
    fn what_looks_like_a_place_in_a_name_is_none() {
        let text = written(r#"SELECT $1 FROM "a$1""$1" WHERE $1 AND $9"#, |statement| {
            statement.bind(1)
        });
        assert_eq!(
            text,
            r#"SET x = 1; SELECT E'1'::bigint FROM "a$1""$1" WHERE E'1'::bigint AND $9"#
        );
    }
}
