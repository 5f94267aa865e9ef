//! Names of indices in the engine.

/// The indices that Weir writes to and retention looks after, as patterns of their names with commas between. What they find is
/// to be checked name by name: others may have made indices with such names.
pub const PATTERN: &str = "weir-flows-l*,weir-capture-l*,weir-replay-l*,weir-dns-*,weir-ledger-*,weir-audit-*";
