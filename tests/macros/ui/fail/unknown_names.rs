use cacheme::{LoadContext, Node};

#[derive(Node, Clone)]
#[node(value = Usr, serializer = none, load = load_usr, tier(storage = NEAR, ttl = SHORT))]
struct UserNode {
    id: u64,
}

#[derive(Clone)]
struct User;

async fn load_user(_: &UserNode, _: &mut LoadContext<UserNode>) -> Result<User, String> {
    Ok(User)
}

fn main() {}
