use super::{Entry, EntryAction};
use proptest::prelude::*;

#[test]
fn entries_of_four_and_of_five_parts_are_read() {
    let read = |text: &str| text.parse::<Entry>();
    let five = read("1|__PROFILE__|__PROFILE__.kns.curl-ns|allow|0").unwrap();
    assert_eq!((five.index, five.action, five.rule), (1, EntryAction::Allow, Some(0)));
    assert_eq!(five.to_string(), "1|__PROFILE__|__PROFILE__.kns.curl-ns|allow|0");
    let four = read("0|default|ns/pol|allow").unwrap();
    assert_eq!((four.policy.as_str(), four.rule), ("ns/pol", None));
    assert_eq!(four.to_string(), "0|default|ns/pol|allow");
    assert_eq!(read("0|default|ns/pol|deny|-1").unwrap().rule, Some(-1));
    assert_eq!(read("0|default|ns/pol|deny|-").unwrap().rule, None);
    for wrong in
        ["", "0|default|ns/pol", "x|default|ns/pol|allow|0", "0|default|p|drop|0", "0|d|p|allow|x", "0|d|p|allow|0|0"]
    {
        let error = read(wrong).unwrap_err().to_string();
        assert!(error.contains("index|tier|policy|action|rule"), "{error}");
    }
}

proptest! {
    #[test]
    fn any_text_is_an_entry_or_an_error(text in "\\PC*|([0-9a-z]{0,3}\\|){2,6}[0-9-]{0,3}") {
        if let Ok(entry) = text.parse::<Entry>() {
            prop_assert_eq!(entry.to_string().parse::<Entry>().unwrap(), entry);
        }
    }
}
