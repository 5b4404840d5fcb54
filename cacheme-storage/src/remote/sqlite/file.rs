//! The file that a path names, and the fate of a file that is of no use any more.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The suffixes of what SQLite keeps beside a database: the write-ahead log, what its readers and writers share, and the journal of those
/// that do without a log.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The suffix that a damaged file gets. One is kept, so that no disk fills with them.
const ASIDE: &str = ".corrupt";

/// The time that a process waits before it looks again whether another one is done with the folder.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// The number of links that one path may lead over.
const LINKS: usize = 40;

/// One file of this machine, whatever its name is. Its number goes to no other file as long as somebody has it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    /// Of the file at the path, or where a link there leads to; none if there is none.
    pub(super) fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|file| Self::from(&file))
    }
}

#[cfg(unix)]
impl From<&Metadata> for Inode {
    fn from(file: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;

        Self {
            device: file.dev(),
            number: file.ino(),
        }
    }
}

/// Elsewhere nobody can remove or rename a file that SQLite has open, and so all that is asked for is whether it is there.
#[cfg(not(unix))]
impl From<&Metadata> for Inode {
    fn from(_: &Metadata) -> Self {
        Self { device: 0, number: 0 }
    }
}

/// The file of a database.
#[derive(Clone, Debug)]
pub(super) struct DatabaseFile {
    /// Absolute, so that it names the same file after the process went to another folder.
    path: PathBuf,
    /// `true` if it may be made.
    create: bool,
}

/// The files that a connection found when it was opened.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) inode: Inode,
    /// The files beside it, as long as the connection is open. Not at all where the database has no write-ahead log.
    beside: [(PathBuf, Option<Inode>); 2],
}

/// The file that is not where a connection found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// The path names another file, or none, or one that has to be opened anew.
    Database,
    /// The file is there, but not the log with its latest changes.
    Log(Inode),
}

impl DatabaseFile {
    pub(super) fn new(path: &Path, create: bool) -> io::Result<Self> {
        Ok(Self {
            path: std::path::absolute(path)?,
            create,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn may_be_made(&self) -> bool {
        self.create
    }

    /// The file that is there now.
    pub(super) fn inode(&self) -> Option<Inode> {
        Inode::of(&self.path)
    }

    /// The files of a connection that was opened after `before` was there; none if it is not certain which file that was.
    pub(super) fn opened_on(&self, before: Inode) -> Option<OpenFile> {
        let real = fs::canonicalize(&self.path).ok()?;
        let beside = ["-wal", "-shm"].map(|suffix| {
            let path = with_suffix(&real, suffix);
            let inode = Inode::of(&path);
            (path, inode)
        });
        // A file that is open keeps its number, so the connection cannot have met another one in between.
        (self.inode()? == before).then_some(OpenFile {
            inode: before,
            beside,
        })
    }

    /// Says whether what a connection has open is still what others find here.
    pub(super) fn moved(&self, open: &OpenFile) -> Option<Moved> {
        if self.inode() != Some(open.inode) {
            return Some(Moved::Database);
        }
        let mut moved = None;
        for (path, inode) in &open.beside {
            match (inode, Inode::of(path)) {
                (before, now) if *before == now => {}
                // The database had no log when it was opened, and has one since.
                (None, _) => moved = moved.or(Some(Moved::Database)),
                _ => moved = Some(Moved::Log(open.inode)),
            }
        }
        moved
    }

    /// Makes an empty file where there is none. What an earlier one left beside it goes first: it would be taken for a part of
    /// the new one.
    pub(super) async fn make(&self) -> io::Result<()> {
        let real = real(&self.path)?;
        let _lock = lock(&real).await?;
        if self.inode().is_some() {
            return Ok(());
        }
        for suffix in BESIDE {
            or_absent(fs::remove_file(with_suffix(&real, suffix)))?;
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;

            // As SQLite does.
            options.mode(0o644);
        }
        match options.open(&real) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made.map(drop),
        }
    }

    /// Moves the file out of the way, with what is beside it, if it is still this one; says where it is then. Of several
    /// processes that see the same damage, one moves it.
    pub(super) async fn move_aside(&self, inode: Inode) -> io::Result<Option<PathBuf>> {
        let real = real(&self.path)?;
        let _lock = lock(&real).await?;
        if self.inode() != Some(inode) {
            return Ok(None);
        }
        let aside = with_suffix(&real, ASIDE);
        // The database first: without it, nobody takes what is beside it for anything but remains.
        fs::rename(&real, &aside)?;
        for suffix in BESIDE {
            let to = with_suffix(&aside, suffix);
            // That of the one before would be taken for its own.
            or_absent(fs::remove_file(&to))?;
            or_absent(fs::rename(with_suffix(&real, suffix), to))?;
        }
        Ok(Some(aside))
    }
}

impl OpenFile {
    /// Says whether the log and what goes with it are there.
    pub(super) fn has_log(&self) -> bool {
        self.beside.iter().all(|(_, inode)| inode.is_some())
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut whole = OsString::from(path);
    whole.push(suffix);
    whole.into()
}

fn or_absent(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The path that the links of a path lead to, be there a file or not.
fn real(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            break;
        };
        let folder = fs::canonicalize(folder)?;
        let here = folder.join(name);
        match fs::read_link(&here) {
            Ok(target) => path = folder.join(target),
            // No link.
            Err(_) => return Ok(here),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "the path leads to no file",
    ))
}

/// The right to make and to move files in a folder, against other processes that use this library. It ends with the file that
/// is given, however this process ends.
async fn lock(file: &Path) -> io::Result<Option<File>> {
    if cfg!(not(unix)) {
        // What is open cannot be moved there, and a folder cannot be locked.
        return Ok(None);
    }
    let folder = File::open(file.parent().unwrap_or(Path::new("/")))?;
    loop {
        match folder.try_lock() {
            Ok(()) => return Ok(Some(folder)),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE).await,
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_real_file_is_made_and_moved_where_a_link_leads_to() {
        let folder = super::super::tests::Directory::new("links");
        let path = |name: &str| folder.0.join(name);
        fs::create_dir(path("data")).unwrap();
        std::os::unix::fs::symlink("data/real.db", path("link.db")).unwrap();
        let file = DatabaseFile::new(&path("link.db"), true).unwrap();
        for remains in ["data/real.db-wal", "data/real.db.corrupt-shm"] {
            fs::write(path(remains), "of an earlier one").unwrap();
        }
        file.make().await.unwrap();
        let made = file.inode().unwrap();
        assert!(!path("data/real.db-wal").exists());
        file.make().await.unwrap();
        assert_eq!(file.inode(), Some(made), "made once");

        fs::write(path("data/real.db-wal"), "its own").unwrap();
        let aside = file.move_aside(made).await.unwrap();
        assert_eq!(
            aside.as_deref(),
            Some(&*fs::canonicalize(path("data/real.db.corrupt")).unwrap())
        );
        assert_eq!(fs::read(path("data/real.db.corrupt-wal")).unwrap(), b"its own");
        assert!(!path("data/real.db.corrupt-shm").exists());
        assert_eq!(file.inode(), None);
        assert!(fs::symlink_metadata(path("link.db")).unwrap().is_symlink());
        // Somebody else was faster, and began a new one.
        file.make().await.unwrap();
        assert_eq!(file.move_aside(made).await.unwrap(), None);
        assert!(file.inode().is_some());
    }
}
