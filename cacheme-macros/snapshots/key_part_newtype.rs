#[automatically_derived]
impl ::cacheme::__private::KeyPart for UserId {
    const FORM: ::cacheme::__private::KeyForm = {
        #[allow(unused_imports)]
        use ::cacheme::__private::NoForm as _;
        <::cacheme::__private::FormOf<i64>>::FORM
    };
    fn write_to(&self, key: &mut ::cacheme::__private::KeyWriter) {
        key.part(&self.0);
    }
}
