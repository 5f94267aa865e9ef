//! What a process's cgroup says of its pod and container. Pure.

#[cfg(test)]
mod tests;

/// A pod's UID and a container's id, each where the path has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// The pod's UID as the API server has it.
    pub pod_uid: Option<String>,
    /// The container's full id, 64 hexadecimal digits.
    pub container: Option<String>,
}

impl Place {
    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pod_uid.is_none() && self.container.is_none()
    }
}

/// Length of a container's id.
const ID: usize = 64;

/// Reads `/proc/<pid>/cgroup`: the line that says most; the unified hierarchy's among equals.
#[must_use]
pub fn of_process(text: &str) -> Place {
    let known = |place: &Place| u8::from(place.pod_uid.is_some()) + u8::from(place.container.is_some());
    let mut best = Place::default();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(hierarchy), Some(_), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let place = of_path(path);
        if known(&place) > known(&best) || (hierarchy == "0" && known(&place) == known(&best)) {
            best = place;
        }
    }
    best
}

/// Reads a cgroup's path, from the root or relative to another cgroup. What is deepest counts: a node may itself be a
/// container.
#[must_use]
pub fn of_path(path: &str) -> Place {
    let mut place = Place::default();
    let mut within = false;
    // containerd told to use systemd's form without systemd joins the parts by colons.
    for segment in path.split(['/', ':']) {
        if let Some(uid) = pod(segment, within) {
            // Whatever was above is not this pod's.
            place = Place { pod_uid: uid, container: None };
        } else if let Some(id) = container(segment) {
            place.container = Some(id.to_owned());
        }
        within = matches!(segment, "kubepods" | "burstable" | "besteffort" | "guaranteed");
    }
    place
}

/// The pod that a path's segment is of: none where it is of no pod, an empty answer where its UID is not the API's.
/// `within` says that the segment above is one that holds pods.
fn pod(segment: &str, within: bool) -> Option<Option<String>> {
    let uid = if let Some(slice) = segment.strip_suffix(".slice") {
        if !slice.contains("kubepods") {
            return None;
        }
        slice.rsplit_once("-pod")?.1.replace('_', "-")
    } else {
        segment.strip_prefix("pod").filter(|_| within)?.to_owned()
    };
    // A static pod's cgroup carries the hash of its file, which no object of the API has as its UID.
    Some(is_uuid(&uid).then_some(uid))
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// The container whose cgroup a segment names: `<id>`, `<runtime>-<id>` and the same with `.scope`.
fn container(segment: &str) -> Option<&str> {
    let name = segment.strip_suffix(".scope").unwrap_or(segment);
    let (runtime, id) = name.split_at_checked(name.len().checked_sub(ID)?)?;
    let is_id = id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    // The monitor beside a container is not in it.
    let runs = runtime.is_empty() || (runtime.ends_with('-') && !runtime.ends_with("conmon-"));
    (is_id && runs).then_some(id)
}
