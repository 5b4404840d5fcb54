#[automatically_derived]
impl ::cacheme::__private::KeyPart for UserId {
    fn write_to(&self, key: &mut ::cacheme::__private::KeyWriter) {
        key.part(&self.0);
    }
}
