#[automatically_derived]
impl<'a: 'static, T: Table, const N: usize> ::cacheme::__private::Node
for RowNode<'a, T, N>
where
    T::Id: Clone,
    'a: 'static,
    Self: ::core::clone::Clone + ::core::marker::Send + ::core::marker::Sync + 'static,
    T::Id: ::cacheme::__private::KeyPart,
    Vec<T>: ::core::clone::Clone + ::core::marker::Send + ::core::marker::Sync + 'static,
    Vec<T>: ::cacheme::__private::Serialize + ::cacheme::__private::DeserializeOwned,
{
    type Value = Vec<T>;
    fn policy(&self) -> ::cacheme::__private::Policy<Vec<T>> {
        <Self as ::cacheme::__private::DerivedNode>::derived_policy()
    }
    fn write_key(&self, key: &mut ::cacheme::__private::KeyWriter) {
        key.literal("row:");
        key.text(::core::any::type_name::<T>());
        key.literal("/");
        key.part(&N);
        key.literal("/");
        key.part(&self.id);
        key.literal("/");
        {
            #[allow(unused_imports)]
            use ::cacheme::__private::Displayed as _;
            ::cacheme::__private::ByDisplay(&self.name).write(key);
        }
    }
}
#[automatically_derived]
impl<'a: 'static, T: Table, const N: usize> ::cacheme::__private::DerivedNode
for RowNode<'a, T, N>
where
    T::Id: Clone,
    'a: 'static,
    Self: ::core::clone::Clone + ::core::marker::Send + ::core::marker::Sync + 'static,
    T::Id: ::cacheme::__private::KeyPart,
    Vec<T>: ::core::clone::Clone + ::core::marker::Send + ::core::marker::Sync + 'static,
    Vec<T>: ::cacheme::__private::Serialize + ::cacheme::__private::DeserializeOwned,
{
    fn derived_policy() -> ::cacheme::__private::Policy<Vec<T>> {
        #[allow(unused_imports)]
        use ::cacheme::__private::{EscapedForm as _, NoForm as _};
        let mut key = ::cacheme::__private::KeyWriter::new();
        key.literal("row:");
        key.text(::core::any::type_name::<T>());
        key.literal("/");
        key.part(&N);
        key.literal("/{id}/{name}");
        ::cacheme::__private::Policy::new(
                ::core::any::type_name::<Self>(),
                ::std::string::String::from(key.as_str()),
            )
            .key_forms([
                ::cacheme::__private::form_of(|node: &Self| &node.id).form(),
                ::cacheme::__private::display_form_of(|node: &Self| &node.name).form(),
            ])
            .serializer(
                <::cacheme::__private::DefaultSerializer as ::core::default::Default>::default(),
            )
    }
}
#[automatically_derived]
impl<'a: 'static, T: Table, const N: usize> ::cacheme::__private::Load
for RowNode<'a, T, N>
where
    T::Id: Clone,
    'a: 'static,
    Self: ::core::clone::Clone + ::core::marker::Send + ::core::marker::Sync + 'static,
    T::Id: ::cacheme::__private::KeyPart,
    Vec<T>: ::core::clone::Clone + ::core::marker::Send + ::core::marker::Sync + 'static,
    Vec<T>: ::cacheme::__private::Serialize + ::cacheme::__private::DeserializeOwned,
{
    async fn load(
        &self,
        cx: &mut ::cacheme::__private::LoadContext<Self>,
    ) -> ::core::result::Result<Vec<T>, ::cacheme::__private::BoxError> {
        ::cacheme::__private::LoadersOf::<Self>::load(load_row::<T>, self, cx)
            .await
            .map_err(|error| {
                use ::cacheme::__private::BoxByInto as _;
                ::cacheme::__private::LoaderError(error).boxed()
            })
    }
}
