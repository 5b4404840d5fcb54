use cacheme::{Error, LoadContext, Node, memoize};

#[derive(Node, Clone)]
#[node(key = "user:{name}", value = User, serializer = none, load = load_user)]
struct UserNode {
    id: u64,
}

#[derive(Clone)]
struct User;

async fn load_user(_: &UserNode, _: &mut LoadContext<UserNode>) -> Result<User, Error> {
    Ok(User)
}

async fn right(node: UserNode) -> Result<User, Error> {
    cacheme::set(&node, User).await?;
    cacheme::refresh(&node).await?;
    cacheme::invalidate(&node).await?;
    cacheme::clear::<UserNode>().await?;
    cacheme::stats::<UserNode>();
    cacheme::get_all(std::slice::from_ref(&node)).await?;
    let _ = node.full_key();
    cacheme::get(&node).await
}

#[memoize(node = UserNode { id })]
async fn user(id: u64) -> User {
    User
}

fn main() {}
