//! C4: different nodes of one kind never have the same key, whatever stands in their fields.

use cacheme::{KeyPart, Node};
use proptest::prelude::*;

/// Mostly short text of the characters that escaping is about, so that two of them are often nearly the same.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a~,:]{0,1}", 2 => "[a~%,():/]{0,2}", 1 => any::<String>()]
}

#[derive(Node, Clone, Debug, PartialEq)]
#[node(key = "{a}:{b}/{c}", value = ())]
struct TextNode {
    a: String,
    b: String,
    c: Option<String>,
}

fn text_node() -> impl Strategy<Value = TextNode> {
    (text(), text(), proptest::option::of(text())).prop_map(|(a, b, c)| TextNode { a, b, c })
}

#[derive(KeyPart, Clone, Debug, PartialEq)]
enum Filter {
    All,
    Nothing(),
    Tag(String),
    Owner(String),
    Pair { from: String, to: Option<Box<Filter>> },
}

fn flat_filter() -> impl Strategy<Value = Filter> {
    prop_oneof![
        Just(Filter::All),
        Just(Filter::Nothing()),
        text().prop_map(Filter::Tag),
        text().prop_map(Filter::Owner),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    let pair = (text(), proptest::option::of(flat_filter().prop_map(Box::new)));
    prop_oneof![4 => flat_filter(), 1 => pair.prop_map(|(from, to)| Filter::Pair { from, to })]
}

#[derive(Node, Clone, Debug, PartialEq)]
#[node(value = ())]
struct FilterNode(Filter);

#[derive(KeyPart, Clone, Debug, PartialEq)]
struct Wrapped<T>(T);

#[derive(KeyPart, Clone, Debug, PartialEq)]
struct Both {
    name: String,
    filter: Filter,
}

#[derive(Node, Clone, Debug, PartialEq)]
#[node(value = ())]
struct NestedNode(Filter, Vec<Wrapped<Option<String>>>, Both);

fn nested_node() -> impl Strategy<Value = NestedNode> {
    let both = (text(), filter()).prop_map(|(name, filter)| Both { name, filter });
    let list = proptest::collection::vec(proptest::option::of(text()).prop_map(Wrapped), 0..3);
    (filter(), list, both).prop_map(|(filter, list, both)| NestedNode(filter, list, both))
}

/// Displays what separates fields.
#[derive(Clone, Debug, PartialEq)]
struct Displayed(String);

impl std::fmt::Display for Displayed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Node, Clone, Debug, PartialEq)]
#[node(key = "a{0:display}b|c{1}-#-{2.0}", value = ())]
struct MixedNode(Displayed, i8, (bool,));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn c4_text_fields_never_meet(a in text_node(), b in text_node()) {
        prop_assert_eq!(a == b, a.key() == b.key(), "{} and {}", a.key(), b.key());
    }

    #[test]
    fn c4_text_that_moves_over_a_separator_never_meets(text in "[ab:/]{0,6}", one in 0_usize..7, other in 0_usize..7) {
        let node = |at: usize| {
            let (a, b) = text.split_at(at.min(text.len()));
            TextNode { a: a.into(), b: b.into(), c: None }
        };
        let (a, b) = (node(one), node(other));
        prop_assert_eq!(a == b, a.key() == b.key(), "{} and {}", a.key(), b.key());
    }

    #[test]
    fn c4_variants_never_meet(a in filter(), b in filter()) {
        let (a, b) = (FilterNode(a), FilterNode(b));
        prop_assert_eq!(a == b, a.key() == b.key(), "{} and {}", a.key(), b.key());
    }

    #[test]
    fn c4_nested_fields_never_meet(a in nested_node(), b in nested_node()) {
        prop_assert_eq!(a == b, a.key() == b.key(), "{} and {}", a.key(), b.key());
    }

    #[test]
    fn c4_displayed_fields_never_meet(a in (text(), any::<i8>(), any::<bool>()), b in (text(), any::<i8>(), any::<bool>())) {
        let node = |(text, number, flag): (String, i8, bool)| MixedNode(Displayed(text), number, (flag,));
        let (a, b) = (node(a), node(b));
        prop_assert_eq!(a == b, a.key() == b.key(), "{} and {}", a.key(), b.key());
    }
}
