//! Type parameters, const parameters, lifetimes and where clauses.

use std::marker::PhantomData;

use cacheme::{BoxError, KeyPart, Load, LoadContext, Node};

trait Table: Clone + Send + Sync + 'static {
    type Row: Clone + Send + Sync + 'static;
    const ROW: Self::Row;
}

#[derive(Clone)]
struct Users;

impl Table for Users {
    type Row = String;
    const ROW: String = String::new();
}

#[derive(Node, Clone)]
#[node(key = "row:{T}:{id}", value = T::Row, load = load_row)]
struct RowNode<T>
where
    T: Table,
{
    id: u64,
    table: PhantomData<T>,
}

async fn load_row<T: Table>(_: &RowNode<T>, _: &mut LoadContext<RowNode<T>>) -> Result<T::Row, BoxError>
where
    RowNode<T>: Node<Value = T::Row>,
{
    Ok(T::ROW)
}

#[derive(Node, Clone)]
#[node(value = Vec<V>, load = load_page::<K, V, SIZE>)]
struct PageNode<K, V, const SIZE: usize> {
    from: K,
    of: PhantomData<V>,
}

async fn load_page<K, V, const SIZE: usize>(
    _: &PageNode<K, V, SIZE>,
    _: &mut LoadContext<PageNode<K, V, SIZE>>,
) -> Result<Vec<V>, BoxError> {
    Ok(Vec::new())
}

#[derive(Node, Clone)]
#[node(key = "item:{0}", value = u8)]
struct ItemNode<T>(T)
where
    T: Clone;

#[derive(Node, Clone)]
#[node(key = "bytes:{bytes}", value = &'a str, serializer = none)]
struct BytesNode<'a: 'static, const N: usize> {
    bytes: &'a [u8; N],
}

#[derive(Node, Clone)]
#[node(key = "name:{0}", value = u8)]
struct NameNode<'a: 'static>(&'a str);

#[derive(Clone, KeyPart)]
struct Filter<'a, T: Clone, const N: usize> {
    name: &'a str,
    tags: [T; N],
}

fn needs_load<N: Load>(_: &N) {}

fn main() {
    let row = RowNode::<Users> {
        id: 1,
        table: PhantomData,
    };
    assert_eq!(row.key(), format!("row:{}%3A%3AUsers:1", module_path!()));
    needs_load(&row);
    assert_eq!(row.policy().info().name, std::any::type_name::<RowNode<Users>>());
    assert_eq!(ItemNode("a").key(), "item:a");
    let page = PageNode::<u8, bool, 20> {
        from: 3,
        of: PhantomData,
    };
    assert_eq!(page.key(), "PageNode:u8:bool:20:3");
    assert_eq!(page.policy().info().key, "PageNode:u8:bool:20:{from}");
    needs_load(&page);
    assert_eq!(BytesNode { bytes: b"ab" }.key(), "bytes:(97,98,)");
    assert_eq!(NameNode("ann").key(), "name:ann");
    let mut key = cacheme::KeyWriter::new();
    key.part(&Filter {
        name: "x",
        tags: [1, 2],
    });
    assert_eq!(key.as_str(), "(x,(1,2,))");
}
