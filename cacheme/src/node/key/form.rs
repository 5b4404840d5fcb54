//! The texts that fields of a key may have, as far as their types say.

/// The texts that a field may write: one of some, perhaps absent.
///
/// `key/template.rs` uses it to find templates that can give one key. It may hold more texts than the type really writes, never fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyForm {
    pub(super) one_of: &'static [Text],
    /// Or `~`, or one of them with `~` before it.
    pub(super) optional: bool,
}

/// Texts of one sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// This word.
    Word(&'static str),
    /// Decimal digits, perhaps a `-` before them.
    Number,
    /// Escaped text of any length.
    Escaped,
    /// Anything in parentheses that a field may hold.
    Group,
    /// Anything that a field may hold.
    Any,
}

impl KeyForm {
    /// Any field.
    pub const ANY: Self = Self::one_of(&[Text::Any]);
    /// Text.
    pub const ESCAPED: Self = Self::one_of(&[Text::Escaped]);
    /// An integer.
    pub const NUMBER: Self = Self::one_of(&[Text::Number]);
    /// A tuple, a list, a struct.
    pub const GROUP: Self = Self::one_of(&[Text::Group]);

    /// One of these texts.
    #[must_use]
    pub const fn one_of(one_of: &'static [Text]) -> Self {
        Self {
            one_of,
            optional: false,
        }
    }

    /// The form of an `Option` of this.
    #[must_use]
    pub const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }
}
