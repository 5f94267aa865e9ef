//! Names of containers, from the files that their runtimes keep on the node. No runtime is asked.

use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// Digits of an id that stand for a container without a name, as the runtimes' own tools show it.
const SHORT: usize = 12;
/// The most containers whose names are kept; a node runs far fewer.
const LIMIT: usize = 8192;
/// A larger file is not a container's.
const FILE: u64 = 4 << 20;
/// Where runtimes keep a folder per container with an OCI configuration.
const OCI: [&str; 3] = [
    "run/containerd/io.containerd.runtime.v2.task",
    "run/containers/storage/overlay-containers",
    "var/lib/containers/storage/overlay-containers",
];

/// What a runtime's files say of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: Option<String>,
    /// UID of its pod.
    pub pod_uid: Option<String>,
    /// Whether it only holds a pod's namespaces.
    pub sandbox: bool,
}

impl Container {
    /// The name, or the id's first digits.
    #[must_use]
    pub fn label(&self, id: &str) -> String {
        self.name.clone().unwrap_or_else(|| id.get(..SHORT).unwrap_or(id).to_owned())
    }
}

/// What is known of the node's containers by id.
#[derive(Debug)]
pub struct Names {
    root: PathBuf,
    known: HashMap<String, Container>,
    /// Containers that were looked up without being kept.
    overflow: u64,
}

impl Names {
    /// `root` is the folder at which the node's own files are seen: `/`, or where they are mounted.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), known: HashMap::new(), overflow: 0 }
    }

    /// What the files say of a container; read once.
    pub fn container(&mut self, id: &str) -> Container {
        if let Some(known) = self.known.get(id) {
            return known.clone();
        }
        let found = self.look_up(id);
        // A runtime may not have written the name yet.
        if found.name.is_some() || found.sandbox {
            if self.known.len() < LIMIT {
                self.known.insert(id.to_owned(), found.clone());
            } else {
                self.overflow = self.overflow.saturating_add(1);
            }
        }
        found
    }

    /// Forgets all containers but these.
    pub fn keep(&mut self, present: &HashSet<&str>) {
        self.known.retain(|id, _| present.contains(id.as_str()));
    }

    /// How often there was no room for one more container.
    #[must_use]
    pub fn overflow(&self) -> u64 {
        self.overflow
    }

    fn look_up(&self, id: &str) -> Container {
        let docker = self.root.join("var/lib/docker/containers").join(id).join("config.v2.json");
        if let Some(found) = read(&docker).map(|text| of_docker(&text)) {
            return found;
        }
        for folder in OCI {
            let folder = self.root.join(folder);
            for path in oci_paths(&folder, id) {
                if let Some(found) =
                    read(&path).map(|text| of_oci(&text)).filter(|found| *found != Container::default())
                {
                    return found;
                }
            }
            if let Some(name) = read(&folder.join("containers.json")).and_then(|text| of_storage(&text, id)) {
                return Container { name: Some(name), ..Container::default() };
            }
        }
        Container::default()
    }
}

/// containerd has a folder for each of its namespaces, the others have the containers at once.
fn oci_paths(folder: &Path, id: &str) -> Vec<PathBuf> {
    let mut paths = vec![folder.join(id).join("userdata/config.json")];
    let namespaces = std::fs::read_dir(folder).into_iter().flatten().flatten().take(64);
    paths.extend(namespaces.map(|entry| entry.path().join(id).join("config.json")).filter(|path| path.exists()));
    paths
}

fn read(path: &Path) -> Option<String> {
    (std::fs::metadata(path).ok()?.len() <= FILE).then(|| std::fs::read_to_string(path).ok())?
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Docker's own record of a container.
fn of_docker(json: &str) -> Container {
    let value: Value = serde_json::from_str(json).unwrap_or_default();
    let labels = &value["Config"]["Labels"];
    // Docker has its names begin with a slash.
    let own = value["Name"].as_str().map(|name| name.trim_start_matches('/')).filter(|name| !name.is_empty());
    Container {
        name: text(&labels["io.kubernetes.container.name"]).or_else(|| own.map(str::to_owned)),
        pod_uid: text(&labels["io.kubernetes.pod.uid"]),
        sandbox: labels["io.kubernetes.docker.type"] == "podsandbox",
    }
}

/// The configuration that an OCI runtime was given; its annotations are containerd's, CRI-O's or nerdctl's.
fn of_oci(json: &str) -> Container {
    let value: Value = serde_json::from_str(json).unwrap_or_default();
    let annotations = &value["annotations"];
    let first = |keys: &[&str]| keys.iter().find_map(|key| text(&annotations[*key]));
    let kind = first(&["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"]);
    let sandbox = kind.as_deref() == Some("sandbox");
    let name = first(&["io.kubernetes.cri.container-name", "io.kubernetes.container.name", "nerdctl/name"]);
    Container {
        name: name.filter(|_| !sandbox),
        pod_uid: first(&["io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"]),
        sandbox,
    }
}

/// Podman's list of containers.
fn of_storage(json: &str, id: &str) -> Option<String> {
    let list: Value = serde_json::from_str(json).ok()?;
    list.as_array()?.iter().find(|entry| entry["id"] == id).and_then(|entry| text(&entry["names"][0]))
}
