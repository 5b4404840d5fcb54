#[automatically_derived]
impl<T> ::cacheme::__private::KeyPart for Page<T>
where
    T: ::cacheme::__private::KeyPart,
{
    const FORM: ::cacheme::__private::KeyForm = ::cacheme::__private::KeyForm::GROUP;
    fn write_to(&self, key: &mut ::cacheme::__private::KeyWriter) {
        key.tuple(&[&self.number, &self.filter]);
    }
}
