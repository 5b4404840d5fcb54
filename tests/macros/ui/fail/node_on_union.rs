use cacheme::Node;

#[derive(Node, Clone, Copy)]
#[node(key = "bits", value = u64)]
union BitsNode {
    int: u32,
    float: f32,
}

fn main() {}
