use cacheme::{KeyPart, Node};

#[derive(Node, Clone)]
#[node(key = "at:{x}:{ways}:{y:display}", value = u64)]
struct UserNode {
    x: f64,
    ways: Vec<(u8, f32)>,
    y: f64,
}

#[derive(KeyPart, Clone)]
struct Place {
    x: Option<f32>,
}

fn main() {}
