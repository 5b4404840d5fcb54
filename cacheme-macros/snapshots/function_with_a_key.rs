///The node of [`price`].
#[derive(::core::clone::Clone)]
pub struct PriceNode {
    ///Part of the key of [`price`].
    pub sku: ::std::string::String,
    ///Part of the key of [`price`].
    pub user_id: i64,
}
const _: () = {
    #[automatically_derived]
    impl ::cacheme::__private::Node for PriceNode {
        type Value = u64;
        fn policy(&self) -> ::cacheme::__private::Policy<u64> {
            <Self as ::cacheme::__private::DerivedNode>::derived_policy()
        }
        fn write_key(&self, key: &mut ::cacheme::__private::KeyWriter) {
            key.literal("price:");
            key.part(&self.sku);
            key.literal(":");
            key.part(&self.user_id);
        }
    }
    #[automatically_derived]
    impl ::cacheme::__private::DerivedNode for PriceNode {
        fn derived_policy() -> ::cacheme::__private::Policy<u64> {
            #[allow(unused_imports)]
            use ::cacheme::__private::{EscapedForm as _, NoForm as _};
            ::cacheme::__private::Policy::new("PriceNode", "price:{sku}:{user_id}")
                .key_forms([
                    ::cacheme::__private::form_of(|node: &Self| &node.sku).form(),
                    ::cacheme::__private::form_of(|node: &Self| &node.user_id).form(),
                ])
                .default_local(::core::time::Duration::from_millis(30000u64))
                .serializer(
                    <::cacheme::__private::DefaultSerializer as ::core::default::Default>::default(),
                )
        }
    }
    ::cacheme::__private::inventory::submit! {
        ::cacheme::__private::NodeRegistration::new:: < PriceNode > ()
    }
    #[automatically_derived]
    impl ::core::fmt::Debug for PriceNode {
        fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
            f.write_str(&::cacheme::__private::Node::key(self))
        }
    }
};
#[allow(clippy::too_many_arguments)]
async fn __price_load(
    db: &Db,
    #[allow(unused_variables)]
    sku: &str,
    #[allow(unused_variables)]
    user: &User,
) -> Result<u64, DbError> {
    db.price(sku, user).await
}
pub async fn price(db: &Db, sku: &str, user: &User) -> Result<u64, DbError> {
    let sharing = {
        #[allow(unused_imports)]
        use ::cacheme::__private::{
            NotShared as _, SharedBySource as _, TextByDebug as _, TextByDisplay as _,
        };
        ::cacheme::__private::outcome::<PriceNode, Result<u64, DbError>>()
            .sharing()
            .with_text(|outcome: &Result<u64, DbError>| {
                ::cacheme::__private::ErrorText(outcome).text()
            })
    };
    let missed = match if user.id > 0 {
        ::cacheme::__private::look_by::<
            PriceNode,
            Result<u64, DbError>,
        >(
            ::core::option::Option::None,
            |key| {
                key.literal("price:");
                key.part(&sku);
                key.literal(":");
                key.part(&user.id);
            },
            sharing,
        )
    } else {
        ::cacheme::__private::Looked::without_cache()
    } {
        ::cacheme::__private::Looked::Hit(outcome) => return outcome,
        ::cacheme::__private::Looked::Missed(missed) => missed,
    };
    missed
        .load(
            &PriceNode {
                sku: <str as ::std::borrow::ToOwned>::to_owned(*(&sku)),
                user_id: ::core::clone::Clone::clone((&user.id)),
            },
            move || __price_load(db, sku, user),
            sharing,
            |price| *price == 0,
        )
        .await
}
///Removes what [`price`] has cached for a key.
#[allow(dead_code)]
pub async fn price_invalidate(
    sku: &str,
    user_id: i64,
) -> ::core::result::Result<(), ::cacheme::__private::Error> {
    ::cacheme::__private::invalidate(
            ::core::option::Option::None,
            &PriceNode {
                sku: <str as ::std::borrow::ToOwned>::to_owned(*(&sku)),
                user_id: ::core::clone::Clone::clone((&user_id)),
            },
        )
        .await
}
///Runs [`price`] anew and caches what it returns.
#[allow(dead_code, clippy::too_many_arguments)]
pub async fn price_refresh(
    db: &Db,
    sku: &str,
    user: &User,
) -> ::core::result::Result<u64, ::cacheme::__private::Error> {
    let sharing = {
        #[allow(unused_imports)]
        use ::cacheme::__private::{
            NotShared as _, SharedBySource as _, TextByDebug as _, TextByDisplay as _,
        };
        ::cacheme::__private::outcome::<PriceNode, Result<u64, DbError>>()
            .sharing()
            .with_text(|outcome: &Result<u64, DbError>| {
                ::cacheme::__private::ErrorText(outcome).text()
            })
    };
    ::cacheme::__private::refresh(
            ::core::option::Option::None,
            &PriceNode {
                sku: <str as ::std::borrow::ToOwned>::to_owned(*(&sku)),
                user_id: ::core::clone::Clone::clone((&user.id)),
            },
            move || async move {
                #[allow(unused_imports)]
                use ::cacheme::__private::{FailedByInto as _, FailedByText as _};
                sharing
                    .value(__price_load(db, sku, user).await)
                    .map_err(|failed| ::cacheme::__private::Failed(failed).boxed())
            },
        )
        .await
}
