//! The names on a memory disk: of files and of folders. The visible names and those that survive every power
//! failure are kept apart, with the changes between them.
//!
//! A name is a path from the root of the disk, with `/` between names. The root is the empty path. A change
//! is durable once every folder that it touches was synced. A move touches two folders; it is one change, so
//! a power failure never leaves the file in both.

use std::collections::{BTreeMap, BTreeSet};

use super::random::Random;

/// Number of a file; it stays the same when the file is renamed or moved.
pub(super) type FileNumber = usize;

/// The path of the folder that holds `path`; empty for the root.
pub(super) fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The path of `name` in `folder`.
pub(super) fn path_of(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// The last name of a path.
pub(super) fn last_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// Files and folders by their paths.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    pub(super) files: BTreeMap<String, FileNumber>,
    folders: BTreeSet<String>,
}

impl Tree {
    /// True for the root, and for a folder that was made and not removed.
    pub(super) fn has_folder(&self, path: &str) -> bool {
        path.is_empty() || self.folders.contains(path)
    }

    /// The names of the files in a folder, sorted.
    pub(super) fn files_in(&self, folder: &str) -> Vec<String> {
        names_in(self.files.keys(), folder)
    }

    /// The names of the folders in a folder, sorted.
    pub(super) fn folders_in(&self, folder: &str) -> Vec<String> {
        names_in(self.folders.iter(), folder)
    }

    fn remove_folder(&mut self, path: &str) {
        self.folders.remove(path);
        self.drop_orphans();
    }

    /// Drops what is in no folder: a power failure may have removed the folder and not yet the names in it.
    pub(super) fn drop_orphans(&mut self) {
        let folders = std::mem::take(&mut self.folders);
        // A folder's path sorts before the paths in it.
        for path in folders {
            if self.has_folder(folder_of(&path)) {
                self.folders.insert(path);
            }
        }
        let Self { files, folders } = self;
        files.retain(|path, _| folder_of(path).is_empty() || folders.contains(folder_of(path)));
    }
}

fn names_in<'a>(paths: impl Iterator<Item = &'a String>, folder: &str) -> Vec<String> {
    paths.filter(|path| folder_of(path) == folder).map(|path| last_name(path).to_owned()).collect()
}

/// A change of names.
#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Put(String, FileNumber),
    Remove(String),
    Rename(String, String, FileNumber),
    Exchange(String, String),
    MakeFolder(String),
    RemoveFolder(String),
}

impl NameChange {
    /// The file that may get a name by this change.
    const fn number(&self) -> Option<FileNumber> {
        match self {
            Self::Put(_, number) | Self::Rename(_, _, number) => Some(*number),
            Self::Remove(_) | Self::Exchange(..) | Self::MakeFolder(_) | Self::RemoveFolder(_) => None,
        }
    }

    /// The folders whose names it changes.
    fn folders(&self) -> BTreeSet<String> {
        let paths = match self {
            Self::Put(path, _) | Self::Remove(path) | Self::MakeFolder(path) | Self::RemoveFolder(path) => {
                [path, path]
            }
            Self::Rename(from, to, _) => [from, to],
            Self::Exchange(one, other) => [one, other],
        };
        paths.into_iter().map(|path| folder_of(path).to_owned()).collect()
    }

    fn apply(&self, names: &mut Tree) {
        let Tree { files, folders } = names;
        match self {
            Self::Put(name, number) => {
                files.insert(name.clone(), *number);
            }
            Self::Remove(name) => {
                files.remove(name);
            }
            Self::Rename(from, to, number) => {
                files.remove(from);
                files.insert(to.clone(), *number);
            }
            // Exchanges only if both names exist: a crash may have lost one of them before.
            Self::Exchange(one, other) => {
                if let (Some(first), Some(second)) = (files.get(one).copied(), files.get(other).copied()) {
                    files.insert(one.clone(), second);
                    files.insert(other.clone(), first);
                }
            }
            Self::MakeFolder(path) => {
                folders.insert(path.clone());
            }
            Self::RemoveFolder(path) => names.remove_folder(path),
        }
    }
}

/// A change, and the folders that it touches and that were not synced since. When there are none left, the
/// change is durable.
#[derive(Clone, Debug)]
struct Pending {
    change: NameChange,
    unsynced: BTreeSet<String>,
}

/// All names of a disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// The visible names.
    pub(super) live: Tree,
    /// The names that survive every power failure, without the changes in `pending`.
    durable: Tree,
    /// The oldest first. A durable change is kept here while it follows a change of the same folder that is
    /// not durable.
    pending: Vec<Pending>,
}

impl Names {
    /// Names that are all durable.
    pub(super) fn whole(tree: Tree) -> Self {
        Self { live: tree.clone(), durable: tree, pending: Vec::new() }
    }

    pub(super) fn change(&mut self, change: NameChange) {
        change.apply(&mut self.live);
        let unsynced = change.folders();
        self.pending.push(Pending { change, unsynced });
    }

    /// Makes the changes of a folder durable. A change that touches a second folder waits for the sync of
    /// that one.
    pub(super) fn sync(&mut self, folder: &str) {
        for pending in &mut self.pending {
            pending.unsynced.remove(folder);
        }
        let mut kept: Vec<Pending> = Vec::new();
        let mut folders_kept = BTreeSet::new();
        for pending in self.pending.drain(..) {
            let folders = pending.change.folders();
            if pending.unsynced.is_empty() && folders.is_disjoint(&folders_kept) {
                pending.change.apply(&mut self.durable);
            } else {
                folders_kept.extend(folders);
                kept.push(pending);
            }
        }
        self.pending = kept;
    }

    /// The files that have a name, or may have one after a power failure.
    pub(super) fn files(&self) -> BTreeSet<FileNumber> {
        let pending = self.pending.iter().filter_map(|pending| pending.change.number());
        self.live.files.values().chain(self.durable.files.values()).copied().chain(pending).collect()
    }

    /// The names after a power failure. Of the changes that are not durable, those up to one of them survive,
    /// or each at random.
    pub(super) fn after_crash(&self, random: &mut Random) -> Tree {
        let mut names = self.durable.clone();
        let uncertain = self.pending.iter().filter(|pending| !pending.unsynced.is_empty()).count();
        let prefix = random.below(uncertain as u64 + 1);
        let in_order = random.coin();
        let mut number = 0;
        for Pending { change, unsynced } in &self.pending {
            let survives = if unsynced.is_empty() {
                true
            } else if in_order {
                number < prefix
            } else {
                random.coin()
            };
            number += u64::from(!unsynced.is_empty());
            if survives {
                change.apply(&mut names);
            }
        }
        names.drop_orphans();
        names
    }
}
