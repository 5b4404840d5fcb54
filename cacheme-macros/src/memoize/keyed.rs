//! A memoized function that names its key: the node, and the functions beside it.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::{
    Attribute, DeriveInput, FnArg, GenericArgument, GenericParam, Ident, ImplItemFn, Pat, PathArguments,
    ReturnType, Type, parse_quote,
};

use super::{Call, MemoizeAttr};
use crate::arguments::{Key, KeyArg, argument, elided, owned};
use crate::attr::{ModPath, plain};
use crate::expand::{node_impls, settings};
use crate::mistakes::Mistakes;
use crate::settings::Text;
use crate::shape::mentions;

/// A memoized function whose key is known.
struct Keyed {
    function: ImplItemFn,
    attr: MemoizeAttr,
    key: Key,
    value: Type,
    private: TokenStream,
}

/// `None` if there are mistakes.
pub(super) fn expand(
    function: ImplItemFn,
    mut attr: MemoizeAttr,
    mistakes: &mut Mistakes,
) -> Option<TokenStream> {
    let template = attr.policy.key.as_ref()?;
    let key = Key::parse(&template.0, &function.sig, mistakes)?;
    attr.policy.key = Some(Text(key.template()));
    attr.policy.named.push("value");
    attr.policy.default_local = attr.ttl.take();
    let value = attr.policy.value.take();
    let value = value.unwrap_or_else(|| value_of(&function.sig.output));
    attr.policy.value = Some(value.clone());
    let private = ModPath::private(attr.policy.krate.as_ref(), Span::call_site());
    let keyed = Keyed {
        function,
        attr,
        key,
        value,
        private,
    };
    if keyed.is_method() || keyed.is_generic() {
        keyed.with_memo_node(mistakes)
    } else {
        keyed.with_struct(mistakes)
    }
}

/// The value in what a function returns: of a `Result` its first type, else all of it.
fn value_of(output: &ReturnType) -> Type {
    let ReturnType::Type(_, output) = output else {
        return parse_quote!(());
    };
    if let Type::Path(path) = &**output
        && let Some(last) = path.path.segments.last()
        && last.ident.to_string().ends_with("Result")
        && let PathArguments::AngleBracketed(arguments) = &last.arguments
        && let Some(GenericArgument::Type(value)) = arguments.args.first()
    {
        return value.clone();
    }
    (**output).clone()
}

impl Keyed {
    /// Whether it stands in an `impl`, where there can be no struct. That shows where it names its type.
    fn is_method(&self) -> bool {
        let this = ["self", "Self"].map(|name| Ident::new(name, Span::call_site()));
        mentions(&self.function.sig, &this) || mentions(&self.function.block, &this)
    }

    /// Whether its node depends on type parameters, which a struct beside it does not have.
    fn is_generic(&self) -> bool {
        let names = self.type_params();
        let in_key = self.key.args.iter().any(|arg| mentions(&arg.ty, &names));
        in_key || mentions(&self.value, &names) || self.key.names_types()
    }

    /// The names of its type and const parameters.
    fn type_params(&self) -> Vec<Ident> {
        let params = self.function.sig.generics.params.iter();
        let names = params.filter_map(|param| match param {
            GenericParam::Type(param) => Some(param.ident.clone()),
            GenericParam::Const(param) => Some(param.ident.clone()),
            GenericParam::Lifetime(_) => None,
        });
        names.collect()
    }

    /// The name of something beside the function.
    fn beside(&self, ending: &str) -> Ident {
        let name = &self.function.sig.ident;
        Ident::new(&format!("{}_{ending}", plain(name)), name.span())
    }

    /// The attributes that decide whether the function is there at all, and what may be said of it.
    fn attrs(&self) -> Vec<&Attribute> {
        let kept = |attr: &&Attribute| {
            ["cfg", "allow", "expect"]
                .iter()
                .any(|name| attr.path().is_ident(name))
        };
        self.function.attrs.iter().filter(kept).collect()
    }

    /// The arguments of a function that takes the key's parts.
    fn key_params(&self) -> Vec<TokenStream> {
        let param = |arg: &KeyArg| {
            let (name, ty) = (&arg.name, elided(&arg.ty));
            quote!(#name: #ty)
        };
        self.key.args.iter().map(param).collect()
    }

    /// Writes the key, from the arguments of the function or from the key's parts.
    fn write_key(&self, from: fn(&KeyArg) -> TokenStream) -> TokenStream {
        let key = Ident::new("key", Span::mixed_site());
        let writes = self.key.write(&key, &self.private, from);
        quote!(|#key| { #writes })
    }

    /// The memoized function with names for its arguments, where another function runs its body.
    fn expanded_with_names(&self, body: TokenStream) -> TokenStream {
        let mut function = self.function.clone();
        function.sig.inputs = self.inputs().into_iter().collect();
        function.block = parse_quote!({ #body });
        function.into_token_stream()
    }

    /// With a struct as its node, for a function that has no types of its own.
    fn with_struct(&self, mistakes: &mut Mistakes) -> Option<TokenStream> {
        let (sig, vis, private) = (&self.function.sig, &self.function.vis, &self.private);
        let name = self.attr.name.clone().unwrap_or_else(|| node_name(&sig.ident));
        let mut types = Vec::new();
        let mut fields = Vec::new();
        let mut from_params = Vec::new();
        for arg in &self.key.args {
            let (field, expr) = (&arg.name, &arg.expr);
            let of_call = mistakes.note(owned(&arg.ty, quote!((&#expr))))?;
            let of_param = mistakes.note(owned(&arg.ty, quote!((&#field))))?;
            let (ty, value, from_param) = (&of_call.ty, &of_call.value, &of_param.value);
            let doc = format!("Part of the key of [`{}`].", plain(&sig.ident));
            types.push(quote!(#[doc = #doc] #vis #field: #ty));
            fields.push(quote!(#field: #value));
            from_params.push(quote!(#field: #from_param));
        }
        let item: DeriveInput = parse_quote!(struct #name { #(#types),* });
        let impls = node_impls(&item, &self.attr.policy, mistakes)?;
        let call = Call::new(&self.function, &self.attr);
        let output = call.output;
        let (var, sharing) = (
            call.var("sharing"),
            call.sharing(quote!(#private::outcome::<#name, #output>())),
        );
        let (loader, of_loader) = self.loader();
        let write_key = self.write_key(|arg| arg.expr.clone());
        let cacheme = &call.cacheme;
        let body = call.body(
            &sharing,
            quote!(#private::look_by::<#name, #output>(#cacheme, #write_key, #var)),
            quote!(#name { #(#fields),* }),
            quote!(move || #of_loader),
        );
        let function = self.expanded_with_names(body);
        let attrs = self.attrs();
        let (invalidate, refresh) = (self.beside("invalidate"), self.beside("refresh"));
        let mut key_params = self.key_params();
        key_params.extend(self.params_of_instance());
        let (inputs, value) = (self.inputs(), &self.value);
        let (generics, _, clause) = sig.generics.split_for_impl();
        let of_function = plain(&sig.ident);
        let docs = [
            format!("The node of [`{of_function}`]."),
            format!("Removes what [`{of_function}`] has cached for a key."),
            format!("Runs [`{of_function}`] anew and caches what it returns."),
        ];
        let [of_node, of_invalidate, of_refresh] = &docs;
        Some(quote! {
            #(#attrs)*
            #[doc = #of_node]
            #[derive(::core::clone::Clone)]
            #vis struct #name { #(#types),* }

            #(#attrs)*
            const _: () = {
                #impls

                #[automatically_derived]
                impl ::core::fmt::Debug for #name {
                    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                        f.write_str(&#private::Node::key(self))
                    }
                }
            };

            #(#attrs)*
            #[allow(clippy::too_many_arguments)]
            #loader

            #function

            #(#attrs)*
            #[doc = #of_invalidate]
            #[allow(dead_code)]
            #vis async fn #invalidate(#(#key_params),*) -> ::core::result::Result<(), #private::Error> {
                #private::invalidate(#cacheme, &#name { #(#from_params),* }).await
            }

            #(#attrs)*
            #[doc = #of_refresh]
            #[allow(dead_code, clippy::too_many_arguments)]
            #vis async fn #refresh #generics(#(#inputs),*) -> ::core::result::Result<#value, #private::Error> #clause {
                let sharing = #sharing;
                #private::refresh(#cacheme, &#name { #(#fields),* }, move || async move {
                    #[allow(unused_imports)]
                    use #private::{FailedByInto as _, FailedByText as _};
                    sharing.value(#of_loader.await).map_err(|failed| #private::Failed(failed).boxed())
                }).await
            }
        })
    }

    /// A function with the body of the memoized one, and the call of it there.
    fn loader(&self) -> (TokenStream, TokenStream) {
        let mut loader = self.function.clone();
        loader.vis = syn::Visibility::Inherited;
        loader.attrs.clear();
        loader.sig.ident = format_ident!("__{}_load", plain(&self.function.sig.ident));
        for arg in &mut loader.sig.inputs {
            // The key or the instance is a use as well.
            if argument(arg).is_some_and(|(name, _)| self.is_used_outside(name))
                && let FnArg::Typed(arg) = arg
            {
                arg.attrs.push(parse_quote!(#[allow(unused_variables)]));
            }
        }
        let (name, params) = (&loader.sig.ident, self.type_params());
        let turbofish = (!params.is_empty()).then(|| quote!(::<#(#params),*>));
        let args = self
            .function
            .sig
            .inputs
            .iter()
            .enumerate()
            .map(|(at, arg)| name_of(at, arg));
        let call = quote!(#name #turbofish(#(#args),*));
        (loader.into_token_stream(), call)
    }

    /// Whether an argument stands in the key or in another setting.
    fn is_used_outside(&self, name: &Ident) -> bool {
        let name = std::slice::from_ref(name);
        let settings = [&self.attr.cacheme, &self.attr.when, &self.attr.unless];
        let in_key = self.key.args.iter().any(|arg| mentions(&arg.expr, name));
        in_key
            || settings
                .into_iter()
                .flatten()
                .any(|setting| mentions(setting, name))
    }

    /// The arguments of the function, each with a name.
    fn inputs(&self) -> Vec<FnArg> {
        let inputs = self.function.sig.inputs.iter().enumerate();
        let named = inputs.map(|(at, arg)| {
            let mut arg = arg.clone();
            if let FnArg::Typed(typed) = &mut arg {
                let name = name_of(at, &FnArg::Typed(typed.clone()));
                *typed.pat = parse_quote!(#name);
            }
            arg
        });
        named.collect()
    }

    /// The arguments that the instance depends on and the key does not.
    fn params_of_instance(&self) -> Vec<TokenStream> {
        let Some(cacheme) = &self.attr.cacheme else {
            return Vec::new();
        };
        let arguments = self.function.sig.inputs.iter().filter_map(argument);
        let others = arguments.filter(|(name, _)| {
            mentions(cacheme, std::slice::from_ref(*name))
                && self.key.args.iter().all(|arg| arg.name != **name)
        });
        let params = others.map(|(name, ty)| {
            let ty = elided(ty);
            quote!(#name: #ty)
        });
        params.collect()
    }

    /// With a node of the library's type, for a method or a function with types of its own.
    fn with_memo_node(&self, mistakes: &mut Mistakes) -> Option<TokenStream> {
        if let Some(name) = &self.attr.name {
            mistakes.at(
                name.span(),
                "`name` is for the struct beside a function: a method or a generic function has none",
            );
            return None;
        }
        let (sig, vis, private) = (&self.function.sig, &self.function.vis, &self.private);
        let params = self.type_params();
        let (kind, node) = (format_ident!("__{}_kind", plain(&sig.ident)), self.beside("node"));
        let turbofish = (!params.is_empty()).then(|| quote!(::<#(#params),*>));
        let of_type = self.is_method().then(|| quote!(Self::));
        let the_kind = quote!(#of_type #kind #turbofish());
        let call = Call::new(&self.function, &self.attr);
        let (output, value, cacheme) = (call.output, &self.value, &call.cacheme);
        let var = call.var("sharing");
        let from_call = self.write_key(|arg| arg.expr.clone());
        let from_params = self.write_key(|arg| arg.name.to_token_stream());
        let body = call.body(
            &call.sharing(quote!(#private::outcome::<#private::DynamicNode<#value>, #output>())),
            quote!(#private::look_dynamic(#cacheme, #the_kind, #from_call, #var)),
            quote!(#the_kind.memo_node(#from_call)),
            call.load_block(),
        );
        let mut function = self.function.clone();
        function.block = parse_quote!({ #body });
        let (types, name) = self.types_and_name();
        let template = self.shown_template();
        let policy = settings(
            &self.attr.policy,
            syn::spanned::Spanned::span(&self.value),
            private,
        );
        let generics = self.generics_of_kind();
        let (generics, _, clause) = generics.split_for_impl();
        let attrs = self.attrs();
        let key_params = self.key_params();
        let doc = format!("The node of `{}` with this key.", plain(&sig.ident));
        Some(quote! {
            #(#attrs)*
            #[doc(hidden)]
            fn #kind #generics() -> &'static #private::DynamicKind<#value> #clause {
                static SITE: #private::MemoSite = #private::MemoSite::new();
                SITE.kind(#types, |types| {
                    #private::Policy::new(#name, #template) #policy
                })
            }

            #(#attrs)*
            #[doc = #doc]
            #[allow(dead_code)]
            #[must_use]
            #vis fn #node #generics(#(#key_params),*) -> #private::DynamicNode<#value> #clause {
                #the_kind.memo_node(#from_params)
            }

            #function
        })
    }

    /// The types that tell apart the kinds of this function, and the name of such a kind.
    fn types_and_name(&self) -> (TokenStream, TokenStream) {
        let (name, params) = (plain(&self.function.sig.ident), self.type_params());
        let types = self.function.sig.generics.type_params().map(|param| &param.ident);
        let types = quote!((#(#types,)*));
        if self.is_method() && params.is_empty() {
            let name = format!("::{name}");
            (
                quote!(::core::any::type_name::<Self>()),
                quote!(::std::format!("{types}{}", #name)),
            )
        } else if self.is_method() {
            let name = format!("::{name}");
            (
                quote!(::core::any::type_name::<(::core::marker::PhantomData<Self>, #types)>()),
                quote!(::std::format!("{}{}<{types}>", ::core::any::type_name::<Self>(), #name)),
            )
        } else {
            let name = format!("::{name}");
            (
                quote!(::core::any::type_name::<#types>()),
                quote!(::std::format!("{}{}<{types}>", ::core::module_path!(), #name)),
            )
        }
    }

    /// The template of the key, with the names of types in it.
    fn shown_template(&self) -> TokenStream {
        let template = self.key.template();
        if !self.key.names_types() {
            return template.into_token_stream();
        }
        let private = &self.private;
        let key = Ident::new("key", Span::mixed_site());
        let writes = self.key.write_template(&key);
        quote! {{
            let mut #key = #private::KeyWriter::new();
            #writes
            ::std::string::String::from(#key.as_str())
        }}
    }

    /// The generics of the function without lifetimes.
    fn generics_of_kind(&self) -> syn::Generics {
        let mut generics = self.function.sig.generics.clone();
        let is_lifetime = |param: &GenericParam| matches!(param, GenericParam::Lifetime(_));
        generics.params = generics
            .params
            .into_iter()
            .filter(|param| !is_lifetime(param))
            .collect();
        if let Some(clause) = &mut generics.where_clause {
            let names_lifetime = |predicate: &syn::WherePredicate| {
                let tokens = predicate.to_token_stream().to_string();
                tokens.contains('\'') && !tokens.contains("'static")
            };
            let kept = std::mem::take(&mut clause.predicates);
            clause.predicates = kept
                .into_iter()
                .filter(|predicate| !names_lifetime(predicate))
                .collect();
        }
        generics
    }
}

/// `price_of` has a `PriceOfNode`.
fn node_name(function: &Ident) -> Ident {
    let mut name = String::new();
    for word in plain(function).split('_') {
        let mut chars = word.chars();
        name.extend(chars.next().into_iter().flat_map(char::to_uppercase));
        name.extend(chars);
    }
    format_ident!("{name}Node", span = function.span())
}

/// The name of an argument, also of one that is a pattern.
fn name_of(at: usize, arg: &FnArg) -> Ident {
    match arg {
        FnArg::Typed(arg) => match &*arg.pat {
            Pat::Ident(name) => name.ident.clone(),
            _ => Ident::new(&format!("argument_{at}"), Span::mixed_site()),
        },
        FnArg::Receiver(_) => Ident::new("self", Span::call_site()),
    }
}
