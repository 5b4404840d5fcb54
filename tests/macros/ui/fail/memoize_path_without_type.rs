use cacheme::memoize;

struct User {
    id: u64,
}

#[memoize(key = "user:{user.id}", ttl = "30s")]
async fn name(user: &User) -> u64 {
    user.id
}

#[memoize(key = "user:{id: u64}", ttl = "30s")]
async fn other(id: u64) -> u64 {
    id
}

fn main() {}
