use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "user:{id}", value = String, doorkeeper = 0)]
struct UserNode {
    id: i64,
}

#[derive(Node, Clone)]
#[node(key = "team:{id}", value = String, doorkeeper = true)]
struct TeamNode {
    id: i64,
}

fn main() {}
