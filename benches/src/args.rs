//! The command line of the binaries: `--name VALUE…`, nothing else.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// Options with their values, in the order given.
#[derive(Debug)]
pub struct Args {
    options: BTreeMap<String, Vec<String>>,
    usage: &'static str,
}

impl Args {
    /// The options of this process; `known` are the names it takes.
    ///
    /// Ends the process with `usage` when there are others, or when help is asked for.
    #[must_use]
    pub fn read(known: &[&str], usage: &'static str) -> Self {
        let mut args = Self {
            options: BTreeMap::new(),
            usage,
        };
        let mut current: Option<String> = None;
        for word in std::env::args().skip(1) {
            match (word.strip_prefix("--"), &current) {
                (Some(name), _) if known.contains(&name) => {
                    args.options.entry(name.to_owned()).or_default();
                    current = Some(name.to_owned());
                }
                (None, Some(name)) => args.options.entry(name.clone()).or_default().push(word),
                _ => args.refuse(&format!("`{word}` is not an option")),
            }
        }
        args
    }

    /// Whether the option was given.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.options.contains_key(name)
    }

    /// The words behind an option.
    #[must_use]
    pub fn words(&self, name: &str) -> &[String] {
        self.options.get(name).map_or(&[], Vec::as_slice)
    }

    /// The values behind an option, separated by commas or blanks.
    #[must_use]
    pub fn list<T: FromStr<Err: Display>>(&self, name: &str) -> Vec<T> {
        let words = self.words(name).iter();
        let parts = words
            .flat_map(|word| word.split(','))
            .filter(|part| !part.is_empty());
        parts.map(|part| self.parse(name, part)).collect()
    }

    /// The one value behind an option, or `otherwise`.
    #[must_use]
    pub fn one<T: FromStr<Err: Display>>(&self, name: &str, otherwise: T) -> T {
        match self.words(name) {
            [] if !self.has(name) => otherwise,
            [word] => self.parse(name, word),
            _ => self.refuse(&format!("`--{name}` takes one value")),
        }
    }

    fn parse<T: FromStr<Err: Display>>(&self, name: &str, word: &str) -> T {
        word.parse()
            .unwrap_or_else(|why| self.refuse(&format!("`{word}` after `--{name}`: {why}")))
    }

    /// Ends the process with what is wrong and how it is meant.
    pub fn refuse(&self, what: &str) -> ! {
        eprintln!("{what}\n\n{}", self.usage);
        std::process::exit(2)
    }
}
