use cacheme::memoize;

#[derive(Clone)]
struct UserNode {
    id: u64,
}

async fn memoized(id: u64) -> u64 {
    id
}

#[memoize(node = UserNode { id })]
async fn get(id: u64) -> u64 {
    memoized(id).await
}

fn main() {}
