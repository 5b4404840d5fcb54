#[automatically_derived]
impl ::cacheme::__private::Node for UserInfoNode {
    type Value = UserInfo;
    fn policy(&self) -> ::cacheme::__private::Policy<UserInfo> {
        <Self as ::cacheme::__private::DerivedNode>::derived_policy()
    }
    fn write_key(&self, key: &mut ::cacheme::__private::KeyWriter) {
        key.literal("user:");
        key.part(&self.user_id);
        key.literal(":");
        key.part(&self.org.id);
        key.literal(":info");
    }
}
#[automatically_derived]
impl ::cacheme::__private::DerivedNode for UserInfoNode {
    fn derived_policy() -> ::cacheme::__private::Policy<UserInfo> {
        #[allow(unused_imports)]
        use ::cacheme::__private::{EscapedForm as _, NoForm as _};
        ::cacheme::__private::Policy::new("UserInfoNode", "user:{user_id}:{org.id}:info")
            .key_forms([
                ::cacheme::__private::form_of(|node: &Self| &node.user_id).form(),
                ::cacheme::__private::form_of(|node: &Self| &node.org.id).form(),
            ])
            .version("v2")
            .tier(
                "local",
                ::core::option::Option::Some(
                    ::core::time::Duration::from_millis(30000u64),
                ),
            )
            .tier("my-redis", ::core::option::Option::Some(2 * MINUTE))
            .tier("archive", ::core::option::Option::None)
            .serializer(<Compressed<Json> as ::core::default::Default>::default())
            .load_timeout(::core::time::Duration::new(0u64, 1u32))
            .lease(
                ::core::option::Option::Some(
                    ::core::time::Duration::from_millis(1500u64),
                ),
            )
            .negative_ttl(::core::time::Duration::from_millis(5000u64))
            .ttl_jitter(0.1)
            .doorkeeper(10_000)
            .weigh(UserInfo::size)
    }
}
#[automatically_derived]
impl ::cacheme::__private::Load for UserInfoNode {
    async fn load(
        &self,
        cx: &mut ::cacheme::__private::LoadContext<Self>,
    ) -> ::core::result::Result<UserInfo, ::cacheme::__private::BoxError> {
        ::cacheme::__private::LoadersOf::<Self>::load(load_user_info, self, cx)
            .await
            .map_err(|error| {
                use ::cacheme::__private::BoxByInto as _;
                ::cacheme::__private::LoaderError(error).boxed()
            })
    }
    async fn load_all(
        nodes: &[Self],
        cx: &mut ::cacheme::__private::LoadContext<Self>,
    ) -> ::core::result::Result<
        ::cacheme::__private::Loaded<Self>,
        ::cacheme::__private::BoxError,
    > {
        ::cacheme::__private::LoadersOf::<Self>::load_all(load_user_infos, nodes, cx)
            .await
            .map(::cacheme::__private::IntoLoaded::<Self>::into_loaded)
            .map_err(|error| {
                use ::cacheme::__private::BoxByInto as _;
                ::cacheme::__private::LoaderError(error).boxed()
            })
    }
}
::cacheme::__private::inventory::submit! {
    ::cacheme::__private::NodeRegistration::new:: < UserInfoNode > ()
}
