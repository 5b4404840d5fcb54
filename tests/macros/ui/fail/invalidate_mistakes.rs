use cacheme::invalidate;

struct NoNode;

#[invalidate]
async fn nothing(id: u64) -> u64 {
    id
}

#[invalidate(NoNode)]
async fn no_node(id: u64) -> u64 {
    id
}

#[invalidate(NoNode, on_eror = true)]
async fn misspelt(id: u64) -> u64 {
    id
}

#[invalidate(NoNode)]
fn not_async(id: u64) -> u64 {
    id
}

fn main() {}
