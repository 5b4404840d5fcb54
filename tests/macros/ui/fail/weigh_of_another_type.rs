use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "user:{id}", value = String, weigh = size)]
struct UserNode {
    id: u64,
}

fn size(bytes: &Vec<u8>) -> u32 {
    bytes.len() as u32
}

fn main() {}
