use cacheme::memoize;

struct Part<'a>(&'a str);

#[memoize(key = "part:{part}", ttl = "30s")]
async fn of_part(part: Part<'_>) -> u64 {
    part.0.len() as u64
}

#[memoize(key = "text:{text}", ttl = "30s")]
async fn of_text(text: impl AsRef<str>) -> u64 {
    text.as_ref().len() as u64
}

#[memoize(key = "share:{share}", ttl = "30s")]
async fn of_share(share: f64) -> u64 {
    share as u64
}

fn main() {}
