//! The templates of kinds, by the text that their keys begin with: a new one is compared only with those that it could meet.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use super::KindId;
use crate::error::Error;
use crate::node::key::{KeyForm, Template};
use crate::node::policy::NodeInfo;

/// By version, and by the head of the template.
#[derive(Default)]
pub(crate) struct Templates {
    by_version: HashMap<Cow<'static, str>, BTreeMap<String, Vec<Entry>>>,
}

struct Entry {
    id: KindId,
    name: Cow<'static, str>,
    key: Cow<'static, str>,
    forms: Vec<KeyForm>,
}

impl Entry {
    fn template(&self) -> Template<'_> {
        Template {
            key: &self.key,
            forms: &self.forms,
        }
    }
}

impl Templates {
    /// Adds the template of a kind, unless it is known.
    pub(crate) fn add(&mut self, id: KindId, info: &NodeInfo) {
        let heads = self.by_version.entry(info.version.clone()).or_default();
        let entries = heads.entry(info.template().head().to_owned()).or_default();
        if entries.iter().any(|entry| entry.id == id) {
            return;
        }
        entries.push(Entry {
            id,
            name: info.name.clone(),
            key: info.key.clone(),
            forms: info.forms.clone(),
        });
    }

    /// Removes the template of a kind.
    pub(crate) fn remove(&mut self, id: KindId, info: &NodeInfo) {
        let Some(heads) = self.by_version.get_mut(&info.version) else {
            return;
        };
        let head = info.template().head();
        if let Some(entries) = heads.get_mut(head) {
            entries.retain(|entry| entry.id != id);
            if entries.is_empty() {
                heads.remove(head);
            }
        }
        if heads.is_empty() {
            self.by_version.remove(&info.version);
        }
    }

    /// Every kind that can give a key that this one, of another id, can give as well: its id, and the error.
    pub(crate) fn met_by<'t>(
        &'t self,
        id: KindId,
        info: &'t NodeInfo,
    ) -> impl Iterator<Item = (KindId, Error)> + 't {
        let template = info.template();
        let conflict = move |entry: &Entry| {
            let example = template.meet(entry.template())?;
            let error = Error::SameKey {
                node: info.name.to_string(),
                other: entry.name.to_string(),
                keys: Box::new([info.key.to_string(), entry.key.to_string()]),
                version: info.version.to_string(),
                example,
            };
            Some((entry.id, error))
        };
        let candidates = self.candidates(&info.version, template.head());
        let others = candidates.filter(move |entry| entry.id != id);
        others.filter_map(conflict)
    }

    /// Those of a version whose head begins with `head`, or that `head` begins with.
    fn candidates<'t>(&'t self, version: &str, head: &'t str) -> impl Iterator<Item = &'t Entry> + use<'t> {
        let heads = self.by_version.get(version).into_iter();
        heads.flat_map(move |heads| {
            let shorter = head.char_indices().filter_map(|(end, _)| heads.get(&head[..end]));
            let others = heads.range::<str, _>((std::ops::Bound::Included(head), std::ops::Bound::Unbounded));
            let longer = others.take_while(move |(other, _)| other.starts_with(head));
            shorter.chain(longer.map(|(_, entries)| entries)).flatten()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::any::TypeId;

    use super::*;
    use crate::node::policy::Policy;

    fn info(name: &str, key: &str, version: &str) -> NodeInfo {
        let policy = Policy::<u8>::new(name.to_owned(), key.to_owned());
        policy.version(version.to_owned()).info
    }

    fn id(dynamic: u64) -> KindId {
        KindId {
            node: TypeId::of::<u8>(),
            dynamic,
        }
    }

    #[test]
    fn c4_templates_are_found_by_shorter_and_longer_heads_of_their_version() {
        let all = [
            "a:{x}",
            "a:b",
            "a:b:{x}",
            "ab:{x}",
            "{x}:c",
            "",
            "a:bé{x}",
            "a:{x}:{y}",
        ];
        let mut templates = Templates::default();
        for (number, key) in (0..).zip(all) {
            templates.add(id(number), &info(key, key, "v1"));
            templates.add(id(100 + number), &info(key, key, "v2"));
        }
        for (key, met) in [
            ("a:b", vec!["a:b", "a:{x}"]),
            ("a:b:c", vec!["a:b:{x}", "a:{x}:{y}"]),
            ("a:{x}", vec!["a:b", "a:bé{x}", "a:{x}", "{x}:c"]),
            ("a:bé", vec!["a:bé{x}", "a:{x}"]),
            ("ab:c", vec!["ab:{x}", "{x}:c"]),
            ("b", vec![]),
        ] {
            let mut found: Vec<_> = templates
                .met_by(id(1_000), &info("new", key, "v1"))
                .map(|(id, error)| {
                    assert!(id.dynamic < 100);
                    match error {
                        Error::SameKey { other, .. } => other,
                        other => panic!("{other:?}"),
                    }
                })
                .collect();
            found.sort_unstable();
            assert_eq!(found, met, "{key}");
        }
        let itself = templates.met_by(id(1), &info("a:b", "a:b", "v1")).count();
        assert_eq!(itself, 1, "only another kind is met");
        assert_eq!(templates.met_by(id(1_000), &info("new", "a:b", "v3")).count(), 0);
        for (number, key) in (0..).zip(all) {
            templates.remove(id(number), &info(key, key, "v1"));
            templates.remove(id(100 + number), &info(key, key, "v2"));
        }
        assert!(templates.by_version.is_empty());
    }

    #[test]
    fn c4_a_kind_that_is_named_at_run_time_is_compared_with_none_of_thousands() {
        let mut templates = Templates::default();
        for number in 0..4_000 {
            let template = format!("kind-{number}:{{key}}");
            let info = info(&template, &template, "v1");
            let compared = templates.candidates("v1", info.template().head()).count();
            assert_eq!(compared, 0, "{template}");
            templates.add(id(number), &info);
        }
    }
}
