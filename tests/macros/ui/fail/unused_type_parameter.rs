use std::marker::PhantomData;

use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "row:{id}", value = u64)]
struct RowNode<T> {
    id: u64,
    table: PhantomData<T>,
}

fn main() {}
