//! Tables of tab-separated values: to the standard output as they grow, and into a file.

use std::fs::File;
use std::io::Write;
use std::path::Path;

/// A table that is being written.
#[derive(Debug)]
pub struct Table {
    file: Option<File>,
}

impl Table {
    /// Begins a table with its titles; `out` is where a copy goes, if it is not empty.
    ///
    /// # Panics
    ///
    /// If the file cannot be written: then the run would be for nothing.
    #[must_use]
    pub fn begin(out: &str, titles: &str) -> Self {
        let create = |path: &str| {
            if let Some(folder) = Path::new(path).parent() {
                std::fs::create_dir_all(folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
            }
            File::create(path).unwrap_or_else(|why| panic!("{path}: {why}"))
        };
        let mut table = Self {
            file: (!out.is_empty()).then(|| create(out)),
        };
        table.line(titles);
        table
    }

    /// Adds a line.
    ///
    /// # Panics
    ///
    /// If the file cannot be written.
    pub fn line(&mut self, line: &str) {
        println!("{line}");
        if let Some(file) = &mut self.file {
            writeln!(file, "{line}").expect("the table's file can be written");
        }
    }
}
