#[automatically_derived]
impl<T> ::cacheme::__private::KeyPart for Page<T>
where
    T: ::cacheme::__private::KeyPart,
{
    fn write_to(&self, key: &mut ::cacheme::__private::KeyWriter) {
        key.tuple(&[&self.number, &self.filter]);
    }
}
