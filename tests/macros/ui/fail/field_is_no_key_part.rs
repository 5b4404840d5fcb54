use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "at:{at}:{place.x}", value = u64)]
struct UserNode {
    at: At,
    place: Place,
}

#[derive(Clone)]
struct At;

#[derive(Clone)]
struct Place {
    x: f32,
}

fn main() {}
