::core::compile_error! {
    "unknown key `valeu`, did you mean `value`? (there are `key`, `value`, `version`, `load`, `load_all`, `serializer`, `load_timeout`, `lease`, `negative_ttl`, `ttl_jitter`, `doorkeeper`, `weigh`, `state`, `crate` and `tier`)"
}
::core::compile_error! {
    "a duration of zero caches nothing: write how long values live, remove the tier, or leave `ttl` out for values that live for ever"
}
::core::compile_error! {
    "`UserNode` has no field `id` (there is `user_id`)"
}
#[automatically_derived]
impl ::cacheme::__private::Node for UserNode {
    type Value = ();
    fn policy(&self) -> ::cacheme::__private::Policy<()> {
        ::core::unreachable!()
    }
    fn write_key(&self, _: &mut ::cacheme::__private::KeyWriter) {}
}
#[automatically_derived]
impl ::cacheme::__private::Load for UserNode {
    async fn load(
        &self,
        _: &mut ::cacheme::__private::LoadContext<Self>,
    ) -> ::core::result::Result<(), ::cacheme::__private::BoxError> {
        ::core::unreachable!()
    }
}
