#[automatically_derived]
impl ::cacheme::__private::KeyPart for Filter {
    const FORM: ::cacheme::__private::KeyForm = ::cacheme::__private::KeyForm::one_of(
        &[::cacheme::__private::Text::Word("All"), ::cacheme::__private::Text::Group],
    );
    fn write_to(&self, key: &mut ::cacheme::__private::KeyWriter) {
        match self {
            Self::All => key.text("All"),
            Self::Owner { 0: part0, 1: part1, .. } => {
                key.tuple(&[&"Owner", part0, part1])
            }
            Self::Tag { name: part0, .. } => key.tuple(&[&"Tag", part0]),
        }
    }
}
