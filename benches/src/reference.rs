//! What caches that are not run here reached on the traces: the `REFERENCE.tsv` beside them.

use std::fs;
use std::path::Path;

/// Hit ratios by trace, capacity and cache.
#[derive(Debug)]
pub struct Reference {
    rows: Vec<(String, usize, String, f64)>,
}

impl Reference {
    /// Reads the file beside a trace.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the file.
    pub fn beside(trace: &Path) -> Result<Self, String> {
        let path = trace.with_file_name("REFERENCE.tsv");
        let text = fs::read_to_string(&path).map_err(|why| format!("{}: {why}", path.display()))?;
        Self::parse(&text).map_err(|why| format!("{}: {why}", path.display()))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        if lines.next() != Some("trace\tcapacity\tcache\thit%") {
            return Err("its columns are not `trace`, `capacity`, `cache` and `hit%`".into());
        }
        let row = |line: &str| {
            let wrong = || format!("`{line}` is no row");
            let &[trace, capacity, cache, hit] = line.split('\t').collect::<Vec<_>>().as_slice() else {
                return Err(wrong());
            };
            let (Ok(capacity), Ok(hit)) = (capacity.parse(), hit.parse()) else {
                return Err(wrong());
            };
            Ok((trace.to_owned(), capacity, cache.to_owned(), hit))
        };
        let rows = lines
            .filter(|line| !line.is_empty())
            .map(row)
            .collect::<Result<_, _>>()?;
        Ok(Self { rows })
    }

    /// What a cache hit, in percent of all accesses.
    #[must_use]
    pub fn hit(&self, trace: &str, capacity: usize, cache: &str) -> Option<f64> {
        let mut rows = self.rows.iter();
        rows.find(|row| row.0 == trace && row.1 == capacity && row.2 == cache)
            .map(|row| row.3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_trace_capacity_and_cache() {
        let text = "trace\tcapacity\tcache\thit%\na\t10\tlru\t1.5\na\t20\tlru\t2.5\na\t20\tmoka\t3\n";
        let reference = Reference::parse(text).unwrap();
        assert_eq!(reference.hit("a", 20, "lru"), Some(2.5));
        assert_eq!(reference.hit("a", 20, "moka"), Some(3.0));
        assert_eq!(reference.hit("a", 10, "moka"), None);
        assert_eq!(reference.hit("b", 10, "lru"), None);
    }

    #[test]
    fn what_is_no_table_is_refused() {
        for text in [
            "",
            "trace\tcache\n",
            "trace\tcapacity\tcache\thit%\na\tmany\tlru\t1.5\n",
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
    }
}
