//! Where in a file a rule is written.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;
use weir_policy::{Direction, PolicyId};

/// The most lines that are shown of a rule.
const MOST: usize = 40;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Document {
    kind: String,
    metadata: Metadata,
    spec: Option<Rules>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    namespace: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Rules {
    ingress: Option<Vec<Spanned<IgnoredAny>>>,
    egress: Option<Vec<Spanned<IgnoredAny>>>,
}

/// The lines of a rule in a file's text: the number of the first, from 1, and the lines. Nothing where they cannot be told, as in a list of
/// objects or beside an object of another shape.
pub(super) fn of_rule(text: &str, id: &PolicyId, direction: Direction, rule: usize) -> Option<(usize, Vec<String>)> {
    let documents: Vec<Document> = serde_saphyr::from_multiple(text).ok()?;
    let is_it = |document: &&Document| {
        let namespace = document.metadata.namespace.as_deref().unwrap_or("default");
        document.kind == id.kind.name()
            && document.metadata.name == id.name
            && (id.namespace.is_empty() || namespace == id.namespace)
    };
    let rules = documents.iter().find(is_it)?.spec.as_ref()?;
    let rules = match direction {
        Direction::Ingress => rules.ingress.as_ref()?,
        Direction::Egress => rules.egress.as_ref()?,
    };
    let start = rules.get(rule)?.referenced;
    let (line, column) = (usize::try_from(start.line()).ok()?, usize::try_from(start.column()).ok()?);
    if line == 0 || column == 0 {
        return None;
    }
    let mut lines = Vec::new();
    for text in text.lines().skip(line - 1).take(MOST) {
        let indent = text.len() - text.trim_start().len();
        // The rule goes on as long as lines are indented as its first field is.
        let goes_on = lines.is_empty() || text.trim().is_empty() || indent + 1 >= column;
        if !goes_on {
            break;
        }
        lines.push(text.trim_end().to_owned());
    }
    while lines.last().is_some_and(|line| line.trim().is_empty()) {
        lines.pop();
    }
    Some((line, lines))
}
