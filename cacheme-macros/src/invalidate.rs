//! What `#[invalidate]` turns into.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::parse::Parser as _;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned as _;
use syn::{Expr, Ident, ImplItemFn, LitBool, Path, ReturnType, Token, Type, parse_quote};

use crate::attr::ModPath;
use crate::memoize::{in_our_braces, parse_function};
use crate::mistakes::Mistakes;

#[derive(Default)]
struct InvalidateAttr {
    nodes: Vec<Expr>,
    /// Closures that make a node of what the function returned.
    after: Vec<Expr>,
    on_error: bool,
    cacheme: Option<Expr>,
    krate: Option<ModPath>,
}

const EXAMPLE: &str =
    "write the nodes that the function changes: `#[invalidate(UserNode { id }, CountNode)]`";

pub(crate) fn invalidate(attr: TokenStream, item: TokenStream) -> TokenStream {
    let mut mistakes = Mistakes::default();
    let attr = parse_attr(attr, &mut mistakes);
    let function = mistakes.note(parse_function(item.clone(), "invalidate"));
    if let Some(function) = &function
        && function.sig.asyncness.is_none()
    {
        mistakes.on(
            function.sig.fn_token,
            format!(
                "`#[invalidate]` needs an `async fn`, since it waits for the storages: write `async fn {}`",
                function.sig.ident
            ),
        );
    }
    match function {
        Some(function) if mistakes.is_empty() => expand(function, &attr),
        _ => {
            let errors = mistakes.to_compile_errors();
            quote!(#errors #item)
        }
    }
}

fn parse_attr(tokens: TokenStream, mistakes: &mut Mistakes) -> InvalidateAttr {
    let mut attr = InvalidateAttr::default();
    // `crate` is no expression.
    let parse = |input: syn::parse::ParseStream<'_>| {
        let mut exprs = Punctuated::<Expr, Token![,]>::new();
        while !input.is_empty() {
            if input.peek(Token![crate]) && input.peek2(Token![=]) {
                input.parse::<Token![crate]>()?;
                input.parse::<Token![=]>()?;
                attr.krate = Some(input.parse()?);
            } else {
                exprs.push_value(input.parse()?);
            }
            if !input.is_empty() {
                let comma = input.parse()?;
                if !exprs.empty_or_trailing() {
                    exprs.push_punct(comma);
                }
            }
        }
        Ok(exprs)
    };
    let Some(exprs) = mistakes.note(parse.parse2(tokens)) else {
        return attr;
    };
    for expr in exprs {
        match expr {
            Expr::Assign(assign) => match word(&assign.left).as_deref() {
                Some("on_error") => {
                    let value: Option<LitBool> = syn::parse2(assign.right.to_token_stream()).ok();
                    match value {
                        Some(value) => attr.on_error = value.value,
                        None => mistakes.on(
                            assign.right,
                            "write `on_error = true` to invalidate after an `Err` as well",
                        ),
                    }
                }
                Some("cacheme") => attr.cacheme = Some(*assign.right),
                _ => mistakes.on(
                    &assign.left,
                    "unknown key (there are `after`, `on_error`, `cacheme` and `crate`)",
                ),
            },
            Expr::Call(call) if word(&call.func).as_deref() == Some("after") => attr.after.extend(call.args),
            node => attr.nodes.push(node),
        }
    }
    if attr.nodes.is_empty() && attr.after.is_empty() && mistakes.is_empty() {
        mistakes.at(Span::call_site(), EXAMPLE);
    }
    attr
}

/// An expression that is one word.
fn word(expr: &Expr) -> Option<String> {
    let path: Path = syn::parse2(expr.to_token_stream()).ok()?;
    path.get_ident().map(ToString::to_string)
}

fn expand(mut function: ImplItemFn, attr: &InvalidateAttr) -> TokenStream {
    let private = ModPath::private(attr.krate.as_ref(), Span::call_site());
    let (changes, outcome, value) = (var("changes"), var("outcome"), var("value"));
    let cacheme = match &attr.cacheme {
        Some(cacheme) => quote!(::core::option::Option::Some(#cacheme)),
        None => quote!(::core::option::Option::None),
    };
    let nodes = attr.nodes.iter().map(|node| {
        // An expression that is no node is told of where it is.
        quote_spanned!(Span::mixed_site().located_at(node.span())=> #changes.add(&#node);)
    });
    let after = attr.after.iter().map(|after| {
        quote_spanned!(Span::mixed_site().located_at(after.span())=> #changes.add(&#private::after(#value, #after));)
    });
    let unit: Type = parse_quote!(());
    let output = match &function.sig.output {
        ReturnType::Default => &unit,
        ReturnType::Type(_, output) => output,
    };
    let block = in_our_braces(&function.block);
    let failed = if attr.on_error {
        quote!(#changes.send().await)
    } else {
        quote!(#changes.discard())
    };
    let body = quote! {{
        let mut #changes = #private::changes_of_body(#cacheme);
        #(#nodes)*
        // What stands in an async block is not told its type. The `return` that is never reached tells it.
        let #outcome = async move {
            if let ::core::option::Option::Some(output) = ::core::option::Option::<#output>::None {
                return output;
            }
            #block
        }
        .await;
        #[allow(unused_imports)]
        use #private::ReturnedValue as _;
        #[allow(unused_variables)]
        match #private::Returned(&#outcome).value() {
            ::core::option::Option::Some(#value) => {
                #(#after)*
                #changes.send().await
            }
            ::core::option::Option::None => #failed,
        }
        #outcome
    }};
    function.block = parse_quote!(#body);
    function.into_token_stream()
}

/// A variable that the user's code does not see.
fn var(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}
