//! Checks that the files of a crate do not use each other in a circle: a reader can begin with the files that
//! use no other, and meets nothing that is explained later.
//!
//! A file uses another when it names a path into it: `crate::…`, `super::…`, or a child module's name. A path
//! through a `pub use` leads to the file that has the item. Declaring a module (`mod`) uses nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::paths::{Names, names};
use crate::rules::WITHOUT_CIRCLES;

/// The most `pub use` items that one path passes through.
const EXPORTS_MAX: usize = 8;

/// A finding for each circle of files in the crates that must have none.
pub(crate) fn check_tree(root: &Path) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for name in WITHOUT_CIRCLES {
        let source = root.join("crates").join(name).join("src");
        let mut files = Files::default();
        let mut folders = vec![source.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let code = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                    files.add(path.strip_prefix(&source).unwrap_or(&path), &code);
                }
            }
        }
        let circles = files.circles();
        findings.extend(circles.iter().map(|circle| {
            format!("crates/{name}/src: files use each other in a circle: {}", circle.join(" -> "))
        }));
    }
    Ok(findings)
}

/// The path of a module from the root of its crate; empty for the root.
type Module = Vec<String>;

/// The files of a crate by the module that each of them is, and what they name.
#[derive(Debug, Default)]
struct Files(BTreeMap<Module, (String, Names)>);

impl Files {
    /// Adds the file at `place`, a path from the crate's `src`. Files of tests are left out.
    fn add(&mut self, place: &Path, code: &str) {
        let parts = place.iter().map(|part| part.to_string_lossy());
        let mut module: Module = parts.map(|part| part.trim_end_matches(".rs").to_owned()).collect();
        if module.iter().any(|part| part.ends_with("tests")) {
            return;
        }
        module.pop_if(|last| ["lib", "main", "mod"].contains(&last.as_str()));
        self.0.insert(module, (place.display().to_string(), names(code)));
    }

    /// The file to which a path leads that the file of `module` names; `None` outside of the crate.
    fn resolve(&self, module: &[String], path: &[String], exports: usize) -> Option<Module> {
        let mut base = module.to_vec();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" => (base, rest) = (Module::new(), &rest[1..]),
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|part| part == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
            }
            child if !self.0.contains_key(&joined(&base, child)) => return None,
            _ => {}
        }
        while let Some(part) = rest.first()
            && self.0.contains_key(&joined(&base, part))
        {
            base.push(part.clone());
            rest = &rest[1..];
        }
        let (_, names) = self.0.get(&base)?;
        let exported = rest.first().and_then(|name| names.exported.get(name));
        let further = exported.filter(|_| exports > 0).and_then(|path| {
            let whole: Vec<String> = path.iter().chain(&rest[1..]).cloned().collect();
            self.resolve(&base, &whole, exports - 1)
        });
        Some(further.unwrap_or(base))
    }

    /// The files that a file uses.
    fn used_by(&self, module: &[String]) -> BTreeSet<Module> {
        let Some((_, names)) = self.0.get(module) else { return BTreeSet::new() };
        let used = names.paths.iter().filter_map(|path| self.resolve(module, path, EXPORTS_MAX));
        used.filter(|other| other != module).collect()
    }

    /// For each set of files that use each other, a shortest circle of them.
    fn circles(&self) -> Vec<Vec<String>> {
        let uses: BTreeMap<&Module, BTreeSet<Module>> =
            self.0.keys().map(|module| (module, self.used_by(module))).collect();
        let mut shown = BTreeSet::new();
        let mut circles = Vec::new();
        for module in self.0.keys() {
            if shown.contains(module) {
                continue;
            }
            if let Some(circle) = circle_of(module, &uses) {
                let places = circle.iter().filter_map(|module| self.0.get(module));
                circles.push(places.map(|(place, _)| place.clone()).collect());
                shown.extend(circle);
            }
        }
        circles
    }
}

fn joined(module: &[String], child: &str) -> Module {
    module.iter().cloned().chain([child.to_owned()]).collect()
}

/// A shortest way from a file back to itself, both ends included.
fn circle_of(begin: &[String], uses: &BTreeMap<&Module, BTreeSet<Module>>) -> Option<Vec<Module>> {
    let mut ways = VecDeque::from([vec![begin.to_vec()]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for next in way.last().and_then(|last| uses.get(last)).into_iter().flatten() {
            let longer: Vec<Module> = way.iter().chain([next]).cloned().collect();
            if next == begin {
                return Some(longer);
            }
            if seen.insert(next) {
                ways.push_back(longer);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(texts: &[(&str, &str)]) -> Vec<String> {
        let mut files = Files::default();
        for (place, code) in texts {
            files.add(Path::new(place), code);
        }
        files.circles().iter().map(|circle| circle.join(" ")).collect()
    }

    #[test]
    fn a_circle_is_found_whatever_form_its_paths_have() {
        let found = circles(&[
            ("lib.rs", "mod a; mod b;"),
            ("a/mod.rs", "mod c; use c::C;"),
            ("a/c.rs", "fn f() { crate::b::go() }"),
            ("b.rs", "use super::a::A;"),
        ]);
        assert_eq!(found, ["a/mod.rs a/c.rs b.rs a/mod.rs"]);
        let found = circles(&[("a/mod.rs", "use c::C;"), ("a/c.rs", "use super::A;")]);
        assert_eq!(found, ["a/mod.rs a/c.rs a/mod.rs"]);
    }

    #[test]
    fn files_in_order_have_no_circle() {
        let found = circles(&[
            ("lib.rs", "mod a; mod b; pub use b::B;"),
            ("a.rs", "use crate::b::B; use std::fmt;"),
            ("b.rs", "#[cfg(test)] mod tests { use crate::a::A; }"),
            ("b/tests.rs", "use crate::a::A;"),
        ]);
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn an_exported_name_leads_to_its_file() {
        let texts = [("lib.rs", "pub use a::A; pub use b::B;"), ("a.rs", "use crate::B;"), ("b.rs", "")];
        assert_eq!(circles(&texts), [""; 0]);
        let texts = [("lib.rs", "pub use a::A; pub struct C;"), ("a.rs", "use crate::C;")];
        assert_eq!(circles(&texts), ["lib.rs a.rs lib.rs"]);
    }
}
