use super::*;

#[test]
fn sizes_have_one_decimal_and_never_round_up_to_the_next_unit() {
    for (bytes, text) in [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (999_999, "999.9 kB"),
        (1_500_000, "1.5 MB"),
        (u64::MAX, "18446744.0 TB"),
    ] {
        assert_eq!(size(bytes), text);
    }
}

#[test]
fn who_denied_stands_among_the_notes() {
    let answer = |verdict, trace: &[&str]| Judgement {
        verdict,
        reason: String::new(),
        trace: trace.iter().map(ToString::to_string).collect(),
        selecting: Vec::new(),
        pending: None,
        samples: 1,
        against: 0,
        otherwise: 0,
    };
    let denied = answer(Verdict::Deny, &["0|default|shop/knp.default.out|allow|0", "1|default|end of tier|deny|-1"]);
    let allowed = answer(Verdict::Allow, &["0|default|shop/knp.default.out|allow|0"]);
    let mut policy = Policy {
        verdict: vec!["allow".to_owned(), "deny".to_owned()],
        pending: Vec::new(),
        rules: Vec::new(),
        explanation: "mismatch".to_owned(),
        against: 3,
        answers: vec![allowed, denied],
        answers_more: 0,
    };
    assert_eq!(said(&policy), ["denied by end of tier", "mismatch: not as policies say"]);
    policy.answers.truncate(1);
    policy.explanation = "as_judged".to_owned();
    assert_eq!(said(&policy), Vec::<String>::new());
}

#[test]
fn an_empty_list_says_what_to_do() {
    assert_eq!(render(&[], true), "");
    assert!(footer(0, None).contains("no flows match"));
    assert!(footer(50, Some("1_2")).contains("--cursor 1_2"));
}
