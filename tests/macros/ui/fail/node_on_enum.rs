use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "shape", value = u64)]
enum ShapeNode {
    Round,
    Square(u64),
}

fn main() {}
