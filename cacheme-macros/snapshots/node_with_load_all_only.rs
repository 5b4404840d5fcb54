#[automatically_derived]
impl my::cacheme::__private::Node for SquareNode {
    type Value = u64;
    fn policy(&self) -> my::cacheme::__private::Policy<u64> {
        <Self as my::cacheme::__private::DerivedNode>::derived_policy()
    }
    fn write_key(&self, key: &mut my::cacheme::__private::KeyWriter) {
        key.literal("SquareNode:");
        key.part(&self.0);
    }
}
#[automatically_derived]
impl my::cacheme::__private::DerivedNode for SquareNode {
    fn derived_policy() -> my::cacheme::__private::Policy<u64> {
        #[allow(unused_imports)]
        use my::cacheme::__private::{EscapedForm as _, NoForm as _};
        my::cacheme::__private::Policy::new("SquareNode", "SquareNode:{0}")
            .key_forms([my::cacheme::__private::form_of(|node: &Self| &node.0).form()])
            .lease(::core::option::Option::None)
    }
}
#[automatically_derived]
impl my::cacheme::__private::Load for SquareNode {
    async fn load(
        &self,
        cx: &mut my::cacheme::__private::LoadContext<Self>,
    ) -> ::core::result::Result<u64, my::cacheme::__private::BoxError> {
        <Self as my::cacheme::__private::Load>::load_all(
                ::core::slice::from_ref(self),
                cx,
            )
            .await?
            .into_value(self)
    }
    async fn load_all(
        nodes: &[Self],
        cx: &mut my::cacheme::__private::LoadContext<Self>,
    ) -> ::core::result::Result<
        my::cacheme::__private::Loaded<Self>,
        my::cacheme::__private::BoxError,
    > {
        my::cacheme::__private::LoadersOf::<Self>::load_all(squares, nodes, cx)
            .await
            .map(my::cacheme::__private::IntoLoaded::<Self>::into_loaded)
            .map_err(|error| {
                use my::cacheme::__private::BoxByInto as _;
                my::cacheme::__private::LoaderError(error).boxed()
            })
    }
}
my::cacheme::__private::inventory::submit! {
    my::cacheme::__private::NodeRegistration::new:: < SquareNode > ()
}
