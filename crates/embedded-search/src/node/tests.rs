use proptest::prelude::*;

use super::*;

#[test]
fn stars_stand_for_any_text() {
    for (pattern, text, matches) in [
        ("*", "", true),
        ("a*", "abc", true),
        ("a*c", "abc", true),
        ("a*c", "ac", true),
        ("a*c", "acb", false),
        ("a*b*c", "a1b2c", true),
        ("a*a", "a", false),
        ("abc", "abc", true),
        ("abc", "abcd", false),
        ("*b", "aab", true),
        ("a*bc*c", "abc", false),
    ] {
        assert_eq!(glob_matches(pattern, text), matches, "{pattern} {text}");
    }
}

proptest! {
    #[test]
    fn a_text_with_parts_replaced_by_stars_matches_it(parts in proptest::collection::vec("[ab]{0,3}", 1..6)) {
        prop_assert!(glob_matches(&parts.join("*"), &parts.join("ba")));
    }
}
