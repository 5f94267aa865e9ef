use super::*;

fn judgement(trace: &[&str]) -> Judgement {
    Judgement {
        verdict: Verdict::Allow,
        reason: String::new(),
        trace: trace.iter().map(ToString::to_string).collect(),
        selecting: Vec::new(),
        pending: None,
        samples: 1,
        against: 0,
        otherwise: 0,
    }
}

#[test]
fn what_decided_is_told_from_what_was_passed() {
    let passed = judgement(&[
        "0|__PROFILE__|__PROFILE__.kns.shop|allow|0",
        "1|kube-admin|kcnp.kube-admin.guard|pass|2",
        "2|default|shop/knp.default.db|allow|0",
    ]);
    assert_eq!(passed.deciding().collect::<Vec<_>>(), [("default", "shop/knp.default.db", "allow")]);
    let denied = judgement(&["0|default|end of tier|deny|-1", "nonsense", "1|two"]);
    assert_eq!(denied.deciding().collect::<Vec<_>>(), [("default", "end of tier", "deny")]);
}
