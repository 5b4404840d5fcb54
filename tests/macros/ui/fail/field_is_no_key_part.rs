use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "at:{at}:{place.x}", value = u64)]
struct UserNode {
    at: f64,
    place: Place,
}

#[derive(Clone)]
struct Place {
    x: f32,
}

fn main() {}
