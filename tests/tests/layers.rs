//! The layers of the two crates: a module imports only from modules under it, by their path and never through `lib.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules at the root of a crate, from the top down. `ARCHITECTURE.md` shows them.
struct Layers {
    source: &'static str,
    from_the_top: &'static [&'static str],
    /// Imports that go up all the same: file, module, and why.
    exceptions: &'static [(&'static str, &'static str, &'static str)],
}

const STORAGE: Layers = Layers {
    source: "../cacheme-storage/src",
    from_the_top: &[
        "storage",
        "conformance",
        "testing",
        "remote",
        "memory",
        "codec",
        "contract",
        "url",
        "small_box",
        "contain",
        "error",
        "random",
    ],
    exceptions: &[],
};

const CACHEME: Layers = Layers {
    source: "../cacheme/src",
    from_the_top: &[
        "docs",
        "testing",
        "lifecycle",
        "read",
        "write",
        "load",
        "instance",
        "kind",
        "bus",
        "node",
        "flight",
        "background",
        "log_limiter",
        "error",
        "counter",
        "digest",
        "random",
        "sequence",
    ],
    exceptions: &[
        (
            "node/mod.rs",
            "kind",
            "a node of a kind that is named at run time gives the handle of that kind",
        ),
        (
            "node/mod.rs",
            "lifecycle",
            "`Node::full_key` is the key in the default instance",
        ),
    ],
};

/// What a line of source names of its own crate.
#[derive(Debug, PartialEq, Eq)]
enum Named {
    /// A module at the root of the crate.
    Module(String),
    /// Something that `lib.rs` passes on.
    ThroughLib(String),
}

/// All that a file names by `crate::` or by enough `super::` to reach the root. `depth` says how many modules it lies under.
fn named(text: &str, depth: usize) -> Vec<(usize, Named)> {
    let mut found = Vec::new();
    let mut inline_depth = 0;
    let mut in_tests = false;
    for (number, line) in text.lines().enumerate() {
        let code = line.trim_start();
        if code.starts_with("//") {
            continue;
        }
        if !line.starts_with(' ') {
            let is_module = code.ends_with('{') && (code.starts_with("mod ") || code.contains(" mod "));
            if is_module {
                inline_depth = 1;
                in_tests = code.starts_with("mod tests");
            } else if !code.is_empty() {
                inline_depth = 0;
                in_tests = false;
            }
        }
        if in_tests {
            continue;
        }
        for (at, _) in code.match_indices("crate::") {
            // `$crate::` of a macro names the root as well.
            found.push((number + 1, first_name(&code[at + "crate::".len()..])));
        }
        let mut rest = code;
        while let Some(at) = rest.find("super::") {
            let mut path = &rest[at..];
            let mut up = 0;
            while let Some(parent) = path.strip_prefix("super::") {
                path = parent;
                up += 1;
            }
            if up == depth + inline_depth {
                found.push((number + 1, first_name(path)));
            }
            rest = path;
        }
    }
    found
}

fn first_name(path: &str) -> Named {
    let name: String = path
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_' || *c == '{' || *c == '*')
        .collect();
    if name.starts_with(|c: char| c.is_lowercase()) {
        Named::Module(name)
    } else {
        Named::ThroughLib(name)
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the sources are beside the tests") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Unit tests may use what lies above.
fn is_test(path: &Path) -> bool {
    let stem = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    stem == "tests" || stem.ends_with("_tests")
}

fn faults(layers: &Layers) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(layers.source);
    let rank = |module: &str| layers.from_the_top.iter().position(|layer| *layer == module);
    let mut paths = Vec::new();
    files(&root, &mut paths);
    assert!(paths.len() > 20, "these are the sources");
    let mut faults = Vec::new();
    let mut met = BTreeSet::new();
    for path in paths {
        let file = path.strip_prefix(&root).expect("it lies there");
        if file == Path::new("lib.rs") || is_test(file) {
            continue;
        }
        let parts: Vec<_> = file
            .components()
            .map(|part| part.as_os_str().to_string_lossy())
            .collect();
        let layer = parts[0].trim_end_matches(".rs").to_owned();
        let Some(own) = rank(&layer) else {
            faults.push(format!("{}: `{layer}` is no layer", file.display()));
            continue;
        };
        let is_root = file.file_name().is_some_and(|name| name == "mod.rs");
        let depth = parts.len() - usize::from(is_root);
        let text = fs::read_to_string(&path).expect("it is text");
        for (line, named) in named(&text, depth) {
            let place = format!("{}:{line}", file.display());
            match named {
                Named::ThroughLib(name) => faults.push(format!("{place}: `{name}` comes through `lib.rs`")),
                Named::Module(module) => match rank(&module) {
                    None => faults.push(format!("{place}: `{module}` is no layer")),
                    Some(other) if other < own => {
                        let exception = (file.to_string_lossy().into_owned(), module.clone());
                        let mut known = layers.exceptions.iter();
                        if known.any(|(file, module, _)| *file == exception.0 && *module == exception.1) {
                            met.insert(exception);
                        } else {
                            faults.push(format!(
                                "{place}: `{layer}` imports from `{module}`, which lies above"
                            ));
                        }
                    }
                    Some(_) => {}
                },
            }
        }
    }
    for (file, module, _) in layers.exceptions {
        if !met.contains(&((*file).to_owned(), (*module).to_owned())) {
            faults.push(format!("the exception for `{module}` in {file} is not needed"));
        }
    }
    faults
}

#[test]
fn storages_import_from_layers_under_them() {
    assert_eq!(faults(&STORAGE), Vec::<String>::new());
}

#[test]
fn the_runtime_imports_from_layers_under_it() {
    assert_eq!(faults(&CACHEME), Vec::<String>::new());
}

#[test]
fn what_a_file_names_is_found() {
    let text = "\
use crate::codec::Codec;
use crate::Storage;
use super::super::memory::Lru;
use super::sibling::Thing;
// use crate::comment::Ignored;
fn f() -> crate::error::Result<()> {}
mod inner {
    use super::super::super::url::StorageUrl;
}
mod tests {
    use crate::above::All;
}
";
    let module = |name: &str| Named::Module(name.to_owned());
    let expected = [
        (1, module("codec")),
        (2, Named::ThroughLib("Storage".to_owned())),
        (3, module("memory")),
        (6, module("error")),
        (8, module("url")),
    ];
    assert_eq!(named(text, 2), expected);
}

/// The sources in a folder of the storage crate, each with its text.
fn texts(folder: &str) -> Vec<(String, String)> {
    let mut paths = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(STORAGE.source)
        .join(folder);
    files(&root, &mut paths);
    assert!(!paths.is_empty(), "{folder} has sources");
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("it is text");
            (path.display().to_string(), text)
        })
        .collect()
}

#[test]
fn a_remote_storage_names_no_other_one() {
    const ALL: [&str; 5] = ["redis", "postgres", "mysql", "sqlite", "mongodb"];
    for own in ALL {
        for (path, text) in texts(&format!("remote/{own}")) {
            for other in ALL.iter().filter(|other| **other != own) {
                let named = format!("remote::{other}");
                assert!(!text.contains(&named), "{path} names {named}");
            }
        }
    }
}

#[test]
fn the_policy_in_memory_knows_nothing_of_the_engine() {
    for (path, text) in texts("memory/policy") {
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let engine = line.contains("memory::")
                && !line.contains("memory::policy")
                && !line.contains("memory::simd");
            assert!(!engine, "{path}: {line}");
            assert!(
                !line.contains("Mutex") && !line.contains("RwLock"),
                "{path}: {line}"
            );
        }
    }
}

#[test]
fn paths_in_architecture_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("it is there");
    let is_path = |word: &&str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
        word.chars().all(allowed)
            && (word.contains('/') || word.ends_with(".toml") || word.ends_with(".yaml"))
    };
    let mut seen = 0;
    for line in page.lines().filter(|line| !line.starts_with("```")) {
        // Every second part lies between backticks.
        for path in line.split('`').skip(1).step_by(2).filter(is_path) {
            seen += 1;
            assert!(
                root.join(path).exists(),
                "ARCHITECTURE.md names {path}, which does not exist"
            );
        }
    }
    assert!(seen > 50, "the page names files");
}
