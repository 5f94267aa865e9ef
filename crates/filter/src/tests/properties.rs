//! For any expression and any bytes.

use super::*;
use crate::expression::Pattern;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::prelude::*;

fn field() -> impl Strategy<Value = Field> {
    proptest::sample::select(Field::all().filter(|field| field.is_known(Place::Record)).collect::<Vec<_>>())
}

fn text() -> impl Strategy<Value = Box<str>> {
    prop_oneof![Just("shop".into()), Just("app=cart".into()), "[a-c\"'\\\\\n\t é:=]{1,6}".prop_map(Into::into)]
}

fn network() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (any::<u32>(), 0_u8..=32).prop_map(|(bits, length)| Ipv4Net::new(bits.into(), length).unwrap().trunc().into()),
        // Nothing that is mapped: those are IPv4.
        (any::<u128>(), 0_u8..=128)
            .prop_map(|(bits, length)| Ipv6Net::new((bits | 1 << 127).into(), length).unwrap().trunc().into()),
    ]
}

fn comparison() -> impl Strategy<Value = Comparison> {
    proptest::sample::select(vec![Comparison::Less, Comparison::AtMost, Comparison::Greater, Comparison::AtLeast])
}

fn words(words: &'static [&'static str], most: usize) -> BoxedStrategy<Check> {
    proptest::collection::vec(proptest::sample::select(words).prop_map(Into::into), 1..=most)
        .prop_map(Check::Texts)
        .boxed()
}

fn texts() -> BoxedStrategy<Check> {
    prop_oneof![
        Just(Check::Present),
        text().prop_map(Check::StartsWith),
        text().prop_map(Check::EndsWith),
        text().prop_map(Check::Contains),
        proptest::sample::select(vec!["^a", "b+$", "\\d"]).prop_map(|p| Check::Matches(Pattern::new(p).unwrap())),
    ]
    .boxed()
}

fn check(subject: &Subject) -> BoxedStrategy<Check> {
    let numbers = |most: u64| {
        prop_oneof![
            proptest::collection::vec(0..=most, 1..4).prop_map(Check::Numbers),
            (comparison(), 0..=most).prop_map(|(comparison, limit)| Check::Compare(comparison, limit)),
        ]
        .boxed()
    };
    let several = || proptest::collection::vec(text(), 1..4).prop_map(Check::Texts).boxed();
    if let Subject::Label(..) = subject {
        return prop_oneof![texts(), several()].boxed();
    }
    match subject.field().kind() {
        Kind::Text => prop_oneof![texts(), several()].boxed(),
        Kind::Texts => prop_oneof![texts(), text().prop_map(|text| Check::Texts(vec![text]))].boxed(),
        Kind::Word(list) => prop_oneof![Just(Check::Present), words(list, 3)].boxed(),
        Kind::Words(list) => prop_oneof![Just(Check::Present), words(list, 1)].boxed(),
        Kind::Number(most) => numbers(most),
        Kind::Bytes => numbers(u64::MAX >> 1),
        Kind::Protocol => proptest::collection::vec(0..=255_u64, 1..4).prop_map(Check::Numbers).boxed(),
        Kind::Address => proptest::collection::vec(network(), 1..4).prop_map(Check::Networks).boxed(),
        Kind::Flag => Just(Check::Present).boxed(),
    }
}

fn test() -> impl Strategy<Value = Expression> {
    let label = (any::<bool>(), "[a-z./]{1,4}")
        .prop_map(|(source, key)| Subject::Label(if source { End::Source } else { End::Destination }, key.into()));
    prop_oneof![4 => field().prop_map(Subject::Field), 1 => label].prop_flat_map(|subject| {
        check(&subject).prop_map(move |check| Expression::Test(Test { subject: subject.clone(), check }))
    })
}

fn expression() -> impl Strategy<Value = Expression> {
    prop_oneof![9 => test(), 1 => any::<bool>().prop_map(Expression::Always)].prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(left, right)| left.and(right)),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| left.or(right)),
            inner.prop_map(Expression::negated),
        ]
    })
}

proptest! {
    #[test]
    fn parsing_what_is_written_gives_the_same(expression in expression()) {
        let text = expression.to_string();
        prop_assume!(text.len() <= LENGTH_MOST);
        let again = parse(&text, Place::Record).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(&again, &expression, "{}", text);
        prop_assert_eq!(again.to_string(), text);
    }

    #[test]
    fn an_opposite_is_an_opposite(expression in expression()) {
        let holds = expression.holds(&flow());
        prop_assert_eq!(expression.clone().negated().holds(&flow()), !holds);
        prop_assert_eq!(expression.clone().and(expression.clone()).holds(&flow()), holds);
        prop_assert_eq!(expression.clone().or(expression).holds(&flow()), holds);
    }

    #[test]
    fn no_text_panics(text in "\\PC*") {
        let _ = parse(&text, Place::Search).map_err(|error| error.to_string());
        let _ = parse_rule(&text).map_err(|error| error.to_string());
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = parse(&text, Place::Record).map_err(|error| error.to_string());
    }

    #[test]
    fn no_order_of_tokens_panics(tokens in proptest::collection::vec(proptest::sample::select(vec![
        "(", ")", "[", "]", ",", "==", "!=", "=", "<", "in", "not", "and", "or", "has", "true", "src.port", "src.labels",
        "\"app\"", "'", "\\", "80", "10.0.0.0/8", "tcp", "action", "deny", ".startsWith", "src.pod.matches", "drop:",
        "redact", "sample", "\n", "é", "bytes", "10MB", "syn", "src.tcp_flags",
    ]), 0..30)) {
        for separator in ["", " "] {
            let text = tokens.join(separator);
            if let Ok(expression) = parse(&text, Place::Sample) {
                prop_assert_eq!(parse(&expression.to_string(), Place::Sample), Ok(expression));
            }
            let _ = parse_rule(&text).map_err(|error| error.to_string());
        }
    }
}
