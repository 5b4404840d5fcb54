//! What is switched off.

use std::collections::HashSet;
use std::ffi::OsStr;

/// What is switched off: everything, or kinds and storages by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Switches {
    pub(crate) all_off: bool,
    pub(crate) kinds_off: HashSet<String>,
    pub(crate) storages_off: HashSet<String>,
}

impl Switches {
    /// What the environment says: `1` or `all`, or names of kinds and storages with commas between them. Nothing and `0` is on.
    pub(crate) fn of_environment(said: Option<&OsStr>) -> Self {
        let said = said.unwrap_or_default().to_string_lossy();
        let names = || {
            said.split(',')
                .map(str::trim)
                .filter(|name| !matches!(*name, "" | "0"))
        };
        let is_all = |name: &str| name == "1" || name.eq_ignore_ascii_case("all");
        // A name is that of a kind or of a storage: which of them shows when it is looked for.
        let off: HashSet<String> = names().filter(|name| !is_all(name)).map(str::to_owned).collect();
        Self {
            all_off: names().any(is_all),
            kinds_off: off.clone(),
            storages_off: off,
        }
    }

    /// Whether a kind reads from a storage, and stores in it.
    pub(crate) fn is_on(&self, kind: &str, storage: &str) -> bool {
        !(self.all_off || self.kinds_off.contains(kind) || self.storages_off.contains(storage))
    }
}

/// Switches a name on or off.
pub(crate) fn switch(off: &mut HashSet<String>, name: &str, on: bool) {
    if on {
        off.remove(name);
    } else {
        off.insert(name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t1_the_environment_names_everything_or_kinds_and_storages() {
        let is_on = |said: Option<&str>, kind, storage| {
            Switches::of_environment(said.map(OsStr::new)).is_on(kind, storage)
        };
        for on in [None, Some(""), Some("0"), Some(" , ")] {
            assert!(is_on(on, "UserNode", "redis"), "{on:?}");
        }
        for off in [
            "1",
            "all",
            "ALL",
            "UserNode",
            "redis",
            "PostNode, redis",
            " UserNode ,x",
            "x,all",
        ] {
            assert!(!is_on(Some(off), "UserNode", "redis"), "{off}");
        }
        assert!(is_on(Some("UserNode,redis"), "PostNode", "local"));
        assert!(is_on(Some("User"), "UserNode", "redis"), "a name is a whole name");
    }
}
