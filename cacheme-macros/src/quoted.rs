//! Types and paths that stand in quotes, as other macros want them, and what else people write where a path belongs.

use syn::parse::ParseStream;
use syn::{Expr, ExprLit, Ident, Lit, LitStr, Token};

/// What the value of a key is: the type of something, or the path of a function with its shape.
enum Bare {
    Type,
    Path(&'static str),
}

impl Bare {
    fn of(key: &Ident) -> Option<Self> {
        Some(match key.to_string().as_str() {
            "value" | "serializer" => Self::Type,
            "load" => Self::Path("async fn(&Node, &mut LoadContext<Node>) -> Result<Value, E>"),
            "load_all" => {
                Self::Path("async fn(&[Node], &mut LoadContext<Node>) -> Result<Vec<(Node, Value)>, E>")
            }
            "weigh" => Self::Path("fn(&Value) -> u32"),
            _ => return None,
        })
    }
}

/// Refuses a type or a path in quotes, and an expression where the path of a function belongs.
pub(crate) fn refuse_quoted(key: &Ident, input: ParseStream<'_>) -> syn::Result<()> {
    let Some(bare) = Bare::of(key) else { return Ok(()) };
    let ahead = input.fork();
    if ahead.parse::<Token![=]>().is_err() {
        return Ok(());
    }
    let wrong = match bare {
        Bare::Type => {
            let Ok(text) = ahead.parse::<LitStr>() else {
                return Ok(());
            };
            let meant = match text.value().as_str() {
                "json" => "cacheme::Json".to_owned(),
                "msgpack" => "cacheme::MsgPack".to_owned(),
                "bincode" => "cacheme::Bincode".to_owned(),
                other => other.to_owned(),
            };
            let message = format!("write the type without quotes: `{key} = {meant}`");
            syn::Error::new(text.span(), message)
        }
        Bare::Path(shape) => match ahead.parse::<Expr>() {
            Ok(Expr::Path(_)) | Err(_) => return Ok(()),
            Ok(Expr::Lit(ExprLit {
                lit: Lit::Str(text), ..
            })) => {
                let message = format!(
                    "write the path without quotes: `{key} = {}`, which is `{shape}`",
                    text.value()
                );
                syn::Error::new(text.span(), message)
            }
            Ok(other) => {
                let message = format!(
                    "`{key}` takes the path of a function: write `{shape}` beside the node, and its name here"
                );
                syn::Error::new_spanned(other, message)
            }
        },
    };
    Err(wrong)
}
