//! The dependencies between crates, as cargo resolves them. Tests of a crate may use any crate, so
//! development dependencies do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The crates of the workspace, and the direct dependencies of every crate that cargo resolved.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// The package name of each crate in `crates/`, by the name of its folder.
    pub(crate) crates: BTreeMap<String, String>,
    /// For each package, the names of the packages that it needs to be built or run.
    pub(crate) needs: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Runs `cargo metadata`, which must not change the lock file.
    pub(crate) fn of_workspace(root: &Path) -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--locked"])
            .current_dir(root)
            .output()
            .context("cargo metadata cannot be run")?;
        ensure!(
            output.status.success(),
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata is no JSON")?;
        Self::of_metadata(&metadata, root)
    }

    /// Reads cargo's answer.
    fn of_metadata(metadata: &Value, root: &Path) -> Result<Self> {
        let mut graph = Self::default();
        let mut names = BTreeMap::new();
        for package in list(metadata, "/packages")? {
            let name = text(package, "/name")?;
            names.insert(text(package, "/id")?, name.clone());
            let manifest = text(package, "/manifest_path")?;
            let Ok(place) = Path::new(&manifest).strip_prefix(root.join("crates")) else { continue };
            if let Some(folder) = place.iter().next() {
                graph.crates.insert(folder.to_string_lossy().into_owned(), name);
            }
        }
        for node in list(metadata, "/resolve/nodes")? {
            let mut needs = BTreeSet::new();
            for dependency in list(node, "/deps")? {
                let kinds = list(dependency, "/dep_kinds")?;
                if kinds.iter().any(|kind| kind.pointer("/kind").and_then(Value::as_str) != Some("dev")) {
                    needs.insert(name_of(&names, &text(dependency, "/pkg")?)?);
                }
            }
            graph.needs.insert(name_of(&names, &text(node, "/id")?)?, needs);
        }
        Ok(graph)
    }

    /// The shortest path of dependencies from one package to another, both included; `None` when there is
    /// none.
    pub(crate) fn way(&self, from: &str, to: &str) -> Option<Vec<String>> {
        let mut seen = BTreeSet::from([from.to_owned()]);
        let mut ways = std::collections::VecDeque::from([vec![from.to_owned()]]);
        while let Some(way) = ways.pop_front() {
            let end = way.last()?;
            if end == to {
                return Some(way);
            }
            for next in self.needs.get(end).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    ways.push_back(way.iter().chain([next]).cloned().collect());
                }
            }
        }
        None
    }
}

fn list<'value>(value: &'value Value, pointer: &str) -> Result<&'value [Value]> {
    let list = value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice);
    list.with_context(|| format!("cargo metadata has no list {pointer}"))
}

fn text(value: &Value, pointer: &str) -> Result<String> {
    let text = value.pointer(pointer).and_then(Value::as_str);
    text.map(str::to_owned).with_context(|| format!("cargo metadata has no text {pointer}"))
}

fn name_of(names: &BTreeMap<String, String>, id: &str) -> Result<String> {
    names.get(id).cloned().with_context(|| format!("cargo metadata names no package {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_may_use_what_programs_may_not() {
        let metadata = serde_json::json!({
            "packages": [
                { "id": "a", "name": "bezant-types", "manifest_path": "/r/crates/types/Cargo.toml" },
                { "id": "b", "name": "tokio", "manifest_path": "/registry/tokio/Cargo.toml" },
                { "id": "c", "name": "bytes", "manifest_path": "/registry/bytes/Cargo.toml" },
            ],
            "resolve": { "nodes": [
                { "id": "a", "deps": [
                    { "pkg": "b", "dep_kinds": [{ "kind": "dev" }] },
                    { "pkg": "c", "dep_kinds": [{ "kind": "dev" }, { "kind": null }] },
                ] },
                { "id": "b", "deps": [] },
                { "id": "c", "deps": [] },
            ] },
        });
        let graph = Graph::of_metadata(&metadata, Path::new("/r")).unwrap();
        assert_eq!(graph.crates, BTreeMap::from([("types".to_owned(), "bezant-types".to_owned())]));
        assert_eq!(graph.needs["bezant-types"], BTreeSet::from(["bytes".to_owned()]));
        assert_eq!(graph.way("bezant-types", "tokio"), None);
    }
}
