//! Whether two templates can give one key.
//!
//! A template is a regular language: its literals, and between them the texts of its fields. Each becomes a finite automaton,
//! and a search through the pairs of their states finds a shortest key that both accept, or that there is none. (Hopcroft &
//! Ullman, "Introduction to Automata Theory", 1979, section 3.2: regular languages are closed under intersection.)

use std::collections::HashMap;

use super::form::{KeyForm, Text};
use super::{is_field_byte, is_plain};

/// The template of a key: fields in braces, and their forms in the same order. Those without one may be anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Template<'t> {
    pub(crate) key: &'t str,
    pub(crate) forms: &'t [KeyForm],
}

impl<'t> Template<'t> {
    /// The beginning of every key. A template without fields has no other part.
    pub(crate) fn head(self) -> &'t str {
        self.key.split_once('{').map_or(self.key, |(head, _)| head)
    }

    /// The end of every key.
    fn tail(self) -> &'t str {
        match self.key.rsplit_once('{') {
            None => self.key,
            Some((_, field)) => field.split_once('}').map_or("", |(_, tail)| tail),
        }
    }

    /// A shortest key that both can give, if there is one.
    pub(crate) fn meet(self, other: Template<'_>) -> Option<String> {
        let (one, two) = (self.tail(), other.tail());
        if !one.ends_with(two) && !two.ends_with(one) {
            return None;
        }
        Automaton::of(self).meet(&Automaton::of(other))
    }
}

/// Accepts the keys of a template. Its first state is 0.
struct Automaton {
    states: Vec<AutomatonState>,
    end: usize,
}

#[derive(Default)]
struct AutomatonState {
    steps: Vec<(Chars, usize)>,
    /// The states that follow without a character.
    free: Vec<usize>,
}

/// Characters.
#[derive(Clone, Copy)]
enum Chars {
    One(char),
    /// Those of ASCII whose bits are set, and perhaps all others.
    Set {
        ascii: u128,
        others: bool,
    },
}

/// A state of each of two automata.
type Pair = (usize, usize);

/// Pairs of states, with the pair that each was reached from and by which character.
type Reached = HashMap<Pair, (Pair, Option<char>)>;

impl Automaton {
    fn of(template: Template<'_>) -> Self {
        let mut automaton = Self {
            states: vec![AutomatonState::default()],
            end: 0,
        };
        let mut forms = template.forms.iter().copied();
        let mut rest = template.key;
        while let Some((literal, field)) = rest.split_once('{') {
            automaton.literal(literal);
            automaton.field(forms.next().unwrap_or(KeyForm::ANY));
            rest = field.split_once('}').map_or("", |(_, rest)| rest);
        }
        automaton.literal(rest);
        automaton
    }

    fn meet(&self, other: &Self) -> Option<String> {
        let (begin, end) = ((0, 0), (self.end, other.end));
        let mut reached = Reached::from([(begin, (begin, None))]);
        // The pairs reached by a number of characters, then by one more.
        let mut level = vec![begin];
        while !level.is_empty() {
            let mut at = 0;
            while let Some(&pair) = level.get(at) {
                let ours = self.states[pair.0].free.iter().map(|to| (*to, pair.1));
                let theirs = other.states[pair.1].free.iter().map(|to| (pair.0, *to));
                level.extend(
                    ours.chain(theirs)
                        .filter(|to| reach(&mut reached, *to, pair, None))
                        .collect::<Vec<_>>(),
                );
                at += 1;
            }
            if reached.contains_key(&end) {
                return Some(way(&reached, begin, end));
            }
            let mut next = Vec::new();
            for pair in level {
                for (ours, to) in &self.states[pair.0].steps {
                    for (theirs, also_to) in &other.states[pair.1].steps {
                        let (by, to) = (ours.common(*theirs), (*to, *also_to));
                        if by.is_some() && reach(&mut reached, to, pair, by) {
                            next.push(to);
                        }
                    }
                }
            }
            level = next;
        }
        None
    }

    fn literal(&mut self, text: &str) {
        self.end = self.word(self.end, text);
    }

    fn field(&mut self, form: KeyForm) {
        let start = self.end;
        let end = self.state();
        for text in form.one_of {
            let last = self.text(start, *text);
            self.free(last, end);
        }
        if form.optional {
            let absent = self.state();
            self.step(start, Chars::One('~'), absent);
            self.step(absent, Chars::One('~'), absent);
            self.free(absent, end);
            for text in form.one_of {
                let last = self.text(absent, *text);
                self.free(last, end);
            }
        }
        self.end = end;
    }

    /// Adds a text. Returns the state after it.
    fn text(&mut self, from: usize, text: Text) -> usize {
        match text {
            Text::Word(word) => self.word(from, word),
            Text::Number => {
                let (signed, digits) = (self.state(), self.state());
                self.step(from, Chars::One('-'), signed);
                for before in [from, signed, digits] {
                    self.step(before, Chars::set("0123456789"), digits);
                }
                digits
            }
            Text::Escaped => {
                let (plain, percent, digit) = (self.state(), self.state(), self.state());
                self.free(from, plain);
                self.step(plain, Chars::all(is_plain), plain);
                self.step(plain, Chars::One('%'), percent);
                // Bytes beyond ASCII are not escaped.
                self.step(percent, Chars::set("01234567"), digit);
                self.step(digit, Chars::set("0123456789ABCDEF"), plain);
                plain
            }
            Text::Group => {
                let (inside, after) = (self.state(), self.state());
                self.step(from, Chars::One('('), inside);
                self.step(inside, Chars::field(), inside);
                self.step(inside, Chars::One(')'), after);
                after
            }
            Text::Any => {
                let any = self.state();
                self.free(from, any);
                self.step(any, Chars::field(), any);
                any
            }
        }
    }

    fn word(&mut self, from: usize, word: &str) -> usize {
        word.chars().fold(from, |from, char| {
            let to = self.state();
            self.step(from, Chars::One(char), to);
            to
        })
    }

    fn state(&mut self) -> usize {
        self.states.push(AutomatonState::default());
        self.states.len() - 1
    }

    fn step(&mut self, from: usize, by: Chars, to: usize) {
        self.states[from].steps.push((by, to));
    }

    fn free(&mut self, from: usize, to: usize) {
        self.states[from].free.push(to);
    }
}

/// Notes how a pair is reached. Returns whether it is reached for the first time.
fn reach(reached: &mut Reached, to: Pair, from: Pair, by: Option<char>) -> bool {
    let first = !reached.contains_key(&to);
    if first {
        reached.insert(to, (from, by));
    }
    first
}

/// The characters on the way from one pair to another.
fn way(reached: &Reached, begin: Pair, end: Pair) -> String {
    let mut at = end;
    let mut backwards = Vec::new();
    while at != begin {
        let (from, by) = reached[&at];
        backwards.extend(by);
        at = from;
    }
    backwards.into_iter().rev().collect()
}

impl Chars {
    fn set(chars: &str) -> Self {
        Self::all(|byte| chars.as_bytes().contains(&byte))
    }

    /// The characters of ASCII that are `among`, and all others if its other bytes are.
    fn all(among: impl Fn(u8) -> bool) -> Self {
        let bit = |byte: u8| u128::from(among(byte)) << byte;
        Self::Set {
            ascii: (0..0x80).map(bit).fold(0, |all, bit| all | bit),
            others: among(0x80),
        }
    }

    /// The characters that a field may hold.
    fn field() -> Self {
        Self::all(is_field_byte)
    }

    /// A character that is in both, a readable one if there is a choice.
    fn common(self, other: Self) -> Option<char> {
        match (self, other) {
            (Self::One(one), other) | (other, Self::One(one)) => other.has(one).then_some(one),
            (
                Self::Set { ascii, others },
                Self::Set {
                    ascii: also,
                    others: all,
                },
            ) => {
                let both = ascii & also;
                let readable = b"a1".iter().copied().find(|byte| both >> byte & 1 == 1);
                let any = || (both != 0).then(|| both.trailing_zeros() as u8);
                let beyond = (others && all).then_some('é');
                readable.or_else(any).map(char::from).or(beyond)
            }
        }
    }

    fn has(self, char: char) -> bool {
        match self {
            Self::One(one) => one == char,
            Self::Set { ascii, .. } if char.is_ascii() => ascii >> (char as u32) & 1 == 1,
            Self::Set { others, .. } => others,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::node::key::KeyPart;

    const OPTIONAL_NUMBER: KeyForm = <Option<u64> as KeyPart>::FORM;
    const FLAG: KeyForm = <bool as KeyPart>::FORM;

    #[test]
    fn c4_templates_that_can_give_one_key_are_distinguished_from_those_that_cannot() {
        let (text, number, group, any) = (KeyForm::ESCAPED, KeyForm::NUMBER, KeyForm::GROUP, KeyForm::ANY);
        for (one, forms, other, their_forms, meet) in [
            (
                "post:{slug}",
                vec![text],
                "post:latest",
                vec![],
                Some("post:latest"),
            ),
            ("post:{id}", vec![number], "post:latest", vec![], None),
            ("post:{id}", vec![number], "post:12", vec![], Some("post:12")),
            (
                "post:{id}",
                vec![number],
                "post:{slug}",
                vec![text],
                Some("post:1"),
            ),
            ("post:{}", vec![], "post:{}", vec![], Some("post:")),
            ("post:{}", vec![text], "posts:{}", vec![text], None),
            ("post:{}", vec![text], "post", vec![], None),
            ("a:{x}:{y}", vec![text; 2], "a:{x}", vec![text], None),
            ("a:{x}:{y}", vec![text; 2], "a:b:{z}", vec![text], Some("a:b:")),
            ("a:{x}:c", vec![text], "a:b:{z}", vec![text], Some("a:b:c")),
            ("a:{x}:c", vec![text], "a:b:{z}", vec![number], None),
            ("{x}", vec![text], "{x}:{y}", vec![text; 2], None),
            ("{x}{y}", vec![], "{z}", vec![], Some("")),
            ("{x}{y}", vec![number; 2], "{z}", vec![number], Some("11")),
            ("{x}b{y}", vec![number; 2], "{z}", vec![text], Some("1b1")),
            ("a:{x}", vec![text], "a:50%", vec![], None),
            ("a:{x}", vec![text], "a:50%25", vec![], Some("a:50%25")),
            ("a:{x}", vec![text], "a:(all)", vec![], None),
            ("a:{x}", vec![group], "a:(all)", vec![], Some("a:(all)")),
            ("a:{x}", vec![any], "a:(all)", vec![], Some("a:(all)")),
            ("a:{x}", vec![any], "a:b/c", vec![], None),
            ("a:{x}", vec![group], "a:{x}", vec![text], None),
            ("a:{x}", vec![FLAG], "a:true", vec![], Some("a:true")),
            ("a:{x}", vec![FLAG], "a:yes", vec![], None),
            ("a:{x}", vec![OPTIONAL_NUMBER], "a:~", vec![], Some("a:~")),
            ("a:{x}", vec![OPTIONAL_NUMBER], "a:{y}", vec![text], Some("a:1")),
            ("a:{x}", vec![OPTIONAL_NUMBER], "a:{y}", vec![FLAG], None),
            (
                "a:{x}",
                vec![FLAG.optional()],
                "a:{y}",
                vec![OPTIONAL_NUMBER],
                Some("a:~"),
            ),
            ("é:{x}", vec![text], "è:{x}", vec![text], None),
            ("é:{x}", vec![text], "{x}:ü", vec![text], Some("é:ü")),
            ("a:{x", vec![text], "a:b", vec![], Some("a:b")),
        ] {
            let (key, forms) = (one, &forms[..]);
            let one = Template { key, forms };
            let other = Template {
                key: other,
                forms: &their_forms,
            };
            let what = format!("{one:?} and {other:?}");
            assert_eq!(one.meet(other).as_deref(), meet, "{what}");
            let back = other.meet(one).map(|key| key.chars().count());
            assert_eq!(back, meet.map(|key| key.chars().count()), "{what}");
        }
    }

    /// All keys of at most so many characters over a few of them, found by trying each.
    fn keys(automaton: &Automaton, most: usize) -> BTreeSet<String> {
        let mut keys = vec![String::new()];
        let mut at = 0;
        while at < keys.len() {
            if keys[at].len() < most {
                for char in "a1:~(".chars() {
                    let longer = format!("{}{char}", keys[at]);
                    keys.push(longer);
                }
            }
            at += 1;
        }
        keys.into_iter().filter(|key| accepts(automaton, key)).collect()
    }

    fn accepts(automaton: &Automaton, key: &str) -> bool {
        let free = |mut states: Vec<usize>| {
            let mut at = 0;
            while let Some(state) = states.get(at) {
                let more = automaton.states[*state].free.iter();
                let more: Vec<_> = more.filter(|to| !states.contains(to)).copied().collect();
                states.extend(more);
                at += 1;
            }
            states
        };
        let mut states = free(vec![0]);
        for char in key.chars() {
            let steps = states.iter().flat_map(|state| &automaton.states[*state].steps);
            let to: BTreeSet<usize> = steps
                .filter(|(chars, _)| chars.has(char))
                .map(|(_, to)| *to)
                .collect();
            states = free(to.into_iter().collect());
        }
        states.contains(&automaton.end)
    }

    fn some_template() -> impl Strategy<Value = (String, Vec<KeyForm>)> {
        let form = prop_oneof![
            Just(KeyForm::ESCAPED),
            Just(KeyForm::NUMBER),
            Just(OPTIONAL_NUMBER),
            Just(KeyForm::one_of(&[Text::Word("a"), Text::Word("aa")])),
            Just(KeyForm::ANY),
        ];
        proptest::collection::vec(("[a1:~]{0,2}", proptest::option::of(form)), 0..4).prop_map(|pieces| {
            let mut key = String::new();
            let mut forms = Vec::new();
            for (literal, form) in pieces {
                key += &literal;
                if let Some(form) = form {
                    key += "{}";
                    forms.push(form);
                }
            }
            (key, forms)
        })
    }

    proptest! {
        #[test]
        fn c4_a_meeting_is_found_where_trying_every_key_finds_one(one in some_template(), other in some_template()) {
            let (one, other) = (Template { key: &one.0, forms: &one.1 }, Template { key: &other.0, forms: &other.1 });
            let meet = one.meet(other);
            let (one, other) = (Automaton::of(one), Automaton::of(other));
            let (ours, theirs) = (keys(&one, 5), keys(&other, 5));
            match meet {
                Some(key) => {
                    prop_assert!(accepts(&one, &key) && accepts(&other, &key), "{key}");
                    let shortest = ours.intersection(&theirs).map(String::len).min();
                    prop_assert!(shortest.is_none_or(|shortest| shortest == key.len()), "{key}");
                }
                None => prop_assert_eq!(ours.intersection(&theirs).next(), None),
            }
        }

        #[test]
        fn c4_what_a_field_writes_is_of_its_form(
            number in any::<i64>(), text in any::<String>(), flag in any::<bool>(), char in any::<char>(),
            list in any::<Vec<String>>(), absent in any::<Option<Option<i8>>>(), some in any::<Option<String>>(),
            pair in any::<(u8, Option<String>)>(), address in any::<std::net::IpAddr>(),
        ) {
            fn check<P: KeyPart>(part: P) {
                let mut key = crate::node::key::KeyWriter::new();
                key.part(&part);
                let automaton = Automaton::of(Template { key: "{}", forms: &[P::FORM] });
                assert!(accepts(&automaton, key.as_str()), "{}", key.as_str());
            }
            check(number);
            check(text.as_str());
            check(std::sync::Arc::new(flag));
            check(char);
            check(list);
            check(absent);
            check(some);
            check(pair);
            check(address);
            check(());
        }
    }
}
