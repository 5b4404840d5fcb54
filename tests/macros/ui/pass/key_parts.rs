//! Structs and enums inside keys.

use std::marker::PhantomData;

use cacheme::{KeyPart, KeyWriter, Node};

#[derive(KeyPart)]
struct Point {
    x: i32,
    y: i32,
}

#[derive(KeyPart)]
struct Wrapper<T>(T);

#[derive(KeyPart)]
struct Empty;

/// A node whose key is part of another key.
#[derive(Node, KeyPart, Clone)]
#[node(key = "user:{id}", value = u8)]
struct UserNode {
    id: u64,
    #[node(skip)]
    #[key_part(skip)]
    trace: u8,
}

#[derive(KeyPart)]
struct Tagged<T>(u8, PhantomData<T>);

#[derive(KeyPart)]
enum Filter<'a, T> {
    All,
    Nothing(),
    Owner(u64),
    Between { from: T, to: &'a str },
    r#Type,
}

#[derive(KeyPart)]
enum Never {}

fn written(part: &impl KeyPart) -> String {
    let mut key = KeyWriter::new();
    key.part(part);
    key.as_str().to_owned()
}

fn main() {
    let texts = [
        written(&Point { x: 1, y: -1 }),
        written(&Wrapper("a b")),
        written(&Wrapper(Some(Wrapper(3)))),
        written(&Empty),
        written(&Tagged::<u8>(1, PhantomData)),
        written(&UserNode { id: 7, trace: 1 }),
        written(&Filter::<u8>::All),
        written(&Filter::<u8>::Nothing()),
        written(&Filter::<u8>::Owner(1)),
        written(&Filter::Between { from: 1, to: "x" }),
        written(&Filter::<u8>::r#Type),
    ];
    let expected = [
        "(1,-1)",
        "a%20b",
        "3",
        "()",
        "1",
        "7",
        "All",
        "(Nothing)",
        "(Owner,1)",
        "(Between,1,x)",
        "Type",
    ];
    assert_eq!(texts, expected);
    assert_eq!(UserNode { id: 7, trace: 1 }.key(), "user:7");
    let _: Option<Never> = None;
}
