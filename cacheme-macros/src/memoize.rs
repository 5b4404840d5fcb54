//! What `#[memoize]` turns into.

use proc_macro2::{Delimiter, Group, Span, TokenStream};
use quote::{ToTokens as _, TokenStreamExt as _, quote, quote_spanned};
use syn::parse::{ParseStream, Parser as _};
use syn::spanned::Spanned as _;
use syn::{Block, Expr, Ident, ImplItemFn, ReturnType, Safety, Signature, TraitItemFn, Type, parse_quote};

use crate::arguments::argument;
use crate::attr::{ModPath, NodeAttr, plain};
use crate::mistakes::Mistakes;
use crate::settings::{parse_once, parse_settings};
use crate::time::Time;

mod keyed;

#[derive(Default)]
struct MemoizeAttr {
    node: Option<Expr>,
    cacheme: Option<Expr>,
    name: Option<Ident>,
    ttl: Option<Time>,
    unless: Option<Expr>,
    when: Option<Expr>,
    /// The policy of a node that is made here.
    policy: NodeAttr,
}

const KEYS: &[&str] = &[
    "node",
    "cacheme",
    "name",
    "ttl",
    "unless",
    "when",
    "key",
    "tier",
    "value",
    "version",
    "serializer",
    "load_timeout",
    "lease",
    "negative_ttl",
    "ttl_jitter",
    "doorkeeper",
    "weigh",
    "crate",
];

/// The keys that go with `node`; the others are in the node.
const BESIDE_NODE: &[&str] = &["node", "cacheme", "unless", "when", "crate"];

pub(crate) fn memoize(attr: TokenStream, item: TokenStream) -> TokenStream {
    let mut mistakes = Mistakes::default();
    let attr = parse_attr(attr, &mut mistakes);
    let function = mistakes.note(parse_function(item.clone(), "memoize"));
    if let Some(function) = &function {
        check(&function.sig, &mut mistakes);
        check_attr(&attr, &function.sig, &mut mistakes);
    }
    let expanded = function
        .filter(|_| mistakes.is_empty())
        .and_then(|function| match &attr.node {
            Some(node) => Some(expand(function, node, &attr)),
            None => keyed::expand(function, attr, &mut mistakes),
        });
    expanded.unwrap_or_else(|| {
        let errors = mistakes.to_compile_errors();
        quote!(#errors #item)
    })
}

fn parse_attr(tokens: TokenStream, mistakes: &mut Mistakes) -> MemoizeAttr {
    let mut attr = MemoizeAttr::default();
    let parse = |input: ParseStream<'_>| {
        Ok(parse_settings(
            input,
            KEYS,
            mistakes,
            |name, input, mistakes| match name.to_string().as_str() {
                "node" => parse_once(name, input, &mut attr.node),
                "cacheme" => parse_once(name, input, &mut attr.cacheme),
                "name" => parse_once(name, input, &mut attr.name),
                "ttl" => parse_once(name, input, &mut attr.ttl),
                "unless" => parse_once(name, input, &mut attr.unless),
                "when" => parse_once(name, input, &mut attr.when),
                _ => attr.policy.set(name, input, mistakes),
            },
        ))
    };
    let named = parse.parse2(tokens);
    attr.policy.named = mistakes.note(named).unwrap_or_default();
    attr
}

/// Refuses keys that do not go together.
fn check_attr(attr: &MemoizeAttr, sig: &Signature, mistakes: &mut Mistakes) {
    let names = |key| attr.policy.names(key);
    if names("node") {
        let node = attr
            .node
            .as_ref()
            .map_or(Span::call_site(), syn::spanned::Spanned::span);
        for key in attr.policy.named.iter().filter(|key| !BESIDE_NODE.contains(key)) {
            mistakes.at(
                node,
                format!("`{key}` is part of the node: write it in the `#[node(…)]` of its type, or `key` instead of `node`"),
            );
        }
        return;
    }
    if !names("key") {
        let arguments = sig.inputs.iter().filter_map(argument);
        let fields: String = arguments
            .map(|(name, _)| format!(":{{{}}}", plain(name)))
            .collect();
        let name = plain(&sig.ident);
        mistakes.at(
            Span::call_site(),
            format!(
                "what is this cached under? Write `#[memoize(key = \"{name}{fields}\", ttl = \"30s\")]` with the arguments that the value depends on, or `#[memoize(node = …)]`"
            ),
        );
    } else if names("ttl") && names("tier") {
        mistakes.at(
            Span::call_site(),
            "`ttl` is for a function that is cached in memory: write it inside of each `tier(storage = \"…\", ttl = \"…\")`",
        );
    } else if !names("ttl") && !names("tier") {
        mistakes.at(
            Span::call_site(),
            "how long is this cached? Write `ttl = \"30s\"` for a cache in memory, or `tier(storage = \"…\", ttl = \"…\")`",
        );
    }
    if let Some(ttl) = &attr.ttl {
        ttl.refuse_zero(mistakes, "write how long values live");
    }
}

/// A function of any place that has a body: free, in an impl block, or a trait's default.
pub(crate) fn parse_function(item: TokenStream, attribute: &str) -> syn::Result<ImplItemFn> {
    syn::parse2(item.clone()).map_err(|_| match syn::parse2::<TraitItemFn>(item.clone()) {
        Ok(TraitItemFn {
            default: None,
            sig,
            semi_token,
            ..
        }) => {
            let place = semi_token.map_or(sig.ident.span(), |semi| semi.span());
            syn::Error::new(
                place,
                format!(
                    "there is no body to run: put `#[{attribute}]` on the method in each `impl` of the trait"
                ),
            )
        }
        _ => syn::Error::new_spanned(
            first_line(item),
            format!("`#[{attribute}]` goes on an `async fn`"),
        ),
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

/// A function whose node the user makes.
fn expand(mut function: ImplItemFn, node: &Expr, attr: &MemoizeAttr) -> TokenStream {
    let call = Call::new(&function, attr);
    let (private, cacheme) = (&call.private, &call.cacheme);
    // An expression that is no node is told of where it is.
    let node = quote_spanned!(Span::mixed_site().located_at(node.span())=> #private::node(#node));
    let (var, sharing, output) = (call.var("node"), call.var("sharing"), call.output);
    let body = call.body(
        &call.sharing(quote!(#private::outcome_of::<_, #output>(&#var))),
        quote!(#private::look(#cacheme, &#var, #sharing)),
        var.to_token_stream(),
        call.load_block(),
    );
    function.block = parse_quote!({ let #var = #node; #body });
    function.into_token_stream()
}

/// What the bodies of all memoized functions have in common.
struct Call<'a> {
    attr: &'a MemoizeAttr,
    output: &'a Type,
    block: &'a Block,
    private: TokenStream,
    /// The instance, if the user names one.
    cacheme: TokenStream,
    /// Where the function names its output: a type that the node does not cache is told of there.
    at: Span,
}

impl<'a> Call<'a> {
    fn new(function: &'a ImplItemFn, attr: &'a MemoizeAttr) -> Self {
        let ReturnType::Type(_, output) = &function.sig.output else {
            unreachable!("checked to return something")
        };
        let at = Span::mixed_site().located_at(output.span());
        let cacheme = match &attr.cacheme {
            Some(cacheme) => quote!(::core::option::Option::Some(#cacheme)),
            None => quote!(::core::option::Option::None),
        };
        Self {
            attr,
            output,
            block: &function.block,
            private: ModPath::private(attr.policy.krate.as_ref(), at),
            cacheme,
            at,
        }
    }

    /// A variable that the user's code does not see.
    fn var(&self, name: &str) -> Ident {
        Ident::new(name, self.at)
    }

    /// A loader that is the user's block.
    fn load_block(&self) -> TokenStream {
        let (output, block) = (self.output, in_our_braces(self.block));
        // What stands in an async block is not told its type. The `return` that is never reached tells it.
        quote_spanned! {Span::mixed_site().located_at(block.span())=>
            move || async move {
                if let ::core::option::Option::Some(output) = ::core::option::Option::<#output>::None {
                    return output;
                }
                #block
            }
        }
    }

    /// How the outcome is shared. Found for the type of the error where that is known, which is here.
    fn sharing(&self, outcome: TokenStream) -> TokenStream {
        let (private, output) = (&self.private, self.output);
        quote_spanned! {self.at=>
            {
                #[allow(unused_imports)]
                use #private::{NotShared as _, SharedBySource as _, TextByDebug as _, TextByDisplay as _};
                #outcome
                    .sharing()
                    .with_text(|outcome: &#output| #private::ErrorText(outcome).text())
            }
        }
    }

    /// The body: `sharing` says how the outcome is shared, `look` looks for the value; if it is not there, `node` is made and `load` runs.
    fn body(
        &self,
        sharing: &TokenStream,
        look: TokenStream,
        node: TokenStream,
        load: TokenStream,
    ) -> TokenStream {
        let private = &self.private;
        let look = match &self.attr.when {
            Some(when) => quote!(if #when { #look } else { #private::Looked::without_cache() }),
            None => look,
        };
        let unless = match &self.attr.unless {
            Some(unless) => quote!(#unless),
            None => quote!(|_| false),
        };
        quote_spanned! {self.at=>
            let sharing = #sharing;
            let missed = match #look {
                #private::Looked::Hit(outcome) => return outcome,
                #private::Looked::Missed(missed) => missed,
            };
            missed.load(&#node, #load, sharing, #unless).await
        }
    }
}

/// A block whose statements are the user's and whose braces are ours.
///
/// Braces of the user's around a single expression would be `unused_braces` where they end up.
pub(crate) fn in_our_braces(block: &Block) -> Group {
    let mut statements = TokenStream::new();
    statements.append_all(&block.stmts);
    let mut braced = Group::new(Delimiter::Brace, statements);
    braced.set_span(Span::mixed_site().located_at(block.span()));
    braced
}
