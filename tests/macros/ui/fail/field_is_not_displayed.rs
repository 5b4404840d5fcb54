use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "at:{place:display}", value = u64)]
struct UserNode {
    place: Place,
}

#[derive(Clone)]
struct Place;

fn main() {}
