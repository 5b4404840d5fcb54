#[doc(hidden)]
fn __page_kind<T: Theme>() -> &'static ::cacheme::__private::DynamicKind<Page<T>> {
    static SITE: ::cacheme::__private::MemoSite = ::cacheme::__private::MemoSite::new();
    SITE.kind(
        ::core::any::type_name::<(::core::marker::PhantomData<Self>, (T,))>(),
        |types| {
            ::cacheme::__private::Policy::new(
                    ::std::format!(
                        "{}{}<{types}>", ::core::any::type_name:: < Self > (), "::page"
                    ),
                    {
                        let mut key = ::cacheme::__private::KeyWriter::new();
                        key.literal("page:");
                        key.text(::core::any::type_name::<Self>());
                        key.literal(":");
                        key.literal("{number}");
                        ::std::string::String::from(key.as_str())
                    },
                )
                .tier(
                    "redis",
                    ::core::option::Option::Some(
                        ::core::time::Duration::from_millis(3600000u64),
                    ),
                )
                .serializer(
                    <::cacheme::__private::DefaultSerializer as ::core::default::Default>::default(),
                )
        },
    )
}
///The node of `page` with this key.
#[allow(dead_code)]
#[must_use]
fn page_node<T: Theme>(number: u32) -> ::cacheme::__private::DynamicNode<Page<T>> {
    Self::__page_kind::<T>()
        .memo_node(|key| {
            key.literal("page:");
            key.text(::core::any::type_name::<Self>());
            key.literal(":");
            key.part(&number);
        })
}
async fn page<T: Theme>(&self, number: u32) -> Page<T> {
    let sharing = {
        #[allow(unused_imports)]
        use ::cacheme::__private::{
            NotShared as _, SharedBySource as _, TextByDebug as _, TextByDisplay as _,
        };
        ::cacheme::__private::outcome::<
            ::cacheme::__private::DynamicNode<Page<T>>,
            Page<T>,
        >()
            .sharing()
            .with_text(|outcome: &Page<T>| {
                ::cacheme::__private::ErrorText(outcome).text()
            })
    };
    let missed = match ::cacheme::__private::look_dynamic(
        ::core::option::Option::Some(&self.cacheme),
        Self::__page_kind::<T>(),
        |key| {
            key.literal("page:");
            key.text(::core::any::type_name::<Self>());
            key.literal(":");
            key.part(&number);
        },
        sharing,
    ) {
        ::cacheme::__private::Looked::Hit(outcome) => return outcome,
        ::cacheme::__private::Looked::Missed(missed) => missed,
    };
    missed
        .load(
            &Self::__page_kind::<T>()
                .memo_node(|key| {
                    key.literal("page:");
                    key.text(::core::any::type_name::<Self>());
                    key.literal(":");
                    key.part(&number);
                }),
            move || async move {
                if let ::core::option::Option::Some(output) = ::core::option::Option::<
                    Page<T>,
                >::None {
                    return output;
                }
                { self.render(number).await }
            },
            sharing,
            |_| false,
        )
        .await
}
