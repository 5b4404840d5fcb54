//! Traces: zstd-compressed sequences of little-endian `u64` keys, with a `MANIFEST.tsv` beside them.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use ruzstd::decoding::StreamingDecoder;

/// A sequence of accesses.
#[derive(Debug)]
pub struct Trace {
    /// The file's name without its extensions.
    pub name: String,
    /// The keys, in the order in which they are asked for.
    pub keys: Vec<u64>,
    /// Where it lies.
    pub path: PathBuf,
}

impl Trace {
    /// Reads a trace.
    ///
    /// # Errors
    ///
    /// Says which file could not be read, and why.
    pub fn read(path: &Path) -> Result<Self, String> {
        let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let packed = fs::read(path).map_err(|why| wrong(&why))?;
        let bytes = unpack(&packed).map_err(|why| wrong(&why))?;
        if bytes.len() % 8 != 0 {
            return Err(wrong(&format!("{} bytes are no sequence of u64", bytes.len())));
        }
        let words = bytes.chunks_exact(8);
        let keys = words.map(|word| u64::from_le_bytes(word.try_into().expect("a chunk is 8 bytes")));
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            name: file.split('.').next().unwrap_or(&file).to_owned(),
            keys: keys.collect(),
            path: path.to_owned(),
        })
    }

    /// The capacities that the `MANIFEST.tsv` beside the trace names.
    ///
    /// # Errors
    ///
    /// When there is no manifest, or no line of this trace in it.
    pub fn capacities(&self) -> Result<Vec<usize>, String> {
        let manifest = self.path.with_file_name("MANIFEST.tsv");
        let wrong = |why: String| format!("{}: {why}; name capacities with `--capacity`", manifest.display());
        let text = fs::read_to_string(&manifest).map_err(|why| wrong(why.to_string()))?;
        let mut lines = text.lines();
        let header: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
        let column = |name| header.iter().position(|title| *title == name);
        let (Some(name), Some(sizes)) = (column("name"), column("sizes")) else {
            return Err(wrong("has no columns `name` and `sizes`".into()));
        };
        for line in lines {
            let fields: Vec<&str> = line.split('\t').collect();
            if fields.get(name) == Some(&self.name.as_str()) {
                let sizes = fields.get(sizes).unwrap_or(&"").split(',');
                let parsed: Result<Vec<usize>, _> = sizes.map(|size| size.trim().parse()).collect();
                return parsed.map_err(|why| wrong(format!("sizes of `{}`: {why}", self.name)));
            }
        }
        Err(wrong(format!("has no line for `{}`", self.name)))
    }
}

/// All frames of a zstd file, one after the other.
fn unpack(mut packed: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while !packed.is_empty() {
        let mut frame = StreamingDecoder::new(&mut packed).map_err(|why| why.to_string())?;
        frame.read_to_end(&mut bytes).map_err(|why| why.to_string())?;
    }
    Ok(bytes)
}
