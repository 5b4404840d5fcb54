//! Fields that a template writes by their `Display`: `{place:display}`.

use std::fmt;
use std::marker::PhantomData;

use super::{KeyForm, KeyWriter};

/// A field of type `T`, for generated code.
///
/// The compiler finds the methods of `Option`s first, then those of [`Displayed`] for all other types.
#[derive(Debug)]
pub struct ByDisplay<'a, T: ?Sized>(pub &'a T);

impl<T: fmt::Display> ByDisplay<'_, Option<T>> {
    /// Writes `~` for `None`. The text of a value never begins with one, since it is escaped.
    pub fn write(&self, key: &mut KeyWriter) {
        match self.0 {
            Some(value) => key.display(value),
            None => key.literal("~"),
        }
    }
}

/// A field that is no `Option`.
pub trait Displayed {
    /// The type of the field.
    type Field: ?Sized;

    /// Writes the value.
    fn write(&self, key: &mut KeyWriter)
    where
        Self::Field: fmt::Display;
}

impl<T: ?Sized> Displayed for ByDisplay<'_, T> {
    type Field = T;

    #[inline]
    fn write(&self, key: &mut KeyWriter)
    where
        T: fmt::Display,
    {
        key.display(self.0);
    }
}

/// The form of a field of type `P` that is written by its `Display`.
#[derive(Debug)]
pub struct DisplayForm<P: ?Sized>(PhantomData<fn(&P)>);

impl<P> DisplayForm<Option<P>> {
    /// The form.
    #[must_use]
    pub fn form(&self) -> KeyForm {
        KeyForm::ESCAPED.optional()
    }
}

/// The form of a field that is no `Option`.
pub trait EscapedForm {
    /// The form.
    fn form(&self) -> KeyForm {
        KeyForm::ESCAPED
    }
}

impl<P: ?Sized> EscapedForm for DisplayForm<P> {}

/// The form of a node's field that is written by its `Display`.
#[must_use]
pub fn display_form_of<N, P: ?Sized>(_: fn(&N) -> &P) -> DisplayForm<P> {
    DisplayForm(PhantomData)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fields {
        plain: &'static str,
        option: Option<&'static str>,
    }

    fn written(fields: &Fields) -> (String, String) {
        let (mut plain, mut option) = (KeyWriter::new(), KeyWriter::new());
        ByDisplay(&fields.plain).write(&mut plain);
        ByDisplay(&fields.option).write(&mut option);
        (plain.as_str().to_owned(), option.as_str().to_owned())
    }

    #[test]
    fn c4_a_displayed_option_is_none_or_its_value_and_never_both() {
        let values = [None, Some(""), Some("~"), Some("~~"), Some("None"), Some("a:b")];
        let keys = values.map(|option| {
            let plain = option.unwrap_or("~");
            let (plain, key) = written(&Fields { plain, option });
            assert_eq!(key == plain, option.is_some());
            key
        });
        let different: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len(), "{keys:?}");
    }

    #[test]
    fn c4_the_form_of_a_displayed_option_holds_none() {
        let plain = display_form_of(|fields: &Fields| &fields.plain).form();
        assert_eq!(plain, KeyForm::ESCAPED);
        let option = display_form_of(|fields: &Fields| &fields.option).form();
        assert_eq!(option, KeyForm::ESCAPED.optional());
    }
}
