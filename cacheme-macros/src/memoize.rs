//! What `#[memoize]` turns into.

use proc_macro2::{Delimiter, Group, Span, TokenStream};
use quote::{ToTokens as _, TokenStreamExt as _, quote, quote_spanned};
use syn::parse::{ParseStream, Parser as _};
use syn::spanned::Spanned as _;
use syn::{Block, Expr, ImplItemFn, ReturnType, Safety, Signature, TraitItemFn, Type, parse_quote};

use crate::attr::ModPath;
use crate::mistakes::Mistakes;
use crate::settings::{parse_once, parse_settings};

#[derive(Default)]
struct MemoizeAttr {
    node: Option<Expr>,
    cacheme: Option<Expr>,
    krate: Option<ModPath>,
    /// Whether `node` was there, also one that could not be understood.
    names_node: bool,
}

pub(crate) fn memoize(attr: TokenStream, item: TokenStream) -> TokenStream {
    let mut mistakes = Mistakes::default();
    let attr = parse_attr(attr, &mut mistakes);
    let function = mistakes.note(parse_function(item.clone()));
    if let Some(function) = &function {
        check(&function.sig, &mut mistakes);
    }
    if !attr.names_node {
        mistakes.at(
            Span::call_site(),
            "what is this cached under? Write `#[memoize(node = UserNode { user_id })]`",
        );
    }
    match (function, &attr.node) {
        (Some(function), Some(node)) if mistakes.is_empty() => expand(function, node, &attr),
        _ => {
            let errors = mistakes.to_compile_errors();
            quote!(#errors #item)
        }
    }
}

fn parse_attr(tokens: TokenStream, mistakes: &mut Mistakes) -> MemoizeAttr {
    let mut attr = MemoizeAttr::default();
    let parse = |input: ParseStream<'_>| {
        Ok(parse_settings(
            input,
            &["node", "cacheme", "crate"],
            mistakes,
            |name, input, _| {
                if name == "node" {
                    parse_once(name, input, &mut attr.node)
                } else if name == "cacheme" {
                    parse_once(name, input, &mut attr.cacheme)
                } else {
                    parse_once(name, input, &mut attr.krate)
                }
            },
        ))
    };
    let named = parse.parse2(tokens);
    attr.names_node = mistakes.note(named).is_none_or(|named| named.contains(&"node"));
    attr
}

/// A function of any place that has a body: free, in an impl block, or a trait's default.
fn parse_function(item: TokenStream) -> syn::Result<ImplItemFn> {
    syn::parse2(item.clone()).map_err(|_| match syn::parse2::<TraitItemFn>(item.clone()) {
        Ok(TraitItemFn { default: None, sig, semi_token, .. }) => {
            let place = semi_token.map_or(sig.ident.span(), |semi| semi.span());
            syn::Error::new(place, "there is no body to run on a miss: put `#[memoize]` on the method in each `impl` of the trait")
        }
        _ => syn::Error::new_spanned(first_line(item), "`#[memoize]` goes on an `async fn`"),
    })
}

/// The item without its braces, so that an error underlines its head.
fn first_line(item: TokenStream) -> TokenStream {
    item.into_iter()
        .take_while(|token| !matches!(token, proc_macro2::TokenTree::Group(_)))
        .collect()
}

fn check(sig: &Signature, mistakes: &mut Mistakes) {
    let name = &sig.ident;
    if let Some(constness) = &sig.constness {
        mistakes.on(constness, "a `const fn` cannot wait for a cache: remove `const`");
    }
    if sig.asyncness.is_none() {
        mistakes.on(
            sig.fn_token,
            format!("`#[memoize]` needs an `async fn`: {}", how_to_be_async(sig)),
        );
    }
    if let Safety::Unsafe(token) = &sig.safety {
        let message = format!(
            "an `unsafe fn` cannot be memoized: callers that get a cached value would not run what `{name}` promises; memoize a safe fn that calls it"
        );
        mistakes.on(token, message);
    }
    if let Some(abi) = &sig.abi {
        mistakes.on(abi, "an `extern` function cannot be memoized: remove the ABI");
    }
    match &sig.output {
        ReturnType::Default => mistakes.at(
            name.span(),
            format!(
                "`{name}` returns nothing that could be cached: write `-> Value` or `-> Result<Value, E>`"
            ),
        ),
        ReturnType::Type(_, ty) => {
            if let Some(opaque) = find_impl_trait(ty).filter(|_| sig.asyncness.is_some()) {
                mistakes.at(
                    opaque,
                    "a cached value has a type with a name: write the node's `value` instead of `impl Trait`",
                );
            }
        }
    }
}

fn how_to_be_async(sig: &Signature) -> String {
    let ReturnType::Type(_, ty) = &sig.output else {
        return format!("write `async fn {}`", sig.ident);
    };
    let tokens = ty.to_token_stream().to_string();
    if tokens.contains("Future") {
        "one that returns a future cannot be told apart from one that returns a value; write `async fn` and what the \
         future's output is (under `#[async_trait]`, call a memoized `async fn` from the method)"
            .to_owned()
    } else {
        format!("write `async fn {}`", sig.ident)
    }
}

/// Where `impl Trait` stands in a type.
fn find_impl_trait(ty: &Type) -> Option<Span> {
    fn walk(tokens: TokenStream) -> Option<Span> {
        tokens.into_iter().find_map(|token| match token {
            proc_macro2::TokenTree::Ident(ident) if ident == "impl" => Some(ident.span()),
            proc_macro2::TokenTree::Group(group) => walk(group.stream()),
            _ => None,
        })
    }
    walk(ty.to_token_stream())
}

fn expand(mut function: ImplItemFn, node: &Expr, attr: &MemoizeAttr) -> TokenStream {
    let cacheme = match &attr.cacheme {
        Some(cacheme) => {
            quote!(::core::option::Option::Some(#cacheme))
        }
        None => quote!(::core::option::Option::None),
    };
    let ReturnType::Type(_, output) = &function.sig.output else {
        unreachable!("checked to return something")
    };
    let body = in_our_braces(&function.block);
    // What stands in an async block is not told its type. The `return` that is never reached tells it.
    let load = quote_spanned! {Span::mixed_site().located_at(body.span())=>
        move || async move {
            if let ::core::option::Option::Some(output) = ::core::option::Option::<#output>::None {
                return output;
            }
            #body
        }
    };
    // A type that the node does not cache is told of where the function names it.
    let at = Span::mixed_site().located_at(output.span());
    let private = ModPath::private(attr.krate.as_ref(), at);
    // An expression that is no node is told of where it is.
    let node = quote_spanned!(Span::mixed_site().located_at(node.span())=> #private::node(#node));
    // Found for the type of the error where that is known, which is here.
    let call = quote_spanned! {at=>
        {
            let node = #node;
            let sharing = {
                #[allow(unused_imports)]
                use #private::{NotShared as _, SharedBySource as _, TextByDebug as _, TextByDisplay as _};
                #private::outcome_of::<_, #output>(&node)
                    .sharing()
                    .with_text(|outcome: &#output| #private::ErrorText(outcome).text())
            };
            match #private::look(#cacheme, &node) {
                #private::Looked::Hit(value) => sharing.hit(value),
                #private::Looked::Missed(missed) => missed.load(node, #load, sharing, |_| false).await,
            }
        }
    };
    function.block = parse_quote!(#call);
    function.into_token_stream()
}

/// A block whose statements are the user's and whose braces are ours.
///
/// Braces of the user's around a single expression would be `unused_braces` where they end up.
fn in_our_braces(block: &Block) -> Group {
    let mut statements = TokenStream::new();
    statements.append_all(&block.stmts);
    let mut braced = Group::new(Delimiter::Brace, statements);
    braced.set_span(Span::mixed_site().located_at(block.span()));
    braced
}
