use cacheme::{Cacheme, Error, Node};

#[derive(Node, Clone)]
#[node(value = u64)]
struct UserNode {
    id: u64,
}

async fn get() {
    let _ = cacheme::get(&UserNode { id: 1 }).await;
}

async fn get_from(cacheme: Cacheme) -> Result<u64, Error> {
    let user = UserNode { id: 1 };
    let id = cacheme.get(&user).await?;
    Ok(id + 1)
}

fn main() {}
